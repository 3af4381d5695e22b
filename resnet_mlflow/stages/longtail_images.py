"""Networks trained on long-tailed images, by the same loop as fine-tuning."""

import dataclasses
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from resnet_mlflow.backbones.networks import load_backbone, save_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, dataset_digest
from resnet_mlflow.devices import open_fabric
from resnet_mlflow.features.identity import FeatureSplit, identify
from resnet_mlflow.files.locks import held
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.linear import from_linear
from resnet_mlflow.longtail.fitting import FitOptions, FittedMethod, fit_method
from resnet_mlflow.longtail.losses import LongTailLoss, build_loss, default_params
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.networks import NormalizedLinear, scaled_directions
from resnet_mlflow.longtail.samplers import build_row_sampler
from resnet_mlflow.longtail.selection import method_parts
from resnet_mlflow.longtail.table import BASELINE, MethodRun
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.longtail_runs import MethodTask, log_fitted, method_run, narrow
from resnet_mlflow.stages.longtail_sources import draw_rows
from resnet_mlflow.stages.network_runs import Trained, image_splits, log_training, logged_epochs, trained_weights
from resnet_mlflow.stages.preparation import Inputs, track_split
from resnet_mlflow.tracking import BACKBONE_ARTIFACT, StageRun, download_backbone, find_runs, load_head_of_run
from resnet_mlflow.training.finetuning import (
    FinetuneNetwork,
    Remedy,
    build_linear,
    finetune_on_images,
    linear_state,
)


def on_images(config: LongtailConfig, inputs: Inputs) -> Iterator["ImageSource"]:
    """Yield the long-tailed images of each seed."""
    for seed in config.all_seeds:
        own = config.model_copy(update={"seed": seed})
        train, val = image_splits(own, inputs)
        train = train.select(draw_rows(train.labels, train.groups, config, inputs, seed))
        splits = {"train": train, "val": val, "test": inputs.dataset.splits["test"]}
        digest = dataset_digest(inputs.dataset.class_names, splits)
        yield ImageSource(inputs, dataclasses.replace(inputs.dataset, splits=splits, digest=digest))


