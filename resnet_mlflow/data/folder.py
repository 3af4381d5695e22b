"""Folders of images as datasets: train/val/test, train/test or train/val, or classes only."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, build_dataset
from resnet_mlflow.data.decoding import BadImageError, read_size
from resnet_mlflow.data.files import LabelledPaths, manifest_path, splits_of_files
from resnet_mlflow.data.formats import EXTENSIONS, MAX_PIXELS
from resnet_mlflow.data.walking import check_root, distinct_folders, is_utf8, walk
from resnet_mlflow.errors import InputError, printable
from resnet_mlflow.files.paths import user_path

logger = logging.getLogger(__name__)

_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

# Class folders by class name: a name that was written in two ways has two.
_ClassFolders = Mapping[str, Sequence[Path]]


def load_folder(name: str, *, data_dir: Path, on_bad_image: str = "fail", max_pixels: int = MAX_PIXELS) -> ImageDataset:
    """Return the dataset in a folder.

    The folder holds ``train``, ``val`` and ``test``, each with one folder per class; or ``train`` and one
    of the others, which then is the test split: selection may never touch the only held-out images; or
    class folders only, of which a seeded, stratified fifth is the test split.

    Class names that differ in Unicode's normal form only, as macOS and Linux write them, are one class. Links to
    folders that are read anyway, or lie above, are not followed.

    Args:
        name: ``folder:PATH``.
        data_dir: Where the hashes of files are remembered.
        on_bad_image: ``fail`` or ``skip``: what to do about files that are no images or too large, and about folders
            that cannot be read.
        max_pixels: Most pixels that an image's header may tell of.

    Raises:
        InputError: If the folder is missing or empty, or the classes of its splits differ.
        BadImageError: If a file is no image, and ``on_bad_image`` is ``fail``.
    """
    root = user_path(name.removeprefix("folder:"), "dataset")
    check_root(root, "the dataset's folder must exist")
    root = root.resolve()
    split_folders = _find_splits(root)
    outside = [root, *root.parents, *split_folders.values()]
    class_folders = {split: _class_folders(folder, outside) for split, folder in split_folders.items()}
    class_names = _shared_classes(root, split_folders, class_folders)
    listed = _list_images(root, class_folders, outside)
    if not any(listed.values()):
        raise InputError(f"the dataset's folder must hold images in class folders, got none in {root}; add images")
    splits, skipped = splits_of_files(
        listed, manifest=manifest_path(data_dir, root), on_bad_image=on_bad_image, max_pixels=max_pixels
    )
    return build_dataset(
        name=name,
        short_name=printable(root.name),
        class_names=class_names,
        splits=splits,
        default_image_size=_default_image_size(next(iter(splits.values()))),
        source=str(root),
        skipped_paths=skipped,
    )


def find_images(folder: Path) -> list[Path]:
    """Return the files below a folder that have an image's extension, in order; no file is opened.

    A folder that cannot be read stands in the list: whoever opens it is told why.

    Raises:
        InputError: If there is no such folder, or no image in it.
    """
    check_root(folder, "images must be a folder that exists")
    found = walk([folder], folder.resolve().parents)
    _tell_not_followed(folder, found.not_followed)
    paths = [Path(parent, file) for parent, file in found.files[0] if _extension(file) in EXTENSIONS]
    paths += found.unreadable[0]
    if not paths:
        raise InputError(f"images must be a folder with image files, got none in {folder}; add {', '.join(EXTENSIONS)}")
    return paths


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split, or that of all images under ``all``."""
    folders, repeated = distinct_folders(root, [root, *root.parents])
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
    _tell_not_followed(root, repeated)
    others = [folder.name for folder in folders if folder not in found.values()]
    if others:
        logger.warning("%s: folders beside the splits are not read: %s", root, printable(", ".join(others)))
    if "test" not in found:
        logger.warning("%s has no test folder: %s is the test split, train gives validation", root, found["val"].name)
        found["test"] = found.pop("val")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _class_folders(folder: Path, outside: Iterable[Path]) -> _ClassFolders:
    """Return the folders of each class in a split, by name in Unicode's composed form."""
    check_root(folder, "the folder of a split must exist")
    folders, repeated = distinct_folders(folder, outside)
    _tell_not_followed(folder, repeated)
    classes: dict[str, list[Path]] = {}
    for path in folders:
        if not is_utf8(path.name):
            raise InputError(f"class names must be UTF-8, got {printable(str(path))}; rename the folder")
        classes.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
    return dict(sorted(classes.items()))


def _shared_classes(
    root: Path, split_folders: Mapping[str, Path], class_folders: Mapping[str, _ClassFolders]
) -> list[str]:
    first, *rest = class_folders
    for split in rest:
        differing = sorted(set(class_folders[first]) ^ set(class_folders[split]))
        if differing:
            raise InputError(
                f"all splits must have the same classes, got {', '.join(map(repr, differing[:5]))} "
                f"in only one of {first} and {split} of {root}; add or remove class folders"
            )
    if not class_folders[first]:
        raise InputError(f"each split must hold one folder per class, got none in {split_folders[first]}; add them")
    return list(class_folders[first])


def _list_images(
    root: Path, class_folders: Mapping[str, _ClassFolders], outside: Iterable[Path]
) -> dict[str, LabelledPaths]:
    """Return image files per split, by class, then by name; other files are counted and logged.

    Folders that cannot be read stand among the files, and will be found to be none.
    """
    roots = [
        (split, label, folder)
        for split, classes in class_folders.items()
        for label, folders in enumerate(classes.values())
        for folder in folders
    ]
    found = walk([folder for _, _, folder in roots], outside)
    _tell_not_followed(root, found.not_followed)
    listed: dict[str, LabelledPaths] = {split: [] for split in class_folders}
    ignored: Counter[str] = Counter()
    for (split, label, _), files, unreadable in zip(roots, found.files, found.unreadable, strict=True):
        for parent, file in files:
            if _extension(file) in EXTENSIONS:
                listed[split].append((Path(parent, file), label))
            else:
                ignored[_extension(file) or "no extension"] += 1
        listed[split] += [(path, label) for path in unreadable]
    if ignored:
        counts = ", ".join(f"{count} {printable(extension)}" for extension, count in ignored.most_common(5))
        logger.warning("%s: files without an image's extension are not read: %s", root, counts)
    return listed


def _tell_not_followed(folder: Path, links: Sequence[Path]) -> None:
    if links:
        first = printable(str(links[0].relative_to(folder)))
        logger.warning("%s: %d links to folders that are read anyway are not followed: %s", folder, len(links), first)


def _extension(file: str) -> str:
    return os.path.splitext(file)[1].lower()  # noqa: PTH122 - a Path per file doubles the time


def _default_image_size(split: ImageSplit) -> int:
    """Return 64 where images are about 32 pixels wide, else 224, by a sample of the files' headers."""
    sides = []
    assert split.paths is not None
    for path in split.paths[:: max(1, len(split) // 64)]:
        try:
            sides.append(min(read_size(path)))
        except BadImageError:
            # Decoding will name the file.
            continue
    return 64 if sides and np.median(sides) <= 40 else 224
