"""Stage `fit_head`: a head on the features of a frozen backbone."""

import time

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.features import partition
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.preparation import compute_cache_key, prepare
from resnet_mlflow.stages.reporting import Outcome, conclude
from resnet_mlflow.tracking import stage_run


def run_fit_head(config: FitHeadConfig) -> Outcome:
    """Return the scores of a head fitted on features, which are extracted first where they are missing."""
    head = build_head(config.head, parse_head_params(config.head_params), config.seed)
    inputs = prepare(config)
    few = f" {config.shots} shots" if config.shots else ""
    name = f"fit_head {config.head} {config.backbone} {inputs.dataset.short_name}{few} s{config.seed}"
    tags = inputs.tags | {
        "backbone": config.backbone,
        "head": config.head,
        "seed": config.seed,
        "cache_key": compute_cache_key("fit_head", config, inputs),
    }
    with stage_run("fit_head", config, name, tags) as run:
        run.log_head_params(head.get_params())
        features = ensure_features(config, inputs)
        inputs = inputs.without(features)
        splits = partition(features, config.val_fraction, config.seed, config.shots)
        start = time.perf_counter()
        train, val = splits["train"], splits["val"]
        head.fit(train.features, train.labels, val.features, val.labels)
        times = {"time/fit_s": time.perf_counter() - start}
        outcome = conclude(run, inputs, head, splits, config, f"{config.head} on frozen {config.backbone}", times)
        if config.attention_maps:
            from resnet_mlflow.stages.attention_maps import (
                log_attention_maps,
            )  # torch and captum take seconds to import

            log_attention_maps(run, inputs, config, head, splits["test"])
    return outcome
