"""Builds ResNets without their last layer and loads their weights."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resnet_mlflow.backbones.layouts import Group, choose, find_groups
from resnet_mlflow.backbones.recipes import LIBRARY, STANDARDIZED
from resnet_mlflow.backbones.resnet import ResNet
from resnet_mlflow.backbones.standardized import standardize_weights
from resnet_mlflow.backbones.weight_files import read_weights_file, tensors_in
from resnet_mlflow.backbones.weight_notes import PREPROCESSING_NOTE
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import one_thread
from resnet_mlflow.registry import load
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing

logger = logging.getLogger(__name__)

_OTHER = "pass other weights: no backbone here has this structure"


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone and the source of its weights.

    Attributes:
        network: See ``build_backbone``.
        taken: Which tensors of the file were loaded and which were ignored, in words; empty if there is nothing to say.
    """

    network: nn.Module
    taken: str = ""


def build_backbone(name: str, resolved: ResolvedWeights) -> nn.Module:
    """Return a ResNet whose ``fc`` is an identity: ``(n, 3, side, side)`` to ``(n, n_features)``.

    The global random state is neither used nor changed.

    Args:
        name: One of ``registry.backbones.BACKBONES``.
        resolved: Its weights; seeded random ones follow their recipe.

    Raises:
        InputError: If the file cannot be read, or holds weights of another network.
    """
    return load_backbone(name, resolved).network


def load_backbone(name: str, resolved: ResolvedWeights) -> LoadedBackbone:
    """Return the result of ``build_backbone``, and the tensors of the file that it used."""
    if resolved.path is None:
        return LoadedBackbone(_RECIPES[resolved.recipe](name, resolved.seed or 0))
    # Drawing numbers that a file then replaces would take longer than reading the file. Networks of other libraries may
    # hold numbers that are in no file, so they are built in full.
    is_plain = bool(BACKBONES.find(name).blocks)
    backbone = without_numbers(name) if is_plain else _drawn(name, 0)
    tensors = tensors_in(read_weights_file(resolved.path))
    group = _matching(tensors, backbone, name, resolved.path)
    backbone.load_state_dict(_owned(group.state, backbone.state_dict()), assign=is_plain)
    if group.summary:
        _announce(f"weights of {name} from {resolved.path}: {group.summary}")
    return LoadedBackbone(backbone, group.summary)


def _owned(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a file in a form that a network may keep: with its types, each with exactly its own memory.

    Most already qualify: copying them would take as long as reading the file.
    """
    taken: set[int] = set()
    owned = {}
    for name, tensor in state.items():
        found = tensor.detach().to(like[name].dtype)
        memory = found.untyped_storage()
        is_own = found.is_contiguous() and memory.nbytes() == found.nbytes and memory.data_ptr() not in taken
        owned[name] = found if is_own else found.clone(memory_format=torch.contiguous_format)
        taken.add(owned[name].untyped_storage().data_ptr())
    return owned


def _headless(name: str) -> nn.Module:
    row = BACKBONES.find(name)
    if row.builder:
        backbone: nn.Module = load(row.builder)(**row.arguments)
    else:
        backbone = ResNet(row.blocks, row.bottleneck, row.groups, row.width_per_group)
    if hasattr(backbone, "fc"):
        backbone.fc = nn.Identity()
    return backbone


def _drawn(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the accelerators.
        torch.default_generator.manual_seed(seed)
        return _headless(name)


def _standardized(name: str, seed: int) -> nn.Module:
    # Other libraries' networks may have layers that the recipe does not cover.
    if BACKBONES.find(name).blocks:
        backbone = without_numbers(name)
        with_memory(backbone)
    else:
        backbone = _drawn(name, seed)
    standardize_weights(backbone, seed)
    return backbone


_RECIPES = {STANDARDIZED.name: _standardized, LIBRARY.name: _drawn}


def without_numbers(name: str) -> nn.Module:
    """Return a backbone on the meta device: its layers and shapes."""
    with torch.device("meta"), _NoNumbers():
        return _headless(name)


def with_memory(module: nn.Module) -> None:
    """Give a module on the meta device uninitialised memory on the CPU; ``Module.to_empty`` would take a second.

    The reason is that it imports sympy through the meta device's ``empty_like``.
    """
    module._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # type: ignore[no-untyped-call]


class _NoNumbers(TorchFunctionMode):
    """Skips drawing and filling of tensors, which is two thirds of the time to build a network."""

    _FILLING: ClassVar[set[Any]] = {
        *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_),
        *(nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_, nn.init.constant_),
    }

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in self._FILLING:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@cache
def _announce(message: str) -> None:
    # Only once: a study loads the same weights in every cell.
    logger.info(message)


def state_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Return a digest of names, shapes, types and values, of 16 hexadecimal digits.

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


def save_backbone(backbone: nn.Module, path: Path, preprocessing: Preprocessing = PLAIN) -> None:
    """Write the weights of a backbone as safetensors, atomically.

    Args:
        backbone: Result of ``build_backbone``.
        path: Destination.
        preprocessing: The preprocessing that the weights expect; noted in the file unless it is the plain one.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    notes = None if preprocessing == PLAIN else {PREPROCESSING_NOTE: str(preprocessing)}
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: tensor for name, tensor in state.items() if not name.startswith("fc.")}, partial, notes)
    partial.replace(path)


def _matching(tensors: Mapping[str, Tensor], backbone: nn.Module, name: str, path: Path) -> Group:
    """Return the group of a file's tensors that belongs to a backbone.

    Raises:
        InputError: If there is none, if several differ, or if it has values that are not finite.
    """
    if not tensors:
        raise InputError(f"a weights file must contain named tensors, got none in {path}; save a state_dict()")
    groups = find_groups(tensors, backbone)
    if not (groups and groups[0].fits):
        raise InputError(_refusal(tensors, groups[0] if groups else None, name, path))
    group = choose(groups)
    if group is None:
        places = " and ".join(other.place for other in groups if other.fits)
        raise InputError(
            f"weights must be those of one network, got {places} in {path}, which all fit {name} and differ; "
            "save the one you want as a separate file"
        )
    with one_thread():  # sums are bound by memory bandwidth
        broken = next((key for key, tensor in group.state.items() if not _is_finite(tensor)), None)
    if broken:
        raise InputError(f"weights must be finite numbers, got NaN or infinity in {broken} of {path}; train again")
    return group


def _refusal(tensors: Mapping[str, Tensor], nearest: Group | None, name: str, path: Path) -> str:
    """Return what a file holds instead of a backbone's tensors, and a remedy."""
    rule = f"weights must be those of {name}, got {path}"
    if any("attnpool." in tensor for tensor in tensors):
        return f"{rule}: those of CLIP's ResNet, with three convolutions in its stem and attention pooling; {_OTHER}"
    for other in BACKBONES:
        found = next(iter(find_groups(tensors, without_numbers(other))), None)
        if found and found.fits:
            return f"{rule}: those of {other}; pass backbone={other}"
        if found and found.has_small_stem:
            return f"{rule}: those of a {other} with a 3x3 stem for small images, as trained on CIFAR; {_OTHER}"
    if nearest is None:
        some = ", ".join(list(tensors)[:3])
        return (
            f"a weights file must contain named tensors, got something else in {path}: {some}, ... are not layers of "
            f"{name}; save its state_dict()"
        )
    where = f" in {nearest.place}" if nearest.prefix else ""
    return f"{rule}: {nearest.differences}{where}; check the file"


def _is_finite(tensor: Tensor) -> bool:
    # A sum of finite terms is finite unless it overflows: only then is each number checked.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
