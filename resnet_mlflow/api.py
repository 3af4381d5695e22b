"""The Python API, from a folder of images to a classifier: ``load``, ``extract`` and ``fit``.

Parameters, with their rules, defaults and errors, are those of the entry point ``fit_head`` (docs/parameters.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation
from resnet_mlflow.features.identity import FeatureSplit, partition, refuse_skipped
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.paths import user_path
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.serving.classifier import Classifier, Description
from resnet_mlflow.stages.classifiers import load_classifier
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.preparation import Inputs, prepare, prepare_dataset
from resnet_mlflow.stages.reporting import evaluate_head

if TYPE_CHECKING:
    from matplotlib.figure import Figure

File = str | Path


@dataclass(frozen=True)
class Data:
    """Images with labels.

    Attributes:
        dataset: Splits, class names, and a digest of the content.
        parameters: The parameters it was loaded with.
    """

    dataset: ImageDataset
    parameters: Mapping[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return self.dataset.class_names


@dataclass(frozen=True)
class Features:
    """Features of images from a frozen backbone.

    Attributes:
        config: The configuration they were made with.
        inputs: Dataset, weights and digests.
        splits: Features ``(n_images, n_features)`` and labels, named ``train``, ``val`` and ``test``.
    """

    config: FitHeadConfig
    inputs: Inputs
    splits: Mapping[str, FeatureSplit]


def load(dataset: str, **parameters: Any) -> Data:
    """Return images with labels.

    Args:
        dataset: For example ``folder:/data/birds``, ``table:list.csv``, ``digits`` or ``cifar10``.
        **parameters: Options for reading it, such as ``on_bad_image="skip"`` or ``group_by="patient"``.

    Raises:
        InputError: If the dataset is not available, or a parameter breaks its rule.
    """
    given = {"dataset": dataset, **parameters}
    config = validate(FitHeadConfig, given)
    return Data(prepare_dataset(config, default_cache_dir(config.cache_dir)), given)


def extract(data: Data, backbone: str = "resnet18", **parameters: Any) -> Features:
    """Return a dataset's features from a frozen backbone; they come from the store if they were computed before.

    Args:
        data: Result of ``load``.
        backbone: For example ``resnet50``.
        **parameters: Further parameters, such as ``weights="imagenet"``, ``image_size=224``, ``val_fraction=0.1`` or
            ``seed=1``.

    Raises:
        InputError: If the weights are not available, or a parameter breaks its rule.
    """
    config = validate(FitHeadConfig, {**data.parameters, "backbone": backbone, **parameters})
    inputs = prepare(config)
    features = extract_untracked(config, inputs)
    refuse_skipped(features, config.on_bad_image)
    return Features(config, inputs.without(features), partition(features, config.val_fraction, config.seed))


def fit(features: Features, head: str = "svm", *, track: bool = False, **params: Any) -> "Fitted":
    """Return a classifier: a head fitted on the training features and calibrated on the validation split.

    Args:
        features: Result of ``extract``.
        head: ``svm``, ``knn``, ``mlp``, ``prototype`` or ``linear``.
        track: Whether to log it to MLflow, exactly as the entry point ``fit_head`` does.
        **params: Parameters of the head, such as ``C=1.0``.

    Raises:
        InputError: If the head or one of its parameters is unknown, or a parameter breaks its rule.
    """
    text = yaml.safe_dump(params, default_flow_style=True, width=10_000).strip()
    config = validate(FitHeadConfig, {**features.config.model_dump(), "head": head, "head_params": text})
    if track:
        run_id = run_fit_head(config).run_id
        return Fitted(config, features, load_classifier(run_id).head, run_id)
    fitted = build_head(head, parse_head_params(text), config.seed)
    train, val = features.splits["train"], features.splits["val"]
    fitted.fit(train.features, train.labels, val.features, val.labels)
    if config.calibration == "temperature":
        fitted.calibrate(val.features, val.labels)
    return Fitted(config, features, fitted)


@dataclass(frozen=True)
class Fitted:
    """A classifier: a backbone and a head fitted on its features.

    Attributes:
        config: The configuration it was made with.
        features: The features it was fitted on.
        head: A scikit-learn estimator on features.
        run_id: ID of its MLflow run; empty if it is not tracked.
    """

    config: FitHeadConfig
    features: Features
    head: HeadBase
    run_id: str = ""

    def evaluate(self, split: str = "test") -> Evaluation:
        """Return the scores of a split: ``metrics`` by name, and their 95 % ``intervals``.

        Args:
            split: ``val`` or ``test``. Choose models by ``val``: scores on ``test`` are biased once it guides a choice.
        """
        if split not in self.features.splits:
            raise InputError(f"split must be one of {', '.join(self.features.splits)}, got {split!r}")
        return evaluate_head(self.head, self.features.splits[split], self._class_names)

    def confusion_matrix(self, split: str = "test") -> "Figure":
        """Return the confusion matrix of a split as a matplotlib figure; ``evaluate`` returns it as numbers."""
        from resnet_mlflow.evaluation.figures import confusion_matrix_figure

        return confusion_matrix_figure(self.evaluate(split).confusion, self._class_names)

    def predict(self, images: File | Sequence[File]) -> list[str]:
        """Return the most probable class of each image file."""
        return self._classifier.predict(_paths(images))

    def predict_proba(self, images: File | Sequence[File]) -> NDArray[np.floating[Any]]:
        """Return the class probabilities of each image file, ``(n_images, n_classes)``."""
        return self._classifier.predict_proba(_paths(images))

    def grad_cam(self, image: File) -> "Figure":
        """Return a figure of an image next to a heat map of the regions that support its predicted class.

        Raises:
            InputError: If the head has no gradients. ``linear`` and ``mlp`` are among those that have them.
        """
        from resnet_mlflow.evaluation.grad_cam import grad_cam, locating_stage
        from resnet_mlflow.evaluation.image_figures import map_figure

        inputs, scores = self.features.inputs, self.predict_proba(image)[0]
        best = int(scores.argmax())
        split = ImageSplit(np.zeros(1, dtype=np.int64), np.array([""]), paths=tuple(_paths(image)))
        how = inputs.preprocessing
        batch = next(iterate_batches(split, inputs.image_size, 1, 0, preprocessing=how))
        backbone = build_backbone(self.config.backbone, inputs.weights)
        stage = locating_stage(inputs.image_size)
        heat = grad_cam(backbone, self.head.to_torch(), normalize(batch.images, preprocessing=how), [best], stage)
        shown = batch.images[0].permute(1, 2, 0).numpy()
        return map_figure(shown, heat[0], f"{self._class_names[best]} ({scores[best]:.2f})")

    @property
    def _class_names(self) -> tuple[str, ...]:
        return self.features.inputs.dataset.class_names

    @cached_property
    def _classifier(self) -> Classifier:
        inputs = self.features.inputs
        description = Description(
            self.config.backbone, self._class_names, inputs.image_size, inputs.precision, inputs.identity.preprocessing
        )
        return Classifier(description, build_backbone(self.config.backbone, inputs.weights), self.head)


def _paths(images: File | Sequence[File]) -> list[Path]:
    files = [images] if isinstance(images, str | Path) else list(images)
    return [user_path(str(file), "image") for file in files]
