"""A complete classifier from image to class, and its folder: no pickle, no tracking, no dataset."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone, save_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.data.loading import Change
from resnet_mlflow.devices import pick_device
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import PREPROCESSING
from resnet_mlflow.features.streaming import Block, extract_split
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.storage import read_head, write_head
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.uncertainty.pictures import Light, measure_light
from resnet_mlflow.uncertainty.rules import Judged, Rules, read_rules, write_rules

BACKBONE_FILE, HEAD_FILE, DESCRIPTION_FILE = "backbone.safetensors", "head.skops", "classifier.json"
MAX_DESCRIPTION_BYTES = 2**24

# Pixels of equal size, or for each image the content of its file or the file itself.
Images = NDArray[np.uint8] | Sequence[bytes] | Sequence[Path]
Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Description:
    """Everything about a classifier except its weights.

    Attributes:
        backbone: Name of the network.
        class_names: Names of the classes 0, 1, ...
        image_size: Side of the network's input in pixels.
        precision: ``fp32``, ``bf16`` or ``int8``.
        preprocessing: Name of the resizing and normalisation that the weights expect.
    """

    backbone: str
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_size: Annotated[int, Field(ge=16, le=4096)]
    precision: Annotated[str, Field(pattern="^(fp32|bf16|int8)$")]
    preprocessing: str = PREPROCESSING


class Classifier:
    """Preprocessing, backbone, head and class names; maps images to probabilities.

    Args:
        description: Network, image size and preprocessing.
        backbone: Result of ``build_backbone``.
        head: Head fitted on the backbone's features; its classes are indices of the class names.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        rules: Rules for withholding an answer; None means that it always answers.

    Raises:
        InputError: If the images would be preprocessed in a way that the weights do not expect.
    """

    def __init__(
        self,
        description: Description,
        backbone: nn.Module,
        head: HeadBase,
        device: str = "auto",
        rules: Rules | None = None,
    ) -> None:
        self._preprocessing = Preprocessing.read(description.preprocessing)
        self.description = description
        self.head = head
        self.rules = rules
        self._form = inference_form(backbone, description.precision, pick_device(device))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the probabilities."""
        return self.description.class_names

    def predict_proba(self, images: Images, max_pixels: int = MAX_PIXELS) -> Scores:
        """Return probabilities, ``(n_images, n_classes)``.

        Args:
            images: ``(n_images, height, width, 3)`` uint8, or one file, or one file's content, per image; at least one.
            max_pixels: Maximum number of pixels according to a file's header.

        Raises:
            BadImageError: If an image cannot be decoded.
        """
        return np.concatenate([judged.probabilities for _, judged in self.iterate(images, max_pixels=max_pixels)])

    def predict(self, images: Images) -> list[str]:
        """Return the predicted class name of each image; see ``predict_proba``."""
        return [self.class_names[index] for _, judged in self.iterate(images) for index in judged.labels]

    def iterate(
        self,
        images: Images,
        *,
        batch_size: int = 128,
        num_workers: int = -1,
        on_skip: Callable[[int, BadImageError], None] | None = None,
        max_pixels: int = MAX_PIXELS,
        groups: Sequence[str] = (),
    ) -> Iterator[tuple[NDArray[np.int64], Judged]]:
        """Yield positions of images and the answers for them, block by block, in order.

        Args:
            images: As for ``predict_proba``.
            batch_size: Images decoded together.
            num_workers: Threads that decode ahead; -1 means one per core.
            on_skip: Called with the position and the error of each image that cannot be decoded; None raises the error.
            max_pixels: As for ``predict_proba``.
            groups: Name of each image's group, if prediction sets are per group.
        """
        light = np.zeros((len(images), 4), dtype=np.float32)
        change = None if self.rules is None or not self.rules.limits else partial(_measure, light)
        blocks = self.features(
            images,
            batch_size=batch_size,
            num_workers=num_workers,
            on_skip=on_skip,
            max_pixels=max_pixels,
            change=change,
        )
        for rows, features in blocks:
            yield rows, self._judge(features, light[rows], [groups[row] for row in rows] if groups else [])

    def features(
        self,
        images: Images,
        *,
        batch_size: int = 128,
        num_workers: int = -1,
        on_skip: Callable[[int, BadImageError], None] | None = None,
        max_pixels: int = MAX_PIXELS,
        change: Change | None = None,
    ) -> Iterator[Block]:
        """Yield positions of images and their features, ``(n_images, n_features)``; arguments as for ``iterate``.

        ``change`` is applied to decoded images before they are resized.
        """
        return self.features_of(
            _as_split(images, max_pixels),
            batch_size=batch_size,
            num_workers=num_workers,
            on_skip=on_skip,
            change=change,
        )

    def features_of(
        self,
        images: ImageSplit,
        *,
        batch_size: int = 128,
        num_workers: int = -1,
        on_skip: Callable[[int, BadImageError], None] | None = None,
        change: Change | None = None,
    ) -> Iterator[Block]:
        """Yield rows of a split and their features; see ``features``."""
        return extract_split(
            self._form,
            images,
            self.description.image_size,
            preprocessing=self._preprocessing,
            batch_size=batch_size,
            num_workers=num_workers,
            on_skip=on_skip,
            change=change,
        )

    def _judge(self, features: NDArray[np.float32], light: Light, groups: Sequence[str]) -> Judged:
        if self.rules is None:
            return unconditional(self.head.predict_proba(features))
        return self.rules.judge(self.head, features, light, self.class_names, groups)


