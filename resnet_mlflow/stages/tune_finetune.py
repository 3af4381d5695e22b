"""Fine-tuning with a search over learning rate, decay, augmentation and trained stages."""

import shutil
from collections.abc import Iterator
from typing import Any

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FinetuneConfig, TrainingConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.devices import open_fabric
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.locks import held
from resnet_mlflow.files.paths import writable_folder
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.stages.division import partition_of
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.network_runs import image_splits, run_name, run_tags, train_and_conclude
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.stages.tuning import Search, run_search
from resnet_mlflow.tracking import StageRun
from resnet_mlflow.training.finetuning import (
    FinetuneNetwork,
    build_linear,
    finetune_on_features,
    finetune_on_images,
)
from resnet_mlflow.training.loop import EpochResult
from resnet_mlflow.tuning.objective import Measured, Objective, Report
from resnet_mlflow.tuning.search_space import Parameter, SearchSpace, load_space


def tune_finetune(config: FinetuneConfig, inputs: Inputs | None = None) -> Outcome:
    """Return the scores of a network fine-tuned with the parameters of the best trial.

    Args:
        config: The given configuration.
        inputs: Inputs of the run; prepared if not given.

    Raises:
        InputError: If the search space, sampler or pruner do not fit.
    """
    space = load_space(config.search_space, "finetune", {})
    writable_folder(default_cache_dir(config.cache_dir), "cache_dir")
    inputs = inputs or prepare(config)
    key = compute_cache_key("finetune", config, inputs)
    work = _Work(config, inputs, key)
    return run_search(
        Search(
            stage=inputs.stage_of("finetune"),
            config=config,
            inputs=inputs,
            method="finetune",
            name=run_name(config, inputs),
            tags=run_tags(config, inputs, key),
            prefix="",
            space=space,
            defaults={name: getattr(config, name) for name in TrainingConfig.model_fields},
            n_epochs=_most_epochs(config, space),
            prepare=work.prepare,
            conclude=work.conclude,
        )
    )


def _most_epochs(config: FinetuneConfig, space: SearchSpace) -> int:
    of_space: Parameter | None = space.parameters.get("epochs")
    return config.epochs if of_space is None else max(int(value) for value in of_space.extremes())


class _Work:
    """The network's part in a study: its trials, and the training of the best."""

    def __init__(self, config: FinetuneConfig, inputs: Inputs, key: str) -> None:
        self.config, self.inputs, self.key = config, inputs, key

    def prepare(self, run: StageRun) -> Objective:
        return self._measure

    def _measure(self, params: dict[str, Any], report: Report) -> Measured:
        best = epoch = 0
        accuracies: dict[int, dict[str, float]] = {}
        for result in self._epochs(self._trial_config(params)):
            epoch = result.epoch
            best = epoch if result.improved else best
            accuracies[epoch] = {f"val/{name}": value for name, value in result.val_metrics.items()}
            # During training, the best epoch so far is the one that would be kept.
            report(epoch, {"train/loss": result.train_loss, **accuracies[epoch]}, accuracies[best]["val/accuracy"])
        return Measured((accuracies[best]["val/accuracy"],), accuracies[best], step=epoch)

    def _epochs(self, config: FinetuneConfig) -> Iterator[EpochResult]:
        layer = build_linear(BACKBONES[config.backbone].n_features, len(self.inputs.dataset.class_names), config.seed)
        if config.trains_on_features:
            splits = partition_of(config, ensure_features(config, self.inputs))
            return finetune_on_features(layer, splits["train"], splits["val"], config)
        train, val = image_splits(config, self.inputs)
        backbone = build_backbone(config.backbone, self.inputs.weights)
        network = FinetuneNetwork(backbone, layer, config.train_layers)
        fabric = open_fabric(config.device, self.inputs.precision)
        return finetune_on_images(
            network,
            train,
            val,
            config,
            image_size=self.inputs.image_size,
            preprocessing=self.inputs.preprocessing,
            fabric=fabric,
        )

    def _trial_config(self, params: dict[str, Any]) -> FinetuneConfig:
        return validate(FinetuneConfig, {**self.config.model_dump(), **params})

    def conclude(self, run: StageRun, params: dict[str, Any]) -> Outcome:
        config = self._trial_config(params)
        folder = self.inputs.cache_dir / "checkpoints" / f"{self.key}-best"
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder.with_suffix(".lock"), "trains this network"):
            key = compute_cache_key("finetune", config, self.inputs)
            outcome = train_and_conclude(run, config, self.inputs, folder, key)
            shutil.rmtree(folder)
        run.set_tags({"train_layers": config.train_layers})
        # The trained configuration, so that the run looks like one with these parameters given.
        run.log_json(config.model_dump(), "config.json")
        return outcome
