"""The classification datasets of torchvision by name: one table; a dataset is downloaded only when requested.

Not included: CelebA (many attributes per image), LFW and Omniglot (no class is in both splits), LSUN (cannot be
downloaded), FakeData, and everything that is not one label per image.
"""

import logging
import shutil
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, Skipped, build_dataset, split_of_arrays
from resnet_mlflow.data.files import LabelledPaths, manifest_path, splits_of_files
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.data.torchvision_readers import (
    Reader,
    files_in,
    pairs_in,
    read_arrays,
    read_caltech101,
    read_caltech256,
    read_clevr,
    read_fer2013,
    read_inaturalist,
    read_pcam,
    read_qmnist,
)
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import without_compiler

logger = logging.getLogger(__name__)

# torchvision's own downloads have no timeout; this is the limit per attempt and per read.
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Entry:
    """How a torchvision dataset becomes one of ours.

    Attributes:
        class_name: Class in ``torchvision.datasets``.
        splits: Constructor arguments for each of our splits; ``all`` gets a seeded test split.
        read: Turns the torchvision object into arrays or files, with labels.
        image_size: Default side in pixels.
        classes: Class names, if torchvision has none.
        by_hand: Whether it must be downloaded by hand.
    """

    class_name: str
    splits: Mapping[str, Mapping[str, Any]]
    read: Reader
    image_size: int = 224
    classes: tuple[str, ...] = ()
    by_hand: bool = False


_FLAG = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
_TRAIN_VAL_TEST = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
# The test labels are secret or missing: the validation split is the held-out one.
_TRAIN_VAL = {"train": {"split": "train"}, "test": {"split": "val"}}
_ALL: dict[str, dict[str, Any]] = {"all": {}}
_DIGITS = tuple("0123456789")