def unconditional(probabilities: Scores) -> Judged:
    """Return the answers without rules: always the most probable class."""
    n_images, labels = len(probabilities), probabilities.argmax(axis=1)
    return Judged(probabilities, labels, None, np.ones(n_images, dtype=bool), np.full(n_images, ""))


def _measure(light: Light, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Record the brightness of decoded images as they pass through."""
    light[rows] = measure_light(images)
    return images


def _as_split(images: Images, max_pixels: int) -> ImageSplit:
    """Return the images as a split without labels, so that they are read in the same way as in training."""
    n_images = len(images)
    labels, ids = np.zeros(n_images, dtype=np.int64), np.full(n_images, "", dtype="<U1")
    if isinstance(images, np.ndarray):
        return ImageSplit(labels, ids, images=images)
    encoded = tuple(image for image in images if isinstance(image, bytes))
    if len(encoded) == n_images:
        return ImageSplit(labels, ids, encoded=encoded, max_pixels=max_pixels)
    return ImageSplit(
        labels, ids, paths=tuple(image for image in images if isinstance(image, Path)), max_pixels=max_pixels
    )


def write_classifier(
    folder: Path, description: Description, backbone: nn.Module, head: HeadBase, rules: Rules | None = None
) -> None:
    """Write a classifier's folder: the backbone as safetensors, the head with skops, the rest as JSON."""
    if rules is not None:
        write_rules(folder, rules)
    save_backbone(backbone, folder / BACKBONE_FILE)
    write_head(head, folder / HEAD_FILE)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(asdict(description), indent=1), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a classifier, see ``Classifier``."""

    description: Description
    backbone: nn.Module
    head: HeadBase
    rules: Rules | None


def read_classifier(folder: Path, device: str = "auto") -> Classifier:
    """Return the classifier written by ``write_classifier``.

    Raises:
        InputError: If the folder holds no classifier, or a damaged one.
    """
    parts = read_parts(folder)
    return Classifier(parts.description, parts.backbone, parts.head, device, parts.rules)


def read_parts(folder: Path) -> Parts:
    """Return the parts of the classifier in a folder; see ``read_classifier``."""
    description = _read_description(folder / DESCRIPTION_FILE)
    path = folder / BACKBONE_FILE
    backbone = build_backbone(description.backbone, ResolvedWeights("packaged", "packaged", path=path))
    head = read_head(folder / HEAD_FILE)
    expected = (BACKBONES[description.backbone].n_features, len(description.class_names))
    if (head.n_features_in_, len(head.classes_)) != expected:
        raise InputError(
            f"a classifier's head must take the {expected[0]} features of {description.backbone} and have "
            f"{expected[1]} classes, got one with {head.n_features_in_} and {len(head.classes_)}; promote it again"
        )
    return Parts(description, backbone, head, read_rules(folder, head, description.class_names))


def _read_description(path: Path) -> Description:
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(Description).validate_python(content)
    except (OSError, ValueError, RecursionError) as error:
        reason = _first_problem(error)
        raise InputError(
            f"a classifier's folder must contain {path.name}, got {path.parent} ({reason}); pass a promoted model"
        ) from None


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"[:200]
    return str(error)[:200]
