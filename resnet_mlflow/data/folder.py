"""Folders of images as datasets: train/val/test, train/test or train/val, or classes only."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resnet_mlflow.data.datasets import ImageDataset, build_dataset
from resnet_mlflow.data.files import LabelledPaths, default_image_size, manifest_path, splits_of_files
from resnet_mlflow.data.formats import EXTENSIONS, MAX_PIXELS, extension_of
from resnet_mlflow.data.layout import find_layout
from resnet_mlflow.data.walking import check_root, distinct_folders, glance, is_utf8, walk
from resnet_mlflow.errors import InputError, printable
from resnet_mlflow.files.paths import user_path

logger = logging.getLogger(__name__)

# Class folders by class name: a name in two Unicode forms has two.
_ClassFolders = Mapping[str, Sequence[Path]]


def load_folder(name: str, *, data_dir: Path, on_bad_image: str = "fail", max_pixels: int = MAX_PIXELS) -> ImageDataset:
    """Return the dataset in a folder.

    The folder holds ``train``, ``val`` and ``test``, under any of their usual names, each with one folder per class. Or
    it holds ``train`` and one of the others, which then is the test split, because selection must never use the only
    held-out images. Or it holds class folders only; a seeded, stratified fifth of their images is the test split. The
    folder may be nested in a folder that holds nothing else.

    Class names that differ only in their Unicode normal form, as between macOS and Linux, are one class. Links to
    folders that are read anyway, or to parent folders, are not followed.

    Args:
        name: ``folder:PATH``.
        data_dir: Where the hashes of files are cached.
        on_bad_image: ``fail`` or ``skip``: what to do about files that are not images or too large, and about folders
            that cannot be read.
        max_pixels: Maximum number of pixels according to an image's header.

    Raises:
        InputError: If the folder is missing or empty, or the classes of its splits differ.
        BadImageError: If a file is not an image, and ``on_bad_image`` is ``fail``.
    """
    root = user_path(name.removeprefix("folder:"), "dataset")
    check_root(root, "the dataset's folder must exist")
    root = root.resolve()
    layout = find_layout(root)
    _tell_not_followed(root, layout.repeated)
    if layout.beside:
        names = printable(", ".join(folder.name for folder in layout.beside))
        logger.warning("%s: folders next to the splits are not read: %s", layout.top, names)
    split_folders = layout.splits
    outside = [layout.top, *layout.top.parents, *split_folders.values()]
    class_folders = {split: _class_folders(folder, outside) for split, folder in split_folders.items()}
    class_names = _shared_classes(split_folders, class_folders)
    listed = _list_images(root, class_folders, outside)
    if not any(listed.values()):
        raise InputError(f"the dataset's folder must contain images in class folders, got none in {root}; add images")
    splits, skipped = splits_of_files(
        listed, manifest=manifest_path(data_dir, root), on_bad_image=on_bad_image, max_pixels=max_pixels
    )
    return build_dataset(
        name=name,
        short_name=printable(root.name),
        class_names=class_names,
        splits=splits,
        default_image_size=default_image_size(next(iter(splits.values()))),
        source=str(root),
        root=root,
        skipped=skipped,
    )


def find_images(folder: Path) -> list[Path]:
    """Return the files below a folder that have an image extension, in order; no file is opened.

    An unreadable folder stays in the list: opening it will give the reason.

    Raises:
        InputError: If the folder does not exist, or has no images.
    """
    check_root(folder, "images must be an existing folder")
    found = walk([folder], folder.resolve().parents)
    _tell_not_followed(folder, found.not_followed)
    paths = [Path(parent, file) for parent, file in found.files[0] if extension_of(file) in EXTENSIONS]
    paths += found.unreadable[0]
    if not paths:
        raise InputError(f"images must be a folder with image files, got none in {folder}; add {', '.join(EXTENSIONS)}")
    return paths


def _class_folders(folder: Path, outside: Iterable[Path]) -> _ClassFolders:
    """Return the folders of each class in a split, by name in composed Unicode form."""
    check_root(folder, "the folder of a split must exist")
    folders, repeated = distinct_folders(folder, outside)
    _tell_not_followed(folder, repeated)
    if folders and glance(folder).has_images:
        logger.warning("%s: images next to the class folders are not read", folder)
    classes: dict[str, list[Path]] = {}
    for path in folders:
        if not is_utf8(path.name):
            raise InputError(f"class names must be UTF-8, got {printable(str(path))}; rename the folder")
        classes.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
    return dict(sorted(classes.items()))


def _shared_classes(split_folders: Mapping[str, Path], class_folders: Mapping[str, _ClassFolders]) -> list[str]:
    first = next(iter(class_folders))
    known = set(class_folders[first])
    for split, classes in class_folders.items():
        folder = split_folders[split]
        place = printable(str(folder))
        apart = f"; move images without labels out of the dataset and pass them to predict (images={place})"
        if not classes:
            has_images = glance(folder).has_images
            got = "images without labels" if has_images else "none"
            raise InputError(
                f"each split must contain one folder per class, got {got} in {place}; add them, or list the labels in "
                f"a table (table:FILE)" + (apart if has_images and split != first else "")
            )
        differing = sorted(known ^ set(classes))
        if differing:
            raise InputError(
                f"all splits must have the same classes, got {', '.join(map(repr, differing[:5]))} in only one of "
                f"{printable(split_folders[first].name)} and {printable(folder.name)} ({place}); add or remove folders"
                + (apart if known.isdisjoint(classes) else "")
            )
    return list(class_folders[first])


def _list_images(
    root: Path, class_folders: Mapping[str, _ClassFolders], outside: Iterable[Path]
) -> dict[str, LabelledPaths]:
    """Return image files per split, by class, then by name; other files are counted and logged.

    Unreadable folders stay among the files, and are later reported as not being images.
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
            if extension_of(file) in EXTENSIONS:
                listed[split].append((f"{parent}{os.sep}{file}", label))
            else:
                ignored[extension_of(file) or "no extension"] += 1
        listed[split] += [(str(path), label) for path in unreadable]
    if ignored:
        counts = ", ".join(f"{count} {printable(extension)}" for extension, count in ignored.most_common(5))
        logger.warning("%s: files without an image extension are not read: %s", root, counts)
    return listed


def _tell_not_followed(folder: Path, links: Sequence[Path]) -> None:
    if links:
        first = printable(str(links[0].relative_to(folder)))
        logger.warning("%s: %d links to folders that are already read are not followed: %s", folder, len(links), first)
