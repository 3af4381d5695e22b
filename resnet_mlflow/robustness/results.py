"""Finished results on disk: each classifier's predictions on each corrupted test set, so that a test can continue."""

import hashlib
import json
import logging
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.features.row_file import readable_errors

logger = logging.getLogger(__name__)

# Version of the functions behind ``corruptions.corrupt``: a change that affects pixels needs a new name here.
ALGORITHMS = "1"


@dataclass(frozen=True, eq=False)
class SetResult:
    """One classifier's predictions on one corrupted test set; rows are the tested images, in the dataset's order.

    Attributes:
        predictions: Class indices, ``(n_items,)`` int32.
        confidences: Probability of the predicted class, ``(n_items,)`` float32.
        ece: Expected calibration error.
    """

    predictions: NDArray[np.int32]
    confidences: NDArray[np.float32]
    ece: float


@dataclass(frozen=True)
class SetIdentity:
    """Everything that determines the features of a corrupted test set.

    Attributes:
        items: Digest of the tested images and their labels, in order.
        backbone: Name of the network.
        weights_digest: Identity of its weights.
        preprocessing: Name of the resizing and normalisation.
        image_size: Side of the network's input in pixels.
        precision: ``fp32``, ``bf16`` or ``int8``.
        corruption: Its name.
        severity: 1 to 5; 0 for the clean images.
        corruption_size: As configured; 0 is the images' own size.
        constants: The corruption's constants by table of resolution.
        algorithms: ``ALGORITHMS``.
    """

    items: str
    backbone: str
    weights_digest: str
    preprocessing: str
    image_size: int
    precision: str
    corruption: str
    severity: int
    corruption_size: int
    constants: dict[str, tuple[float, ...]]
    algorithms: str = ALGORITHMS


def cell_key(identity: SetIdentity) -> str:
    """Return the key of a corrupted test set's features in every store, 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(asdict(identity), sort_keys=True).encode(), digest_size=16).hexdigest()


class ResultStore:
    """Results by cell and classifier, one small file each, in a folder that any number of processes share.

    Args:
        root: The cache folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "robustness"

    def path(self, key: str, classifier: str) -> Path:
        """Return the result's path, which need not exist."""
        return self.root / key / f"{classifier}.npz"

    def get(self, key: str, classifier: str) -> SetResult | None:
        """Return a result, or None if there is none; a damaged one is logged and counts as none.

        Args:
            key: Result of ``cell_key``.
            classifier: ID of the run that fitted it.
        """
        return _read(self.path(key, classifier))

    def take(self, file: Path, key: str, classifier: str, n_items: int, n_classes: int) -> None:
        """Store a result that comes from elsewhere.

        Args:
            file: A file written by ``put``.
            key: Result of ``cell_key``.
            classifier: ID of the run that fitted it.
            n_items: Number of tested images.
            n_classes: Number of classes.

        Raises:
            InputError: If it is not a valid result.
        """
        found = _read(file)
        if found is None or not _fits(found, n_items, n_classes):
            raise InputError(
                f"a worker must return results of {n_items} images and {n_classes} classes, got others of {key} for "
                f"run {classifier}; run again"
            )
        self.put(key, classifier, found)

    def put(self, key: str, classifier: str, result: SetResult) -> None:
        """Store a result, written atomically.

        Raises:
            InputError: If the folder cannot be written to.
        """
        path = self.path(key, classifier)
        partial = path.with_name(f".{classifier}.{os.getpid()}.partial.npz")
        with readable_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(partial, **asdict(result))
            partial.replace(path)


def _read(path: Path) -> SetResult | None:
    try:
        with path.open("rb") as file, np.load(file) as found:
            return SetResult(found["predictions"], found["confidences"], float(found["ece"]))
    except FileNotFoundError:
        return None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, TypeError):
        logger.warning("damaged result %s; computing it again", path)
        return None


def _fits(found: SetResult, n_items: int, n_classes: int) -> bool:
    arrays = (found.predictions, "<i4", n_classes - 1), (found.confidences, "<f4", 1)
    return all(
        array.shape == (n_items,) and array.dtype.str == kind and bool(((array >= 0) & (array <= most)).all())
        for array, kind, most in arrays
    )
