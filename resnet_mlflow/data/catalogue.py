"""Datasets by name."""

from pathlib import Path

from resnet_mlflow.data.corrections import apply_corrections
from resnet_mlflow.data.crossings import leave_out, tell_crossings
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.data.grouping import group_images
from resnet_mlflow.data.table_files import ENDINGS
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.files.paths import is_file
from resnet_mlflow.registry import load
from resnet_mlflow.registry.datasets import DATASETS


def load_dataset(
    name: str,
    *,
    data_dir: Path,
    on_bad_image: str = "fail",
    max_pixels: int = MAX_PIXELS,
    corrections: str = "",
    group_by: str = "",
    duplicates: str = "keep",
    crossing_groups: str = "keep",
) -> ImageDataset:
    """Return a dataset by its name.

    Args:
        name: One of the kinds in ``registry.datasets``: ``digits``, ``folder:PATH``, ``table:FILE``, or a name of
            torchvision.
        data_dir: Folder for downloads and for the cache of file hashes.
        on_bad_image: ``fail`` or ``skip``: what to do about files that are not images.
        max_pixels: Maximum number of pixels according to an image's header; larger files do not count as images.
        corrections: Table of verdicts to apply, see ``corrections.apply_corrections``; empty means none.
        group_by: What images of one group have in common, see ``grouping.group_images``; if empty, only copies form
            groups.
        duplicates: ``keep`` or ``drop_from_train``: what to do about copies across the dataset's own splits.
        crossing_groups: The same for groups.

    Raises:
        InputError: If the name is unknown, or the dataset is not available or not usable.
    """
    kind = next((kind for kind in DATASETS.values() if kind.accepts(name)), None)
    if kind is None:
        raise InputError(_unknown(name))
    loader = load(kind.loader)
    dataset: ImageDataset = loader(name, data_dir=data_dir, on_bad_image=on_bad_image, max_pixels=max_pixels)
    if group_by:
        dataset = group_images(dataset, group_by)
    dataset = leave_out(dataset, copies=duplicates == "drop_from_train", groups=crossing_groups == "drop_from_train")
    if corrections:
        dataset = apply_corrections(dataset, corrections)
    tell_crossings(dataset, group_by)
    return dataset


def _unknown(name: str) -> str:
    *others, last = (kind.written for kind in DATASETS.values())
    known = [one for kind in DATASETS.values() for one in kind.known]
    path = Path(name)
    kind = "folder" if path.is_dir() else "table" if path.suffix.lower() in ENDINGS and is_file(path) else ""
    hint = f"; write {kind}:{name}" if kind else nearest(name, known)
    return f"dataset must be {', '.join(others)} or {last}, got {name!r}" + (
        hint or f"; valid names: {', '.join(known)}"
    )
