"""The common parts of a fine-tuning's run, with given or searched parameters: tags, training and scores."""

import dataclasses
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from resnet_mlflow.backbones.networks import load_backbone, save_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.config import DataConfig, FinetuneConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.splits import split_validation
from resnet_mlflow.devices import open_fabric
from resnet_mlflow.evaluation.figures import learning_curves_figure
from resnet_mlflow.features.identity import CALIBRATION, FeatureSplit
from resnet_mlflow.process import leave_ranks
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.stages.division import partition_of
from resnet_mlflow.stages.extract import ensure_features, extract_untracked
from resnet_mlflow.stages.preparation import Inputs, prepare
from resnet_mlflow.stages.reporting import Outcome, conclude
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import BACKBONE_ARTIFACT, StageRun
from resnet_mlflow.training.finetuning import (
    FinetuneNetwork,
    build_linear,
    finetune_on_features,
    finetune_on_images,
    linear_state,
)
from resnet_mlflow.training.loop import EpochResult

if TYPE_CHECKING:
    from torch import nn

    from resnet_mlflow.heads.base import HeadBase

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A classifier after training: its head, the features the head sees, and the backbone's file if it changed."""

    head: "HeadBase"
    inputs: Inputs
    splits: dict[str, FeatureSplit]
    history: list[EpochResult]
    backbone_file: Path | None


def run_name(config: FinetuneConfig, inputs: Inputs) -> str:
    """Return the name of a fine-tuning's run."""
    return inputs.name_of(f"{config.method} {config.backbone} s{config.seed}")


def trains_on_stored_features(config: FinetuneConfig) -> bool:
    """Return whether stored features suffice for training, and for all trials of a study."""
    return config.trains_on_features and not config.tunes


def run_tags(config: FinetuneConfig, inputs: Inputs, cache_key: str) -> dict[str, object]:
    """Return the tags of a fine-tuning's run."""
    return inputs.tags | {
        "backbone": config.backbone,
        "head": "linear",
        "train_layers": config.train_layers,
        "seed": config.seed,
        "cache_key": cache_key,
    }


def train_and_conclude(run: StageRun, config: FinetuneConfig, inputs: Inputs, folder: Path, key: str) -> Outcome:
    """Train as configured, and log the classifier and its scores.

    Args:
        run: The active run.
        config: The given configuration, or the best of a study.
        inputs: Inputs of the run.
        folder: Folder of the checkpoint.
        key: Fingerprint of the checkpoint.
    """
    start = time.perf_counter()
    train = _train_on_features if config.trains_on_features else _train_on_images
    trained = train(run, config, inputs, folder, key)
    times = {"time/fit_s": time.perf_counter() - start}
    log_training(run, trained)
    tuned = ", tuned" if config.tunes else ""
    title = f"{config.backbone} fine-tuned ({config.train_layers}{tuned}), {len(trained.history)} epochs"
    model, last_step = f"{config.method} {config.backbone}", len(trained.history)
    outcome = conclude(run, trained.inputs, trained.head, trained.splits, config, title, model, times, last_step)
    if config.attention_maps and "test" in trained.splits:
        from resnet_mlflow.stages.attention_maps import log_attention_maps  # captum takes seconds to import

        log_attention_maps(run, trained.inputs, config, trained.head, trained.splits["test"])
    return outcome


def _train_on_features(run: StageRun, config: FinetuneConfig, inputs: Inputs, folder: Path, key: str) -> Trained:
    """Train the linear layer on stored features: the frozen backbone would give the same ones in every epoch."""
    features = ensure_features(config, inputs)
    inputs = inputs.without(features)
    splits = partition_of(config, features)
    layer = build_linear(BACKBONES[config.backbone].n_features, len(inputs.dataset.class_names), config.seed)
    epochs = finetune_on_features(
        layer, splits["train"], splits["val"], config, checkpoint=folder / "last.ckpt", fingerprint=key
    )
    history = list(logged_epochs(run, epochs, config.epochs))
    return Trained(_head_of(layer, inputs), inputs, splits, history, None)


def _train_on_images(run: StageRun, config: FinetuneConfig, inputs: Inputs, folder: Path, key: str) -> Trained:
    """Train the network on images; its backbone is then frozen, and the head is evaluated on its features."""
    network, taken = _network(config, inputs)
    history = list(logged_epochs(run, _epochs(network, config, inputs, folder / "last.ckpt", key), config.epochs))
    leave_ranks()
    backbone_file = None
    if config.train_layers != "fc":
        backbone_file = folder / Path(BACKBONE_ARTIFACT).name
        save_backbone(network.backbone, backbone_file, inputs.preprocessing)
        weights = trained_weights(config.backbone, backbone_file, inputs.weights, config.train_layers)
        inputs = dataclasses.replace(inputs.with_weights(weights), weights_taken=taken)
    # Not tracked as a separate extraction: the features belong to this run's backbone.
    features = extract_untracked(config, inputs)
    inputs = inputs.without(features)
    splits = partition_of(config, features)
    return Trained(_head_of(cast("nn.Linear", network.head), inputs), inputs, splits, history, backbone_file)


