"""Features in the tracking store, for other machines: files that are sent and fetched one by one, and go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import META, Expected
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.transport import pack
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.stages.preparation import Inputs
from resnet_mlflow.tracking import StageRun, artifact_sizes, download, find_runs

logger = logging.getLogger(__name__)

FOLDER = "features"
_SHARED = {"stage": "extract", "shared_features": "true"}


def are_shared(key: str) -> bool:
    """Return whether a run of the tracking store holds features."""
    return bool(find_runs({**_SHARED, "features_key": key}))


def share(run: StageRun, features: FeatureSet, entry: Path) -> None:
    """Send an entry of the feature store to a run; files that the run holds already are not sent again.

    Args:
        run: It may have been interrupted while it sent some.
        features: The content of the entry.
        entry: Its folder.
    """
    there = artifact_sizes(run.run_id, FOLDER)
    with scratch_folder() as scratch:
        for file in pack(entry, features, scratch):
            # What it says of itself is what makes it whole, and the same size tells nothing of it.
            if file.name == META or there.get(file.name) != file.stat().st_size:
                run.log_file(file, FOLDER)
            else:
                logger.debug("%s was sent before", file.name)


def fetch(config: FeatureConfig, inputs: Inputs) -> FeatureSet | None:
    """Return features that a run on another machine left in the tracking store, now in the local one too."""
    key = inputs.features_key
    n_columns = BACKBONES[config.backbone].n_features
    expected = Expected(key, inputs.dataset.splits, inputs.dataset.class_names, n_columns)
    for run in find_runs({**_SHARED, "features_key": key}):
        run_id = run.info.run_id
        logger.info("fetching features %s from run %s", key[:12], run_id)

        @contextmanager
        def lend(name: str, run_id: str = run_id) -> Iterator[Path]:
            with scratch_folder() as folder:
                yield download(run_id, f"{FOLDER}/{name}", folder, expected.max_bytes)

        try:
            features = inputs.store.put_from(lend, expected)
        except InputError as error:  # Whoever wrote to the store, this machine can compute them.
            logger.warning("features of run %s cannot be taken: %s", run_id, error)
            continue
        if features is not None:
            return features
    return None