@dataclass
class ImageSource:
    """Images of one seed, long-tailed in ``dataset.splits["train"]``."""

    inputs: Inputs
    dataset: ImageDataset
    base: Trained | None = field(default=None)  # trained with none, for the methods that start from it
    base_run_id: str = ""

    @property
    def train_counts(self) -> NDArray[np.int64]:
        """Return training images per class."""
        return np.array(list(self.dataset.class_counts("train").values()))

    def track(self, run: StageRun) -> None:
        """Log the long-tailed training images as a dataset of the comparison's run."""
        train = self.dataset.splits["train"]
        nothing = np.empty((len(train), 0), np.float32)
        track_split(run, self.inputs, "train", FeatureSplit(nothing, train.labels, train.item_ids))

    def run(self, task: MethodTask) -> MethodRun:
        """Return the result of a method in a nested run; methods that act after training share the network of none."""
        parts = method_parts(task.method)
        after = [part for part in parts if METHODS[part].acts_afterwards and part != BASELINE]
        in_training = tuple(part for part in parts if not METHODS[part].acts_afterwards)
        with method_run(task) as run:
            start = time.perf_counter()
            if in_training or task.method == BASELINE:
                trained = self._train(run, task, in_training)
            else:
                trained = self._base(task)
            if task.method == BASELINE:
                self.base, self.base_run_id = trained, run.run_id
            if trained is self.base:
                # The network is stored in that run, whichever method acts on its features.
                run.set_tags({"backbone_run": self.base_run_id, "features_key": trained.inputs.features_key})
            fitted = FittedMethod(trained.head, default_params(in_training), [], np.nan)
            if after:
                options, name = FitOptions(base=trained.head), "+".join(after)
                corrected = fit_method(name, "linear", {}, trained.splits, task.config.seed, options)
                fitted = dataclasses.replace(corrected, chosen=fitted.chosen | corrected.chosen)
            times = {"time/fit_s": time.perf_counter() - start}
            task = dataclasses.replace(task, inputs=trained.inputs)
            return log_fitted(run, task, fitted, trained.splits, times, step=len(trained.history))

    def _train(self, run: StageRun, task: MethodTask, parts: tuple[str, ...]) -> Trained:
        folder = self.inputs.cache_dir / "checkpoints" / task.cache_key
        folder.mkdir(parents=True, exist_ok=True)
        # Another comparison may train the same network; the lock is next to the folder, which is removed afterwards.
        with held(folder.with_suffix(".lock"), "trains this network"):
            trained = self._train_in(folder, run, task, parts)
            log_training(run, trained)
            shutil.rmtree(folder)
        return trained

    def _train_in(self, folder: Path, run: StageRun, task: MethodTask, parts: tuple[str, ...]) -> Trained:
        config, counts = task.config, self.train_counts
        train, val = self.dataset.splits["train"], self.dataset.splits["val"]
        linear = build_linear(BACKBONES[config.backbone].n_features, len(counts), config.seed)
        loss = build_loss(parts, counts, {}, config.epochs, config.label_smoothing)
        layer = NormalizedLinear(linear.weight.detach().clone(), loss.scale) if loss.scale else linear
        backbone = load_backbone(config.backbone, self.inputs.weights)
        network = FinetuneNetwork(backbone.network, layer, config.train_layers)
        epochs = finetune_on_images(
            network,
            train,
            val,
            config,
            image_size=self.inputs.image_size,
            preprocessing=self.inputs.preprocessing,
            fabric=open_fabric(config.device, self.inputs.precision),
            checkpoint=folder / "last.ckpt",
            fingerprint=task.cache_key,
            remedy=build_remedy(parts, train, counts, config, loss),
        )
        history = list(logged_epochs(run, epochs, config.epochs))
        backbone_file = folder / Path(BACKBONE_ARTIFACT).name
        save_backbone(network.backbone, backbone_file, self.inputs.preprocessing)
        weights = trained_weights(config.backbone, backbone_file, self.inputs.weights, config.train_layers)
        inputs, splits = self._features(config, dataclasses.replace(self.inputs, weights_taken=backbone.taken), weights)
        return Trained(head_of(layer, len(counts)), inputs, splits, history, backbone_file)

    def _features(
        self, config: LongtailConfig, inputs: Inputs, weights: ResolvedWeights
    ) -> tuple[Inputs, dict[str, FeatureSplit]]:
        """Return a trained backbone's features of the long-tailed dataset, and their inputs."""
        identity = identify(self.dataset, config, weights)
        tailed = dataclasses.replace(inputs, dataset=self.dataset, weights=weights, identity=identity)
        features = extract_untracked(config, tailed)
        return dataclasses.replace(tailed, dataset=self.inputs.dataset), dict(features.splits)

    def _base(self, task: MethodTask) -> Trained:
        """Return the network trained with none, from its finished run if this process did not train it."""
        if self.base is None:
            own = dataclasses.replace(task, config=narrow(task.config, BASELINE, task.config.seed))
            found = find_runs({"stage": own.stage, "cache_key": own.cache_key})[0]
            run_id = found.info.run_id
            weights = resolve_weights(task.config.backbone, f"runs:/{run_id}", 0, download_backbone)
            inputs, splits = self._features(task.config, self.inputs, weights)
            head: HeadBase = load_head_of_run(found)
            self.base, self.base_run_id = Trained(head, inputs, splits, [], None), run_id
        return self.base


def build_remedy(
    parts: tuple[str, ...], train: ImageSplit, counts: NDArray[np.int64], config: LongtailConfig, loss: LongTailLoss
) -> Remedy:
    """Return the rows and the loss for methods that act in training, with their default hyperparameters."""
    rows = build_row_sampler(parts, train.labels, len(counts), config.epochs, config.seed)
    return Remedy(rows, loss, loss.on_epoch)


def head_of(layer: nn.Module, n_classes: int) -> HeadBase:
    """Return the head with the logits of a trained last layer; its scale turns cosines into logits."""
    classes = list(range(n_classes))
    if isinstance(layer, NormalizedLinear):
        head = from_linear(scaled_directions(layer), np.zeros(n_classes), classes)
        head.preprocessing = "l2"
        return head
    assert isinstance(layer, nn.Linear)
    return from_linear(*linear_state(layer), classes)
