"""ResNets without their last layer: built, and given their weights."""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry import load
from resnet_mlflow.registry.backbones import BACKBONES

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.", "backbone.")


def build_backbone(name: str, resolved: ResolvedWeights) -> nn.Module:
    """Return a ResNet whose ``fc`` is an identity: ``(n, 3, side, side)`` to ``(n, n_features)``.

    The global random state is neither used nor changed.

    Args:
        name: One of ``registry.backbones.BACKBONES``.
        resolved: Its weights; seeded random ones follow torchvision's own initialisation.

    Raises:
        InputError: If the file cannot be read, or holds weights of something else.
    """
    if resolved.path is None:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would also seed the accelerators.
            torch.default_generator.manual_seed(resolved.seed or 0)
            return _headless(name)
    # Drawing numbers that a file then replaces would take longer than reading the file.
    with torch.device("meta"):
        backbone = _headless(name)
    state = _matching(load_state_dict(resolved.path), backbone, name, resolved.path)
    backbone.to_empty(device="cpu").load_state_dict(state)
    return backbone


def _headless(name: str) -> nn.Module:
    backbone: nn.Module = load(BACKBONES.find(name).builder)(weights=None)
    backbone.fc = nn.Identity()
    return backbone


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their names in a bare ResNet, ``fc`` left out.

    Tensors may lie under ``state_dict`` or ``model``, and names may start with ``module.``, as training scripts
    save them.

    Raises:
        InputError: If the file is damaged or holds anything but tensors.
    """
    content: Any = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickled(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"a weights file must hold named tensors, got something else in {path}; save a state_dict()")
    state = dict(content)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


def state_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Return a digest of names, shapes, types and numbers, 16 hexadecimal digits.

    Example:
        >>> state_digest({"weight": torch.zeros(2)}) == state_digest({"weight": torch.zeros(1, 2)})
        False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Viewed as bytes: numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def save_backbone(backbone: nn.Module, path: Path) -> None:
    """Write the weights of a backbone as safetensors, renamed into place when whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: tensor for name, tensor in state.items() if not name.startswith("fc.")}, partial)
    partial.replace(path)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(_unreadable(path, error)) from error


def _load_pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise InputError(_unreadable(path, error)) from error
        raise InputError(
            f"a weights file must hold tensors only, got other objects or a damaged file in {path}; "
            "save model.state_dict() again"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"a weights file must be whole, got {path} ({first_line[:120]}); it may be truncated: copy it again"


def _matching(state: dict[str, Tensor], backbone: nn.Module, name: str, path: Path) -> dict[str, Tensor]:
    """Return the state if it fits the backbone; counters that old files lack are filled in."""
    wanted = backbone.state_dict()
    counters = {key: torch.tensor(0) for key in wanted if key.endswith("num_batches_tracked")}
    state = counters | state
    if problems := _differences(state, wanted):
        actual = next((other for other in BACKBONES if other != name and _fits(state, other)), None)
        told = f"those of {actual}; pass backbone={actual}" if actual else f"{problems}; check the file"
        raise InputError(f"weights must be those of {name}, got {path}: {told}")
    broken = [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise InputError(f"weights must be finite numbers, got NaN or infinity in {broken[0]} of {path}; train again")
    return state


def _differences(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what is missing, unexpected or of another shape, in words; empty where nothing is."""
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    told = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "shape": shapes,
    }
    return ", ".join(f"{kind} {_some(names)}" for kind, names in told.items() if names)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return " ".join(names[:3]) + more


def _fits(state: Mapping[str, Tensor], name: str) -> bool:
    with torch.device("meta"):
        wanted = _headless(name).state_dict()
    trained = [key for key in wanted if not key.endswith("num_batches_tracked")]
    return {key for key in state if not key.endswith("num_batches_tracked")} == set(trained) and all(
        state[key].shape == wanted[key].shape for key in trained
    )
