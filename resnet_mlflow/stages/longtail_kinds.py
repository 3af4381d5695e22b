"""The kind of source for the methods of a comparison: features, or images."""

from collections.abc import Iterator

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.stages.longtail_sources import Source, on_features
from resnet_mlflow.stages.preparation import Inputs


def sources(config: LongtailConfig, inputs: Inputs) -> Iterator[Source]:
    """Yield the source for the methods of each seed."""
    if config.train_layers == "fc":
        return on_features(config, inputs)
    from resnet_mlflow.stages.longtail_images import on_images  # torch and Lightning take seconds to import

    return on_images(config, inputs)
