"""Stage `extract`: the features of a dataset, computed once per team."""

import logging

from resnet_mlflow.config import ExtractConfig, FeatureConfig, extraction_of
from resnet_mlflow.data.folds import pool_names
from resnet_mlflow.features.identity import FeatureSet, refuse_skipped, select_part
from resnet_mlflow.process import n_ranks, process_name, rank
from resnet_mlflow.stages.crews import crew_of
from resnet_mlflow.stages.division import log_division
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, prepare
from resnet_mlflow.stages.shared_features import are_shared, extract_by, fetch, share
from resnet_mlflow.tracking import StageRun, TrackedDataset, connect, find_interrupted, stage_run

logger = logging.getLogger(__name__)


def run_extract(config: ExtractConfig) -> FeatureSet:
    """Return the features of a dataset, from the store if they are there, and track the run."""
    inputs = prepare(config)
    if rank() > 0:
        return extract_untracked(config, inputs)  # Only the first process of a distributed run tracks it.
    connect()
    earlier = find_interrupted({"stage": "extract", "cache_key": compute_cache_key("extract", config, inputs)})
    return _tracked_extraction(config, inputs, _present(config, inputs), earlier)


def ensure_features(config: FeatureConfig, inputs: Inputs) -> FeatureSet:
    """Return features from the local store, else from another machine's run, else by a nested run.

    Features of a part are taken from those of the whole.
    """
    if inputs.whole is not None:
        return _part_of(ensure_features(config, inputs.whole), inputs)
    found = _present(config, inputs)
    if found is not None:
        refuse_skipped(found, config.on_bad_image)
        return found.of(inputs.dataset)
    return _tracked_extraction(extraction_of(config), inputs, present=None).of(inputs.dataset)


def _present(config: FeatureConfig, inputs: Inputs) -> FeatureSet | None:
    return inputs.store.get(inputs.features_key) or fetch(config, inputs)


def _tracked_extraction(
    config: ExtractConfig, inputs: Inputs, present: FeatureSet | None, resume: str | None = None
) -> FeatureSet:
    """Track features that exist or that this run computes; ``resume`` is an interrupted run."""
    name = f"extract {config.backbone} {inputs.dataset.short_name}"
    tags = inputs.tags | {
        "backbone": config.backbone,
        "seed": config.seed,
        "cache_key": compute_cache_key("extract", config, inputs),
    }
    with stage_run("extract", config, name, tags, resume) as run:
        # Under torchrun, the other ranks wait for this one in the extraction.
        features = _computed(run, config, inputs) if present is None or n_ranks() > 1 else present
        refuse_skipped(features, config.on_bad_image)
        # Another process may have computed them while this one waited for the lock.
        reused = present is not None or features.meta["worker"] != process_name()
        _log_features(run, config, inputs.without(features), features, reused)
    return features


def _computed(run: StageRun, config: ExtractConfig, inputs: Inputs) -> FeatureSet:
    with crew_of(config, run.run_id) as crew:
        if crew is None:
            return extract_untracked(config, inputs)
        return extract_by(crew, config, inputs, run).of(inputs.dataset)


def extract_untracked(config: FeatureConfig, inputs: Inputs) -> FeatureSet:
    """Return the features after computing them into the store, without a separate run."""
    if inputs.whole is not None:
        return _part_of(extract_untracked(config, inputs.whole), inputs)
    from resnet_mlflow.features.extraction import extract_features

    features = extract_features(inputs.dataset, config, inputs.store, inputs.weights, identity=inputs.identity)
    return features.of(inputs.dataset)


def _part_of(features: FeatureSet, inputs: Inputs) -> FeatureSet:
    assert inputs.whole is not None
    item_ids = {name: split.item_ids for name, split in inputs.dataset.splits.items()}
    return select_part(features, pool_names(inputs.whole.dataset), item_ids)


def _log_features(run: StageRun, config: ExtractConfig, inputs: Inputs, features: FeatureSet, reused: bool) -> None:
    for name, split in features.splits.items():
        counts = inputs.dataset.class_counts(name)
        profile = {"n_images": len(split.labels), "class_counts": counts}
        digest = f"{inputs.dataset.digest[:24]}-{name}"
        run.log_dataset(
            TrackedDataset(f"{inputs.dataset.short_name}-{name}", digest, inputs.dataset.source, profile), context=name
        )
    # Existing features may have been computed before this tracking store existed or was reachable.
    shared = config.share_features and not are_shared(features.key)
    if shared:
        share(run, features, inputs.store.path(features.key))
    log_division(run, inputs.dataset, features.of(inputs.dataset).splits)
    # Set last: other machines look for this tag, and must find complete features.
    run.set_tags({"shared_features": str(shared).lower(), "n_skipped_images": inputs.n_skipped})
    if not reused:
        run.log_metrics(
            {
                "throughput/extract_images_per_s": features.meta["images_per_s"],
                "time/extract_s": features.meta["seconds"],
            }
        )
    run.log_note(_note(config, inputs, features, reused))


def _note(config: ExtractConfig, inputs: Inputs, features: FeatureSet, reused: bool) -> str:
    n_images = sum(len(split.labels) for split in features.splits.values())
    how = "found in the feature store" if reused else f"extracted at {features.meta['images_per_s']:.0f} images/s"
    lines = [
        f"Features of **{inputs.dataset.name}** by **{config.backbone}** ({inputs.weights.label}), {n_images} images "
        f"at {inputs.image_size} px, {inputs.precision}: {how}.",
        *inputs.remarks,
    ]
    return "\n\n".join(lines)
