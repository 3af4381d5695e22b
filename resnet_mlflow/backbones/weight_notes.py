"""The preprocessing given in a weights file, or in a file next to it. Imports torch only if necessary."""

import json
import logging
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_mlflow.backbones.file_kinds import is_safetensors
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing, channels

logger = logging.getLogger(__name__)

# Key in the metadata of safetensors that this project writes.
PREPROCESSING_NOTE = "preprocessing"
HUGGING_FACE_FILE, TIMM_FILE = "preprocessor_config.json", "config.json"
_MOST_JSON_BYTES = 1 << 24
_LARGEST_SIDE, _WARPED_FROM = 8192, 384
# Key of the arguments that timm's training script stores; a file without this word need not be read.
_TIMM_WORD = b"crop_pct"
_TIMM_NAMES = ("mean", "std", "interpolation", "crop_pct", "input_size", "img_size")
# PIL's codes, which Hugging Face stores.
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def preprocessing_of(path: Path) -> tuple[Preprocessing, str]:
    """Return the preprocessing that the weights in a file expect, or why this project cannot do it.

    The file's own metadata come first, then ``preprocessor_config.json`` and timm's ``config.json`` next to it. Without
    any, the plain preprocessing applies.

    Args:
        path: An existing weights file.
    """
    sources = (
        (path, _of_the_file),
        (path.with_name(HUGGING_FACE_FILE), _of_hugging_face),
        (path.with_name(TIMM_FILE), _of_timm_file),
    )
    for source, read in sources:
        try:
            found = read(source) if source.is_file() else None
        except InputError as error:
            return PLAIN, f"{error}, in {source}; pass resize, interpolation, mean and std"
        if found is not None:
            return found, ""
    return PLAIN, ""


def _of_the_file(path: Path) -> Preprocessing | None:
    if is_safetensors(path):
        text = _safetensors_notes(path).get(PREPROCESSING_NOTE)
        return Preprocessing.read(str(text)) if text is not None else None
    arguments = _training_arguments(path)
    return timm_preprocessing({name: arguments[name] for name in _TIMM_NAMES if name in arguments})


def _safetensors_notes(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_JSON_BYTES:
            return {}
        header = _json_object(file.read(length))
    notes = header.get("__metadata__")
    return notes if isinstance(notes, Mapping) else {}


def _training_arguments(path: Path) -> Mapping[str, Any]:
    """Return the arguments that timm's training script stores as ``args``; empty if there are none."""
    if not _mentions_timm(path):
        return {}
    from resnet_mlflow.backbones.weight_files import read_weights_file  # torch takes seconds to import

    content = read_weights_file(path)
    arguments = content.get("args") if isinstance(content, Mapping) else None
    found = arguments if isinstance(arguments, Mapping) else getattr(arguments, "__dict__", {})
    return {str(name): value for name, value in found.items()}


def _mentions_timm(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if name is None or archive.getinfo(name).file_size > _MOST_JSON_BYTES:
                return False
            return _TIMM_WORD in archive.read(name)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False


def timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing in a timm configuration; None if all its values are empty.

    Args:
        config: Any of ``crop_pct``, ``input_size`` or ``img_size``, ``interpolation``, ``mean`` and ``std``.

    Raises:
        InputError: If a value is invalid.
    """
    given = {name: value for name, value in config.items() if value not in (None, "", [], ())}
    if not given:
        return None
    side = _side(given.get("img_size") or (given["input_size"][-1] if given.get("input_size") else 224), given)
    interpolation = str(given.get("interpolation", "bilinear"))
    return Preprocessing(
        resize=_enlarged(side, given.get("crop_pct", 0.875)),
        crop=side,
        # "random" is for training.
        interpolation="bilinear" if interpolation == "random" else interpolation,
        mean=channels("mean", given.get("mean", PLAIN.mean)),
        std=channels("std", given.get("std", PLAIN.std)),
    )


def _of_timm_file(path: Path) -> Preprocessing | None:
    content = _read_json(path)
    if not isinstance(content.get("architecture"), str):
        return None  # a configuration of something else
    own = content.get("pretrained_cfg", content)
    return timm_preprocessing({name: own.get(name) for name in _TIMM_NAMES}) if isinstance(own, Mapping) else None


def _of_hugging_face(path: Path) -> Preprocessing | None:
    """Return the preprocessing of an image processor of transformers.

    Raises:
        InputError: If it warps images to a square, or resizes in a way that this project does not support.
    """
    content = _read_json(path)
    if not content:
        return None
    size = content.get("size", 224)
    edge = _side(size.get("shortest_edge") if isinstance(size, Mapping) else size, size)
    crop = content.get("crop_size", edge)
    crop = _side(crop.get("height") if isinstance(crop, Mapping) else crop, crop)
    if share := content.get("crop_pct"):  # for its ResNets: the shorter side is larger by this factor
        if edge >= _WARPED_FROM:
            raise InputError(f"images must keep their aspect ratio, got size {size}, to which they would be stretched")
        edge, crop = _enlarged(edge, share), edge
    return Preprocessing(
        resize=edge,
        crop=crop,
        interpolation=_RESAMPLING.get(content.get("resample", 2), "unknown"),
        mean=channels("image_mean", content.get("image_mean") or PLAIN.mean),
        std=channels("image_std", content.get("image_std") or PLAIN.std),
    )


def _enlarged(side: int, share: object) -> int:
    """Return the length of which ``side`` is the given share, rounded down."""
    if not isinstance(share, int | float) or not 0.1 <= share <= 1:
        raise InputError(f"crop_pct must be a fraction from 0.1 to 1, got {share!r}")
    return math.floor(side / share)


def _side(value: object, original: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LARGEST_SIDE:
        raise InputError(
            f"images must keep their aspect ratio, with a side of 1 to {_LARGEST_SIDE} pixels, got {original}"
        )
    return value


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        return _json_object(path.read_bytes()) if path.stat().st_size <= _MOST_JSON_BYTES else {}
    except OSError as error:
        raise InputError(f"{path.name} must be readable, got {error.strerror}") from None


def _json_object(text: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}
