"""Folders of images as datasets: train/val/test, train/test or train/val, or classes only."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, build_dataset
from resnet_mlflow.data.files import manifest_path, splits_of_files
from resnet_mlflow.errors import InputError

logger = logging.getLogger(__name__)

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


def load_folder(name: str, *, data_dir: Path, on_bad_image: str = "fail") -> ImageDataset:
    """Return the dataset in a folder.

    The folder holds ``train``, ``val`` and ``test``, each with one folder per class; or ``train`` and one
    of the others, which then is the test split: selection may never touch the only held-out images; or
    class folders only, of which a seeded, stratified fifth is the test split.

    Args:
        name: ``folder:PATH``.
        data_dir: Where the hashes of files are remembered.
        on_bad_image: ``fail`` or ``skip``: what to do about empty files and files that are no images.

    Raises:
        InputError: If the folder is missing or empty, or the classes of its splits differ.
        BadImageError: If a file is no image, and ``on_bad_image`` is ``fail``.
    """
    root = Path(name.removeprefix("folder:")).expanduser()
    if not root.is_dir():
        raise InputError(f"the dataset's folder must exist, got {root}; check the path")
    root = root.resolve()
    split_folders = _find_splits(root)
    class_names = _shared_classes(root, split_folders)
    listed = {split: list(_list_images(folder, class_names)) for split, folder in split_folders.items()}
    if not any(listed.values()):
        raise InputError(f"the dataset's folder must hold images in class folders, got none in {root}; add images")
    splits, skipped = splits_of_files(listed, manifest=manifest_path(data_dir, root), on_bad_image=on_bad_image)
    return build_dataset(
        name=name,
        short_name=root.name,
        class_names=class_names,
        splits=splits,
        default_image_size=_default_image_size(next(iter(splits.values()))),
        source=str(root),
        skipped_paths=skipped,
    )


def find_images(folder: Path) -> list[Path]:
    """Return the files below a folder that have an image's extension, in order; no file is opened.

    Raises:
        InputError: If there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"images must be a folder that exists, got {folder}; check the path")
    paths: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_clutter(name))
        shown = (Path(parent, file) for file in sorted(files) if not _is_clutter(file))
        paths += [path for path in shown if path.suffix.lower() in EXTENSIONS]
    if not paths:
        raise InputError(f"images must be a folder with image files, got none in {folder}; add {', '.join(EXTENSIONS)}")
    return paths


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split, or that of all images under ``all``."""
    folders = _visible_folders(root)
    found = {_SPLIT_NAMES[folder.name.lower()]: folder for folder in folders if folder.name.lower() in _SPLIT_NAMES}
    if not folders:
        raise InputError(f"the dataset's folder must hold one folder per class, got none in {root}; add them")
    if "train" not in found:
        return {"all": root}
    if len(found) == 1:
        if len(folders) > 1:
            return {"all": root}
        raise InputError(
            f"a train folder must lie beside a test or val folder, got neither in {root}; "
            f"name folder:{found['train']} for a seeded split"
        )
    others = [folder.name for folder in folders if folder not in found.values()]
    if others:
        logger.warning("%s: folders beside the splits are not read: %s", root, ", ".join(others))
    if "test" not in found:
        logger.warning("%s has no test folder: %s is the test split, train gives validation", root, found["val"].name)
        found["test"] = found.pop("val")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _shared_classes(root: Path, split_folders: Mapping[str, Path]) -> list[str]:
    classes = {split: [folder.name for folder in _visible_folders(path)] for split, path in split_folders.items()}
    first, *rest = classes
    for split in rest:
        differing = sorted(set(classes[first]) ^ set(classes[split]))
        if differing:
            raise InputError(
                f"all splits must have the same classes, got {', '.join(map(repr, differing[:5]))} "
                f"in only one of {first} and {split} of {root}; add or remove class folders"
            )
    if not classes[first]:
        raise InputError(f"each split must hold one folder per class, got none in {split_folders[first]}; add them")
    return classes[first]


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_clutter(path.name))


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name in _CLUTTER


def _list_images(folder: Path, class_names: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Yield image files by class, then by name; other files are counted and logged."""
    ignored: Counter[str] = Counter()
    for label, class_name in enumerate(class_names):
        for parent, folders, files in os.walk(folder / class_name, followlinks=True):
            folders[:] = sorted(name for name in folders if not _is_clutter(name))
            for file in sorted(name for name in files if not _is_clutter(name)):
                extension = os.path.splitext(file)[1].lower()  # noqa: PTH122 - a Path per file doubles the time
                if extension in EXTENSIONS:
                    yield Path(parent, file), label
                else:
                    ignored[extension or "no extension"] += 1
    if ignored:
        counts = ", ".join(f"{count} {extension}" for extension, count in ignored.most_common(5))
        logger.warning("%s: files without an image's extension are not read: %s", folder, counts)


def _default_image_size(split: ImageSplit) -> int:
    """Return 64 where images are about 32 pixels wide, else 224, by a sample of the files' headers."""
    from PIL import Image

    sides = []
    assert split.paths is not None
    for path in split.paths[:: max(1, len(split) // 64)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except Exception:  # whatever a damaged header leads PIL to: decoding will name the file
            continue
    return 64 if sides and np.median(sides) <= 40 else 224
