"""Stage `finetune`: a linear head and the requested stages of the backbone, trained together."""

import json
import shutil
from pathlib import Path

from resnet_mlflow.config import FinetuneConfig
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.locks import held
from resnet_mlflow.files.paths import writable_folder
from resnet_mlflow.stages.cross_validation import CrossValidation, cross_validate
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.network_runs import (
    run_name,
    run_tags,
    train_and_conclude,
    trains_on_stored_features,
)
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.tracking import stage_run


def run_finetune(config: FinetuneConfig) -> Outcome:
    """Return the scores of a fine-tuned classifier; an interrupted training continues in its own run."""
    return _cross_validate(config) if config.folds else finetune(config)


def finetune(config: FinetuneConfig, inputs: Inputs | None = None) -> Outcome:
    """Return the scores of one fine-tuning run, on the inputs of a part if given.

    Args:
        config: The given configuration; its folds are ignored.
        inputs: Inputs of the run; prepared if not given.
    """
    if config.tunes:
        from resnet_mlflow.stages.tune_finetune import tune_finetune  # Optuna takes a second to import

        return tune_finetune(config, inputs)
    writable_folder(default_cache_dir(config.cache_dir), "cache_dir")  # Reported before the dataset is read.
    inputs = inputs or prepare(config)
    cache_key = compute_cache_key("finetune", config, inputs)
    folder = inputs.cache_dir / "checkpoints" / cache_key
    folder.mkdir(parents=True, exist_ok=True)
    # The lock is next to the folder, which is removed after training.
    with held(folder.with_suffix(".lock"), "trains this network"):
        outcome = _run(config, inputs, cache_key, folder)
        shutil.rmtree(folder)
    return outcome


def _cross_validate(config: FinetuneConfig) -> Outcome:
    writable_folder(default_cache_dir(config.cache_dir), "cache_dir")  # Reported before the dataset is read.
    inputs = prepare(config)
    return cross_validate(
        CrossValidation(
            stage="finetune",
            config=config,
            inputs=inputs,
            name=run_name(config, inputs),
            tags=run_tags(config, inputs, compute_cache_key("finetune", config, inputs)),
            title=f"{config.backbone} fine-tuned ({config.train_layers})",
            prepare=lambda: ensure_features(config, inputs) if trains_on_stored_features(config) else None,
            run_fold=lambda own, part: finetune(own, part).run_id,
        )
    )


def _run(config: FinetuneConfig, inputs: Inputs, cache_key: str, folder: Path) -> Outcome:
    tags = run_tags(config, inputs, cache_key)
    run_file = folder / "run.json"
    earlier = _earlier_run(run_file)
    with stage_run(inputs.stage_of("finetune"), config, run_name(config, inputs), tags, resume=earlier) as run:
        _write_whole(run_file, json.dumps({"run_id": run.run_id}))
        return train_and_conclude(run, config, inputs, folder, cache_key)


def _earlier_run(file: Path) -> str | None:
    """Return the run of an interrupted training; None if there is none, or the file names no run."""
    try:
        run_id = json.loads(file.read_text(encoding="utf-8"))["run_id"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return run_id if isinstance(run_id, str) and run_id.isalnum() else None


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