TABLE: Mapping[str, Entry] = {
    "caltech101": Entry("Caltech101", _ALL, read_caltech101),
    "caltech256": Entry("Caltech256", _ALL, read_caltech256),
    "cifar10": Entry("CIFAR10", _FLAG, read_arrays, 64),
    "cifar100": Entry("CIFAR100", _FLAG, read_arrays, 64),
    "clevr": Entry("CLEVRClassification", _TRAIN_VAL, read_clevr, classes=tuple(f"{n} objects" for n in range(3, 11))),
    "country211": Entry(
        "Country211",
        {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
        pairs_in("samples"),
    ),
    "dtd": Entry("DTD", _TRAIN_VAL_TEST, files_in("_image_files")),
    "emnist": Entry(
        "EMNIST",
        {"train": {"split": "balanced", "train": True}, "test": {"split": "balanced", "train": False}},
        read_arrays,
        64,
    ),
    "eurosat": Entry("EuroSAT", _ALL, pairs_in("samples"), 64),
    "fashion_mnist": Entry("FashionMNIST", _FLAG, read_arrays, 64),
    "fer2013": Entry(
        "FER2013",
        _TRAIN_TEST,
        read_fer2013,
        64,
        classes=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        by_hand=True,
    ),
    "fgvc_aircraft": Entry("FGVCAircraft", _TRAIN_VAL_TEST, files_in("_image_files")),
    "flowers102": Entry("Flowers102", _TRAIN_VAL_TEST, files_in("_image_files")),
    "food101": Entry("Food101", _TRAIN_TEST, files_in("_image_files")),
    "gtsrb": Entry("GTSRB", _TRAIN_TEST, pairs_in("_samples"), 64, classes=tuple(f"{n:02d}" for n in range(43))),
    "imagenet": Entry("ImageNet", _TRAIN_VAL, pairs_in("samples"), by_hand=True),
    "imagenette": Entry("Imagenette", _TRAIN_VAL, pairs_in("_samples")),
    "inaturalist": Entry(
        "INaturalist", {"train": {"version": "2021_train_mini"}, "test": {"version": "2021_valid"}}, read_inaturalist
    ),
    "kmnist": Entry("KMNIST", _FLAG, read_arrays, 64),
    "mnist": Entry("MNIST", _FLAG, read_arrays, 64),
    "oxford_pets": Entry(
        "OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}, files_in("_images")
    ),
    "pcam": Entry("PCAM", _TRAIN_VAL_TEST, read_pcam, 96, classes=("no tumour", "tumour")),
    "places365": Entry(
        "Places365",
        {"train": {"split": "train-standard", "small": True}, "test": {"split": "val", "small": True}},
        pairs_in("imgs"),
    ),
    "qmnist": Entry("QMNIST", _FLAG, read_qmnist, 64),
    "rendered_sst2": Entry("RenderedSST2", _TRAIN_VAL_TEST, pairs_in("_samples")),
    "semeion": Entry("SEMEION", _ALL, read_arrays, 32, classes=_DIGITS),
    "stanford_cars": Entry("StanfordCars", _TRAIN_TEST, pairs_in("_samples"), by_hand=True),
    "stl10": Entry("STL10", _TRAIN_TEST, read_arrays, 96),
    "sun397": Entry("SUN397", _ALL, files_in("_image_files")),
    "svhn": Entry("SVHN", _TRAIN_TEST, read_arrays, 64, classes=_DIGITS),
    "usps": Entry("USPS", _FLAG, read_arrays, 32, classes=_DIGITS),
}


def load_torchvision(
    name: str, *, data_dir: Path, on_bad_image: str = "fail", max_pixels: int = MAX_PIXELS
) -> ImageDataset:
    """Return a dataset of the table, downloaded to ``data_dir`` if it is not there yet.

    Args:
        name: A key of ``TABLE``.
        data_dir: Holds the dataset in a folder with its name, or in torchvision's layout.
        on_bad_image: ``fail`` or ``skip``.
        max_pixels: Maximum number of pixels according to an image's header.

    Raises:
        InputError: If it is missing and cannot be downloaded, or is not usable.
    """
    entry = TABLE[name]
    root, sources = _find_or_download(name, entry, data_dir)
    try:
        found = {split: entry.read(source) for split, source in sources.items()}
    except (RuntimeError, OSError) as error:
        raise InputError(_unusable(name, root, error)) from None
    class_names = _class_names(entry, next(iter(sources.values())))
    skipped: tuple[Skipped, ...] = ()
    splits: dict[str, ImageSplit] = {}
    listed: dict[str, LabelledPaths] = {}
    for split, items in found.items():
        if isinstance(items, list):
            # Some of torchvision's lists come in the order of the file system.
            listed[split] = [(str(path), label) for path, label in sorted(items)]
        else:
            splits[split] = split_of_arrays(*items)
    if listed:
        manifest = manifest_path(data_dir, root / name)
        splits, skipped = splits_of_files(listed, manifest=manifest, on_bad_image=on_bad_image, max_pixels=max_pixels)
    return build_dataset(
        name=name,
        class_names=class_names,
        splits=splits,
        default_image_size=entry.image_size,
        source=f"torchvision.datasets.{entry.class_name}",
        root=root,
        skipped=skipped,
    )


def _class_names(entry: Entry, dataset: Any) -> list[str]:
    """Return one distinct name per class, the first of several synonyms."""
    given: Iterable[Any] = entry.classes
    for attribute in ("classes", "categories", "all_categories"):
        given = given or getattr(dataset, attribute, ())
    names = [str(name[0] if isinstance(name, tuple) else name) for name in given]
    # ImageNet has two classes called crane.
    return [f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _find_or_download(name: str, entry: Entry, data_dir: Path) -> tuple[Path, dict[str, Any]]:
    target = data_dir / name
    reason: Exception = FileNotFoundError("not found")
    for root in (target, data_dir):
        if root.is_dir():
            try:
                return root, _open(entry, root, download=False)
            except Exception as error:  # a missing or damaged file can make torchvision raise anything
                reason = error
    if entry.by_hand:
        raise InputError(
            f"{name} cannot be downloaded automatically ({_one_line(reason)}); place its files under {target} as "
            f"documented for torchvision.datasets.{entry.class_name}"
        )
    if _holds_files(target):
        raise InputError(_unusable(name, target, reason))
    return target, _download(name, entry, target)


def _download(name: str, entry: Entry, target: Path) -> dict[str, Any]:
    """Return the opened dataset; it is downloaded next to its final folder and moved there when complete."""
    from filelock import FileLock

    beside = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not _holds_files(target):
                logger.info("downloading %s to %s", name, target)
                shutil.rmtree(beside, ignore_errors=True)
                beside.mkdir()
                with _impatient_sockets():
                    _open(entry, beside, download=True)
                shutil.rmtree(target, ignore_errors=True)
                beside.replace(target)
            return _open(entry, target, download=False)
    except Exception as error:  # network, disk, checksum or a missing optional package: reported in torchvision's words
        raise InputError(
            f"{name} must be in {target} or downloadable, got: {_one_line(error)}; check the network, or put the "
            f"dataset there"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _holds_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _open(entry: Entry, root: Path, *, download: bool) -> dict[str, Any]:
    with without_compiler():
        import torchvision.datasets

    constructor = getattr(torchvision.datasets, entry.class_name)
    fetch = {} if entry.by_hand else {"download": download}
    with warnings.catch_warnings():
        # NumPy warns about the pickles in which CIFAR has been distributed since 2009.
        warnings.simplefilter("ignore")
        return {split: constructor(root, **arguments, **fetch) for split, arguments in entry.splits.items()}


@contextmanager
def _impatient_sockets() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unusable(name: str, root: Path, error: Exception) -> str:
    return f"{root} must contain all of {name}, got: {_one_line(error)}; complete the folder, or remove it"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
