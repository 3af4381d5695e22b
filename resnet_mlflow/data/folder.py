"""Folders of images as datasets: train/val/test, train/test or train/val, or classes only."""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, build_dataset, content_id
from resnet_mlflow.data.decoding import BadImageError, image_format
from resnet_mlflow.errors import InputError

logger = logging.getLogger(__name__)

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_FILES_TRIED, _FILES_PER_TASK = 32, 256
# A file of 32 x 32 pixels takes 0.013 ms from the system's memory, a photograph of 110 kB 0.12 ms.
_NEAR_AND_SMALL_S = 5e-5

# An image file and its label, before anybody looked into it.
LabelledPaths = list[tuple[Path, int]]


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


def splits_of_files(
    listed: Mapping[str, LabelledPaths], *, manifest: Path, on_bad_image: str
) -> tuple[dict[str, ImageSplit], tuple[Path, ...]]:
    """Return splits of files with their content ids, and the files left out.

    Args:
        listed: Files and labels per split.
        manifest: File that remembers the ids of unchanged files.
        on_bad_image: ``fail`` or ``skip``.

    Raises:
        BadImageError: If a file is no image, and ``on_bad_image`` is ``fail``.
    """
    ids = _identify([path for files in listed.values() for path, _ in files], manifest)
    bad = [error for error in ids.values() if isinstance(error, BadImageError)]
    if bad and on_bad_image == "fail":
        raise bad[0]
    for error in bad:
        logger.warning("skipped: %s (%s)", error.path, error.reason)
    splits = {}
    for split, files in listed.items():
        kept = [(path, label, ids[path]) for path, label in files if not isinstance(ids[path], BadImageError)]
        splits[split] = ImageSplit(
            labels=np.array([label for _, label, _ in kept], dtype=np.int64),
            item_ids=np.array([item_id for _, _, item_id in kept], dtype="<U32"),
            paths=tuple(path for path, _, _ in kept),
        )
    return splits, tuple(error.path for error in bad)


def manifest_path(data_dir: Path, root: Path) -> Path:
    """Return the file under ``data_dir`` that remembers the hashes of the files under ``root``."""
    return data_dir / "manifests" / f"{root.name}-{content_id(str(root).encode())[:12]}.json"


def _identify(paths: Sequence[Path], manifest: Path) -> dict[Path, str | BadImageError]:
    """Return the content id of every file, or what is wrong with it; unchanged files are not read again."""
    remembered = _read_manifest(manifest)
    stamps = {path: _stamp(path) for path in paths}
    ids: dict[Path, str | BadImageError] = {}
    for path, stamp in stamps.items():
        size, mtime_ns, item_id = remembered.get(str(path), (0, 0, ""))
        if item_id and stamp == (size, mtime_ns):
            ids[path] = item_id
    unknown = [path for path in stamps if path not in ids]
    if not unknown:
        return ids
    ids.update(zip(unknown, _hash_all(unknown), strict=True))
    _write_manifest(manifest, {str(path): (*stamps[path], ids[path]) for path in paths if isinstance(ids[path], str)})
    return {path: ids[path] for path in paths}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _hash_all(paths: Sequence[Path]) -> list[str | BadImageError]:
    """Return each file's content id, or what is wrong with it.

    Threads wait for each other's turn at Python: with small files that are near they take three times as long as one.
    They help where files are large or far, which the first files tell.
    """
    started = time.perf_counter()
    ids = _hash_files(paths[:_FILES_TRIED])
    seconds_per_file = (time.perf_counter() - started) / len(ids)
    rest = paths[_FILES_TRIED:]
    if seconds_per_file < _NEAR_AND_SMALL_S:
        return ids + _hash_files(rest)
    tasks = [rest[start : start + _FILES_PER_TASK] for start in range(0, len(rest), _FILES_PER_TASK)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return ids + [found for task in pool.map(_hash_files, tasks) for found in task]


def _hash_files(paths: Iterable[Path]) -> list[str | BadImageError]:
    return [_hash_file(path) for path in paths]


def _hash_file(path: Path) -> str | BadImageError:
    try:
        data = path.read_bytes()
    except OSError as error:
        return BadImageError(path, error.strerror or str(error))
    if not data:
        return BadImageError(path, "the file is empty")
    if image_format(data[:12]) is None:
        return BadImageError(path, "its first bytes are not those of an image")
    return content_id(data)


def _read_manifest(manifest: Path) -> dict[str, tuple[int, int, str]]:
    try:
        return {path: (entry[0], entry[1], entry[2]) for path, entry in json.loads(manifest.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        logger.warning("the memory of file hashes is damaged and is written anew: %s", manifest)
        return {}


def _write_manifest(manifest: Path, entries: Mapping[str, tuple[object, ...]]) -> None:
    beside = manifest.with_suffix(f".{os.getpid()}.tmp")
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(entries))
        beside.replace(manifest)
    except OSError as error:
        # It only saves time: a full or read-only disk must not stop the work.
        logger.warning("the memory of file hashes cannot be written: %s (%s)", manifest, error.strerror)
        with suppress(OSError):
            beside.unlink()


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
