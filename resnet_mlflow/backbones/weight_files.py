"""Reads a weights file, whatever its suffix, as nested containers of tensors. Nothing is executed."""

import argparse
import contextlib
import datetime
import pickle
import pickletools
import re
import threading
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from resnet_mlflow.backbones.file_kinds import is_safetensors, refuse_other_kinds, text_of
from resnet_mlflow.errors import InputError


class _Inert:
    """Placeholder for an object in the file that is not read."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _AsDict:
    """Placeholder for a subclass of dict: the restricted reader puts its items into a plain dict."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def _as_list(*_: object) -> list[Any]:
    return []


def _as_text(*parts: str) -> str:
    return "/".join(parts)


def _as_inert(*_: object) -> _Inert:
    return _Inert()


_PATHS, _KINDS_OF_PATH = ("pathlib", "pathlib._local"), ("PosixPath", "WindowsPath", "Path")
_CORES = ("core", "_core")
# Types that training scripts store next to their tensors, by name. Only these are read, besides torch's own short list;
# content that is not needed becomes an inert placeholder, so that code of NumPy or other packages never runs.
_PLAIN: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,  # timm's and torchvision's arguments
    "types.SimpleNamespace": types.SimpleNamespace,
    "collections.defaultdict": _AsDict,
    "collections.deque": _as_list,
    "datetime.datetime": datetime.datetime,
    "datetime.date": datetime.date,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.frozenset": frozenset,
    "builtins.int": int,
    "builtins.float": float,
    "builtins.str": str,
    "builtins.bool": bool,
    **dict.fromkeys(
        [f"{module}.{pure}{kind}" for module in _PATHS for pure in ("", "Pure") for kind in _KINDS_OF_PATH], _as_text
    ),
    # Scores and states of random number generators.
    **dict.fromkeys([f"numpy.{core}.multiarray.{f}" for core in _CORES for f in ("scalar", "_reconstruct")], _as_inert),
    "numpy.dtype": _as_inert,
    "numpy.ndarray": _Inert,
    # Lightning's hyperparameters and fastai's lists of them.
    "pytorch_lightning.utilities.parsing.AttributeDict": _AsDict,
    "lightning.pytorch.utilities.parsing.AttributeDict": _AsDict,
    "lightning.fabric.utilities.data.AttributeDict": _AsDict,
    "lightning_fabric.utilities.data.AttributeDict": _AsDict,
    "fastcore.foundation.L": _Inert,
}
# The list of allowed names is global to the process.
_LOCK = threading.Lock()


def read_weights_file(path: Path) -> Any:
    """Return the content of a weights file: a tensor, or containers of tensors.

    The content decides the format: safetensors, or torch's format, old or new. Only tensors and plain containers are
    unpickled.

    Raises:
        InputError: If the file does not exist, is damaged or of another kind, or holds other objects.
    """
    if not path.is_file():
        raise InputError(f"weights must be an existing file, got {path}; check the path")
    refuse_other_kinds(path)
    return _read_safetensors(path) if is_safetensors(path) else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(_unreadable(path, error)) from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), _plain_containers(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            # As a file without a name, because torch decides by the name.
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(_refused(path, error)) from error
    except Exception as error:  # a damaged file can raise any: EOFError, KeyError, struct.error, RecursionError
        raise InputError(_unreadable(path, error)) from error


@contextlib.contextmanager
def _plain_containers() -> Iterator[None]:
    with _LOCK, torch.serialization.safe_globals([(kind, name) for name, kind in _PLAIN.items()]):
        yield


def _refused(path: Path, error: Exception) -> str:
    """Return why the restricted reader stopped: an object, a text, or damage."""
    found = re.search(r"GLOBAL (\S+) was not an allowed|unsupported GLOBAL (\S+) whose", str(error))
    if found is None:
        return _unreadable(path, error)
    name = found[1] or found[2]
    found_there = f"a whole pickled {name}" if _first_global(path) == name else f"{name} besides the tensors"
    return (
        f"a weights file must contain only tensors, got other objects in {path}: {found_there}, which would run code "
        f"when loaded; save model.state_dict() again"
    )


def _first_global(path: Path) -> str:
    """Return the type of the top-level object in a file, as its pickle names it; empty if there is none."""
    # The file was refused anyway: if anything else is wrong with it, there is no name.
    with contextlib.suppress(Exception), _pickles(path) as (file, n_before):
        for _ in range(n_before):
            list(pickletools.genops(file))
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "GLOBAL":
                return str(argument).replace(" ", ".").replace("__builtin__.", "builtins.")
            if operation.name in ("EMPTY_DICT", "EMPTY_LIST"):
                return ""
    return ""


@contextlib.contextmanager
def _pickles(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield the pickles of a torch file, and how many of them precede that of the content."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            is_torch = file.read(16)[2:3] == b"\x8a"  # torch's magic number, a long
            file.seek(0)
            yield file, 3 if is_torch else 0
        return
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(name) as file:
            yield file, 0


def _unreadable(path: Path, error: Exception) -> str:
    if first := text_of(path):
        return f"a weights file must contain named tensors, got a text that begins {first!r} in {path}; check the path"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if reason.startswith("Weights only load failed"):  # this message advises running whatever the file holds
        reason = "torch cannot read it"
    return f"a weights file must be complete, got {path} ({reason[:120]}); it may be truncated: copy it again"


def tensors_in(content: Any) -> dict[str, Tensor]:
    """Return all tensors of nested containers by their paths: ``/`` separates levels, names keep their dots.

    If two have the same path, as in ``{0: ..., "0": ...}``, neither gets it.

    Example:
        >>> list(tensors_in({"model": {"module.fc.bias": torch.zeros(2)}, "epoch": 3}))
        ['model/module.fc.bias']
    """
    found: dict[str, list[Tensor]] = {}
    for path, tensor in _walk(content):
        found.setdefault(path, []).append(tensor)
    return {
        path if len(tensors) == 1 else f"{path}~{i}": tensor
        for path, tensors in found.items()
        for i, tensor in enumerate(tensors)
    }


def _walk(content: Any) -> Iterator[tuple[str, Tensor]]:
    # An explicit stack, because a file may nest deeper than Python calls can; each container once, because they may
    # refer to each other.
    waiting, seen = [("", content)], set()
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            waiting += [(f"{path}/{key}" if path else str(key), inner) for key, inner in reversed(items)]
