"""The reference packaged with a classifier: held-out images for comparison with later ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from resnet_mlflow.errors import InputError
from resnet_mlflow.monitoring.kernel import Space
from resnet_mlflow.monitoring.observed import PICTURES, Observed

REFERENCE_FILE, FACTS_FILE = "reference.safetensors", "reference.json"
_MAX_FACTS_BYTES = 2**24
# Number of images kept: 4 MB for 512 features. More would add little, since batches are seldom as large.
MOST_IMAGES = 2000
# With fewer, only extreme changes would be detected.
FEWEST_IMAGES = 20


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out images of a classifier's training data.

    Attributes:
        images: Facts about them; picture measurements possibly only for some.
        space: Space of their features.
        class_names: Class names of the classifier.
    """

    images: Observed
    space: Space
    class_names: tuple[str, ...]

    @property
    def features(self) -> NDArray[np.float32]:
        """Return features of the images in the space, ``(n_images, n_features)``."""
        assert self.images.features is not None
        return self.images.features

    @cached_property
    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel of the images with each other, ``(n_images, n_images)``."""
        return self.space.kernel(self.features, self.features)


def write_reference(folder: Path, reference: Reference) -> None:
    """Write a reference into a classifier's folder: arrays as safetensors, the rest as JSON."""
    facts = {"class_names": list(reference.class_names), "gamma": reference.space.gamma}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    arrays = {"center": reference.space.center, "whitening": reference.space.whitening}
    own = {name: np.ascontiguousarray(value) for name, value in vars(reference.images).items()}
    save_file(own | arrays, folder / REFERENCE_FILE)


def read_reference(folder: Path, class_names: Sequence[str], n_features: int) -> Reference | None:
    """Return a classifier's reference, or None if it was packaged without one.

    Args:
        folder: Folder of the classifier.
        class_names: Names of its classes.
        n_features: Number of features of its backbone.

    Raises:
        InputError: If it is damaged, or belongs to another classifier.
    """
    if not (folder / FACTS_FILE).exists():
        return None
    try:
        if (folder / FACTS_FILE).stat().st_size > _MAX_FACTS_BYTES:
            raise ValueError("a large file")
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return _checked(facts, load_file(folder / REFERENCE_FILE), tuple(class_names), n_features)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"a classifier's folder must contain {FACTS_FILE} and {REFERENCE_FILE}, undamaged, got {folder} "
            f"({reason}); "
            "promote it again"
        ) from None


def _checked(facts: dict[str, Any], arrays: dict[str, Any], names: tuple[str, ...], n_features: int) -> Reference:
    own = Observed(*(arrays[name] for name in ("labels", "confidences", "features", "pictures")))
    space = Space(arrays["center"], arrays["whitening"], float(facts["gamma"]))
    n_images = len(own.labels)
    shapes = {
        "confidences": (n_images,),
        "features": (n_images, n_features),
        "pictures": (n_images, len(PICTURES)),
        "center": (n_features,),
        "whitening": (n_features, n_features),
    }
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape or arrays[name].dtype.kind != "f"]
    finite = all(np.isfinite(arrays[name]).all() for name in shapes if name != "pictures")
    if wrong or not finite or n_images < FEWEST_IMAGES or not np.isin(own.labels, np.arange(len(names))).all():
        raise ValueError(f"other arrays: {', '.join(wrong) or 'values out of range'}")
    if tuple(facts["class_names"]) != names:
        raise ValueError("other classes")
    return Reference(own, space, names)
