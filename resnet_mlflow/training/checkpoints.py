"""Checkpoints that are complete or absent: written to a temporary file, checksummed, renamed."""

import hashlib
import io
import logging
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_mlflow.errors import InputError

logger = logging.getLogger(__name__)

DIGEST_BYTES = hashlib.blake2b().digest_size


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, in main memory, of all buffers and of the parameters that require gradients.

    Frozen parameters do not change, so they are omitted: a checkpoint of a linear head stays small.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    state = model.state_dict()
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items() if name not in frozen}


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore the result of ``trained_state``; frozen parameters do not change."""
    _, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        raise InputError(f"a checkpoint must match its network, got unknown {unexpected[0]!r}; delete the checkpoint")


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write a checkpoint atomically: a killed writer leaves the previous one intact.

    Only one process may write a checkpoint at a time: if two could, the caller must hold a lock.

    Args:
        path: The file; replaced if it exists. Its folder is created.
        payload: Tensors, numbers, strings, and lists and dicts of them.

    Raises:
        InputError: If the file cannot be written for lack of space or permission.
    """
    beside = path.with_name(f"{path.name}.partial")  # always the same name, so that killed writers leave at most one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_with_digest(beside, payload)
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        with suppress(OSError):
            beside.unlink()
        reason = str(error).splitlines()[0]
        raise InputError(
            f"checkpoints must be writable, got {path} ({reason}); free space, or choose another cache_dir"
        ) from error


def _write_with_digest(path: Path, payload: dict[str, Any]) -> None:
    with path.open("w+b") as file:
        torch.save(payload, file)
        file.seek(0)
        digest = hashlib.file_digest(file, "blake2b").digest()
        file.seek(0, os.SEEK_END)
        file.write(digest)


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return a checkpoint's payload, or None if there is no usable one.

    A damaged checkpoint, or one with another ``fingerprint``, causes a warning and is not used.

    Args:
        path: A file from ``save_checkpoint``; it need not exist.
        fingerprint: Identifies the configuration and the data; must equal the payload's.
    """
    if not path.exists():
        return None
    # torch's reader does not verify the checksums of its own format, hence the digest at the end.
    content = path.read_bytes()
    body, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.blake2b(body).digest() != digest:
        logger.warning("checkpoint %s is damaged; ignoring it and starting the training over", path)
        return None
    try:
        payload = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError):
        payload = None  # The digest is right but the content is not ours: others may write to the folder.
    if not isinstance(payload, dict):
        logger.warning("checkpoint %s contains something else; ignoring it and starting the training over", path)
        return None
    if payload.get("fingerprint") != fingerprint:
        logger.warning(
            "checkpoint %s belongs to another configuration; ignoring it and starting the training over", path
        )
        return None
    return payload