def assist_training(config: FinetuneConfig) -> None:
    """Train together with the first of several ``torchrun`` processes, which logs the results."""
    inputs = prepare(config)
    for _ in _epochs(_network(config, inputs)[0], config, inputs):
        pass
    leave_ranks()


def _network(config: FinetuneConfig, inputs: Inputs) -> tuple[FinetuneNetwork, str]:
    """Return the network before training, and which tensors of a weights file it uses."""
    backbone = load_backbone(config.backbone, inputs.weights)
    layer = build_linear(BACKBONES[config.backbone].n_features, len(inputs.dataset.class_names), config.seed)
    return FinetuneNetwork(backbone.network, layer, config.train_layers), backbone.taken


def _epochs(
    network: FinetuneNetwork, config: FinetuneConfig, inputs: Inputs, checkpoint: Path | None = None, key: str = ""
) -> Iterator[EpochResult]:
    return finetune_on_images(
        network,
        *image_splits(config, inputs),
        config,
        image_size=inputs.image_size,
        preprocessing=inputs.preprocessing,
        fabric=open_fabric(config.device, inputs.precision),
        checkpoint=checkpoint,
        fingerprint=key,
    )


def trained_weights(backbone: str, file: Path, start: ResolvedWeights, train_layers: str) -> ResolvedWeights:
    """Return the weights that training wrote to a file, named after those that it started from.

    Args:
        backbone: Name of the network.
        file: File of the trained backbone.
        start: Weights that training started from.
        train_layers: The trained layers.
    """
    found = resolve_weights(backbone, str(file), 0)
    return dataclasses.replace(found, label=f"{start.label}, trained further ({train_layers})")


def image_splits(config: DataConfig, inputs: Inputs) -> tuple[ImageSplit, ImageSplit]:
    """Return the images for training and validation, the same ones as in ``features.identity.partition``."""
    splits = image_partition(config, inputs)
    return splits["train"], splits["val"]


def image_partition(config: DataConfig, inputs: Inputs) -> dict[str, ImageSplit]:
    """Return the images of ``train``, ``val`` and, if some are set aside, ``calibration``."""
    train, val = inputs.dataset.splits["train"], inputs.dataset.splits.get("val")
    if val is None:
        train, val = _parted(train, config.val_fraction, config, inputs)
    if not config.calibration_fraction:
        return {"train": train, "val": val}
    val, aside = _parted(val, config.calibration_fraction, config, inputs)
    return {"train": train, "val": val, CALIBRATION: aside}


def _parted(split: ImageSplit, fraction: float, config: DataConfig, inputs: Inputs) -> tuple[ImageSplit, ImageSplit]:
    names = inputs.dataset.class_names
    stay, leave = split_validation(split.labels, fraction, config.seed, names, split.groups)
    return split.select(stay), split.select(leave)


def _head_of(layer: "nn.Linear", inputs: Inputs) -> "HeadBase":
    # Heads come with scikit-learn, a second to import that a training need not wait for.
    from resnet_mlflow.heads.linear import from_linear

    return from_linear(*linear_state(layer), list(range(len(inputs.dataset.class_names))))


def logged_epochs(run: StageRun, epochs: Iterator[EpochResult], n_epochs: int) -> Iterator[EpochResult]:
    """Yield the epochs, each logged once: a continued run already has the earlier ones."""
    with progress(n_epochs, "epochs", "training") as bar:
        for result in _logged(run, epochs):
            bar.set_postfix_str(f"val accuracy {result.val_metrics['accuracy']:.4f}")
            bar.update()
            yield result


def _logged(run: StageRun, epochs: Iterator[EpochResult]) -> Iterator[EpochResult]:
    done = run.logged_steps("train/loss")
    for result in epochs:
        if result.epoch not in done:
            values = {
                "train/loss": result.train_loss,
                "train/learning_rate": result.learning_rate,
                "time/epoch_s": result.seconds,
                "throughput/train_images_per_s": result.images_per_second,
            }
            run.log_metrics(values | {f"val/{k}": v for k, v in result.val_metrics.items()}, step=result.epoch)
            # A study's terminal shows cells, not epochs.
            logger.log(
                logging.DEBUG if run.nested else logging.INFO,
                "epoch %d: loss %.4f, val accuracy %.4f (%.0f images/s)",
                result.epoch,
                result.train_loss,
                result.val_metrics["accuracy"],
                result.images_per_second,
            )
        yield result


def log_training(run: StageRun, trained: Trained) -> None:
    """Log the results of training: its best epoch, learning curves, and the backbone if it changed."""
    best = max((result.epoch for result in trained.history if result.improved), default=0)
    run.set_tags({"best_epoch": best, "features_key": trained.inputs.features_key})
    with run.artifacts() as folder:
        (folder / "figures").mkdir()
        learning_curves_figure(trained.history).savefig(folder / "figures" / "learning_curves.png")
        if trained.backbone_file is not None:
            target = folder / BACKBONE_ARTIFACT
            target.parent.mkdir()
            shutil.copyfile(trained.backbone_file, target)
            run.set_tags({"backbone_digest": trained.inputs.weights.digest})
