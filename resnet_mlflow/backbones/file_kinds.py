"""The type of a weights file, by its content and not its name. Does not import torch."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from resnet_mlflow.errors import InputError

_HEAD_BYTES = 512
# Length of the longest header that safetensors itself reads.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class _Kind:
    """A kind of file that users mistake for weights: what it is, and what to do."""

    what: str
    cure: str


_UNPACK = "unpack it, and pass the file inside"
_CONVERT = "pass a file written by torch.save or safetensors"
_BY_MAGIC = (
    (b"version https://git-lfs", _Kind("a Git LFS pointer instead of the file itself", "run git lfs pull")),
    (b"\x1f\x8b", _Kind("a gzip archive", _UNPACK)),
    (b"BZh", _Kind("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ", _Kind("an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", _Kind("a zstandard archive", _UNPACK)),
    (b"7z\xbc\xaf", _Kind("a 7z archive", _UNPACK)),
    (b"\x89HDF\r\n", _Kind("an HDF5 file, as Keras writes them", _CONVERT)),
    (b"\x93NUMPY", _Kind("a NumPy array", _CONVERT)),
    (b"GGUF", _Kind("a GGUF file", _CONVERT)),
)
_TAR = _Kind("a tar archive", _UNPACK)
_WEB_PAGE = _Kind("a web page", "download the file itself, not its web page")
_ONNX = _Kind("an ONNX graph", "export from PyTorch again with torch.save(model.state_dict(), ...)")
_TORCHSCRIPT = _Kind("a TorchScript program", "save torch.jit.load(...).state_dict() with torch.save")
_EXPORTED = _Kind("a program of torch.export", "save its state_dict with torch.save")
_NUMPY_ARCHIVE = _Kind("an archive of NumPy arrays", _CONVERT)
_ZIP = _Kind("a zip archive not written by torch.save", _UNPACK)
_EMPTY = _Kind("the empty", "copy or download it again")
_PICKLE = _Kind("a pickle not written by torch.save", "save model.state_dict() with torch.save")
# The magic number, pickled, at the start of files from torch.save before it wrote zip archives.
_TORCH_OF_OLD = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
_MARKUP = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<!--", b"<error")
# Tags of ONNX's second field: producer's name and version, domain, model version, doc, graph, operator sets.
_ONNX_NEXT = b"\x12\x1a\x22\x28\x32\x3a\x42"


def refuse_other_kinds(path: Path) -> None:
    """Raise an error if a file is recognised as a kind that holds no named tensors.

    Args:
        path: A file that exists.

    Raises:
        InputError: If it cannot be read, or is such a file; the message names the kind and a remedy.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        kind = _kind_of(head, path)
    except OSError as error:
        raise InputError(
            f"weights file must be readable, got {path} ({error.strerror}); check its permissions"
        ) from error
    if kind is _EMPTY:
        raise InputError(f"a weights file must be complete, got {kind.what} {path}; {kind.cure}")
    if kind:
        raise InputError(f"a weights file must contain named tensors, got {kind.what} in {path}; {kind.cure}")


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors: the length of a JSON header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return _is_safetensors(head)


def text_of(path: Path) -> str:
    """Return the first line of a text file, shortened; empty if the file is not text."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        lines = head.decode("ascii").strip().splitlines()
    except UnicodeDecodeError:
        return ""
    return lines[0][:40] if lines and all(line.isprintable() for line in lines) else ""


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def _kind_of(head: bytes, path: Path) -> _Kind | None:
    if not head:
        return _EMPTY
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    for magic, kind in _BY_MAGIC:
        if head.startswith(magic):
            return kind
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MARKUP):
        return _WEB_PAGE
    if _is_onnx(head):
        return _ONNX
    if re.match(rb"\x80[\x02-\x05]", head) and _TORCH_OF_OLD not in head[:64]:
        return _PICKLE
    # The first torch.save, of 2016, wrote a tar archive of three members, which torch.load reads.
    is_tar = head[257:262] == b"ustar" and not re.match(rb"(storages|tensors|pickle)\0", head)
    return _TAR if is_tar else None


def _is_onnx(head: bytes) -> bool:
    """Return whether a file begins with ONNX's format version, a small number, and the tag of a later field."""
    begins = head[:1] == b"\x08" and len(head) > 2 and 1 <= head[1] < 64
    return begins and head[2:3] in _ONNX_NEXT and not _is_safetensors(head)


def _kind_of_zip(path: Path) -> _Kind | None:
    """Return the kind of a zip archive, or None if torch.save wrote it or it is truncated, which torch.load reports."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] if name.count("/") == 1 else name for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    if "constants.pkl" in names or "bytecode.pkl" in names:
        return _TORCHSCRIPT
    if "data.pkl" in names:
        return None
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return _EXPORTED
    return _NUMPY_ARCHIVE if any(name.endswith(".npy") for name in names) else _ZIP
