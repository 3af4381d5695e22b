"""The common parts of a head's run, with given or searched parameters: name, tags, features and fit."""

import time
from typing import Any

import yaml

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import build_head
from resnet_mlflow.stages.division import partition_of
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key
from resnet_mlflow.stages.reporting import Outcome, conclude
from resnet_mlflow.tracking import StageRun


def run_name(config: FitHeadConfig, inputs: Inputs) -> str:
    """Return the name of a head's run."""
    return inputs.name_of(f"{config.method} {config.backbone} s{config.seed}")


def run_title(config: FitHeadConfig) -> str:
    """Return the name of a head run's classifier in notes."""
    return f"{config.method} on frozen {config.backbone}"


def run_model(config: FitHeadConfig) -> str:
    """Return the name of the model that a head's run logs."""
    return f"{config.method} {config.backbone}"


def run_tags(config: FitHeadConfig, inputs: Inputs) -> dict[str, object]:
    """Return the tags of a head's run."""
    return inputs.tags | {
        "backbone": config.backbone,
        "head": config.head,
        "seed": config.seed,
        "cache_key": compute_cache_key("fit_head", config, inputs),
    }


def load_splits(config: FitHeadConfig, inputs: Inputs) -> tuple[Inputs, dict[str, FeatureSplit]]:
    """Return the features of train, val and test, and the inputs with the images that extraction left out."""
    features = ensure_features(config, inputs)
    return inputs.without(features), partition_of(config, features, config.shots)


def fit_and_conclude(
    run: StageRun, config: FitHeadConfig, inputs: Inputs, splits: dict[str, FeatureSplit], params: dict[str, Any]
) -> Outcome:
    """Fit a head with the given parameters, and log the model and its scores.

    Args:
        run: The active run.
        config: Settings of head, seed, calibration and attention maps.
        inputs: Inputs of the run.
        splits: Features of train, val and test.
        params: Parameters of the head.
    """
    head = build_head(config.head, params, config.seed)
    run.log_head_params(head.get_params())
    start = time.perf_counter()
    train, val = splits["train"], splits["val"]
    head.fit(train.features, train.labels, val.features, val.labels)
    times = {"time/fit_s": time.perf_counter() - start}
    few_shot = config.shots > 0
    outcome = conclude(run, inputs, head, splits, config, run_title(config), run_model(config), times, scarce=few_shot)
    if config.attention_maps and "test" in splits:
        from resnet_mlflow.stages.attention_maps import log_attention_maps  # torch and captum take seconds to import

        log_attention_maps(run, inputs, config, head, splits["test"])
    return outcome


def with_params(config: FitHeadConfig, params: dict[str, Any]) -> FitHeadConfig:
    """Return a configuration with the given parameters of the head."""
    text = yaml.safe_dump(params, default_flow_style=True, width=10_000).strip()
    return config.model_copy(update={"head_params": text})
