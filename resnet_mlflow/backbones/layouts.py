"""Finds a network's tensors in a file, whatever their nesting, prefix or naming scheme.

There is one rule: after a shared prefix, all names and shapes must equal the network's. So a file is loaded exactly or
not at all.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

_BOUNDARY = re.compile(r"[./]")
_COUNTER = "num_batches_tracked"
# Children before the stages and after, as torch's nn.Sequential of a ResNet's children numbers them, and as trainers
# that cut a network into stem and stages name them.
_STEMS: dict[str, dict[str, str]] = {
    "torchvision": {},
    "Sequential of children": {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + 3) for i in (1, 2, 3, 4)}},
    "Sequential of stem and stages": {"conv1": "0.0", "bn1": "0.1", **{f"layer{i}": str(i) for i in (1, 2, 3, 4)}},
    "stem as layer0, numbered": {"conv1": "layer0.0", "bn1": "layer0.1"},
    "stem as layer0": {"conv1": "layer0.conv1", "bn1": "layer0.bn1"},
    "stem, numbered": {"conv1": "stem.0", "bn1": "stem.1"},
    "stem": {"conv1": "stem.conv1", "bn1": "stem.bn1"},
}
_HUGGING_FACE = "Hugging Face"
# If two groups fit, these words in their places decide, as documented by the projects that store both: DINO evaluates
# the teacher; torchvision, timm and MMPretrain the moving average of a model; MoCo, BYOL and similar methods the query
# encoder, which is trained, not the key encoder, which follows it.
_PREFERRED = frozenset({"teacher", "ema", "swa", "averaged"})
_AVOIDED = frozenset({"student", "momentum", "k", "key", "target"})
_N_SHOWN = 4


@dataclass
class Group:
    """Tensors of a file whose names share a prefix, compared with a network's.

    Attributes:
        prefix: The shared prefix: levels of nesting end in ``/``, parts of names in a dot.
        scheme: Naming scheme of the rest of their names.
        state: The tensors found, by the network's names.
        left_aside: Prefixes of all other names in the file, if the group fits.
        missing: Names in the network but not in the group.
        unexpected: Names in the group that belong to another network's body.
        misshapen: Names with wrong shapes, in words.
        beside: Names in the group that belong to neither; they do no harm.
    """

    prefix: str
    scheme: str
    state: dict[str, Tensor] = field(default_factory=dict)
    left_aside: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Return whether names and shapes match the network's."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def differences(self) -> str:
        """Return what differs, in words."""
        differences = {"missing": self.missing, "unexpected": self.unexpected + self.beside, "shape": self.misshapen}
        return ", ".join(f"{kind} {_some(names)}" for kind, names in differences.items() if names)

    @property
    def has_small_stem(self) -> bool:
        """Return whether only the first convolution differs: 3 x 3 pixels, as usual in training on CIFAR."""
        stem = self.state.get("conv1.weight")
        is_small = stem is not None and stem.shape[2:] == (3, 3)
        return is_small and len(self.misshapen) == 1 and not (self.missing or self.unexpected)

    @property
    def place(self) -> str:
        """Return its place in the file, such as ``state_dict/module.encoder_q.*``."""
        return f"{self.prefix}*"

    @property
    def summary(self) -> str:
        """Return what was loaded and what was ignored, for log and note; empty if there is nothing to say."""
        named = f", named as in {self.scheme}" if self.scheme != "torchvision" else ""
        if not (self.prefix or named or set(self.left_aside) - {"fc.*"}):
            return ""
        aside = f"; ignored: {_some(self.left_aside, _N_SHOWN, ', ')}" if self.left_aside else ""
        return f"{self.place if self.prefix else 'names without a prefix'}{named}{aside}"


def find_groups(tensors: Mapping[str, Tensor], network: nn.Module) -> list[Group]:
    """Return the groups that could be a network's tensors: those that fit first, then the nearest.

    Args:
        tensors: All tensors of a file, by path, see ``weight_files.tensors_in``.
        network: A network without its last layer; only its shapes are read, not its values.
    """
    wanted = network.state_dict()
    hits: dict[tuple[str, str], dict[str, list[str]]] = {}
    names = _names_by_scheme(wanted)
    for path in tensors:
        for start in _starts(path):
            for scheme, name in names.get(path[start:].replace("/", "."), ()):
                hits.setdefault((path[:start], scheme), {}).setdefault(name, []).append(path)
    # A group with at most a tenth of the names, such as all that end in 0.weight, is chance.
    near = {key: found for key, found in hits.items() if len(found) > len(wanted) / 10}
    groups = [_compare(key, found, tensors, wanted, network, near) for key, found in near.items()]
    return sorted(groups, key=lambda group: (not group.fits, group.fits and _rank(group), -len(group.state)))


def choose(groups: list[Group]) -> Group | None:
    """Return the group to load, the first that fits; None if two different ones are equally good."""
    best, *others = [group for group in groups if group.fits]
    rivals = [group for group in others if _rank(group) == _rank(best)]
    return best if all(_same_numbers(best, rival) for rival in rivals) else None


def _starts(path: str) -> Iterable[int]:
    yield 0
    yield from (match.end() for match in _BOUNDARY.finditer(path))


def _names_by_scheme(wanted: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """Map each name in a file to the schemes that use it for a tensor of the network, with the network's name."""
    names: dict[str, list[tuple[str, str]]] = {}
    for scheme in (*_STEMS, _HUGGING_FACE):
        for name in wanted:
            written = _hugging_face(name) if scheme == _HUGGING_FACE else _renamed(name, _STEMS[scheme])
            if written:
                names.setdefault(written, []).append((scheme, name))
    return names


def _renamed(name: str, children: Mapping[str, str]) -> str:
    child, _, rest = name.partition(".")
    return f"{children.get(child, child)}.{rest}"


def _hugging_face(name: str) -> str:
    """Return a torchvision name as Hugging Face's ResNetModel spells it.

    Example:
        >>> _hugging_face("layer2.0.bn3.weight")
        'encoder.stages.1.layers.0.layer.2.normalization.weight'
    """
    if found := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"embedder.embedder.{_KINDS[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name):
        stage, block, kind, place, what = found.groups()
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(place) - 1}.{_KINDS[kind]}.{what}"
    if found := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", name):
        stage, block, place, what = found.groups()
        kind = _KINDS["conv" if place == "0" else "bn"]
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{kind}.{what}"
    return ""


_KINDS = {"conv": "convolution", "bn": "normalization"}


def _compare(
    key: tuple[str, str],
    found: Mapping[str, list[str]],
    tensors: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    network: nn.Module,
    near: Collection[tuple[str, str]],
) -> Group:
    """Return a group with all its differences from the network."""
    group = Group(*key)
    for name, like in wanted.items():
        paths = found.get(name, [])
        if len(paths) == 1:
            tensor = group.state[name] = tensors[paths[0]]
            if problem := _misfit(tensor, like):
                group.misshapen.append(f"{name} {problem}")
        elif paths:
            group.unexpected.append(f"{paths[1]} beside {paths[0]}")
        elif name.endswith(_COUNTER):
            group.state[name] = torch.tensor(0)  # counters, missing in old files, do not affect features
        else:
            group.missing.append(name)
    taken = {path for paths in found.values() for path in paths}
    rest = [path for path in tensors if path not in taken]
    body = _body(group.scheme, network)
    # Tensors at another group's place belong to another network, not to this one.
    inner = tuple(prefix for prefix, _ in near if prefix != group.prefix and prefix.startswith(group.prefix))
    for path in rest:
        name = path.removeprefix(group.prefix)
        is_spatial = _is_spatial(tensors[path]) and "/" not in name and not path.startswith(inner)
        if path.startswith(group.prefix) and (is_spatial or _is_of_body(name, body)):
            group.unexpected.append(name)
        elif path.startswith(group.prefix) and "/" not in name and not name.startswith("fc."):
            group.beside.append(name)
    if group.fits:
        group.left_aside = list(dict.fromkeys(_beginning(path, group.prefix) for path in rest))
    return group


def _misfit(tensor: Tensor, like: Tensor) -> str:
    if tensor.shape != like.shape:
        return f"is {tuple(tensor.shape)} instead of {tuple(like.shape)}"
    is_plain = tensor.layout == torch.strided and not tensor.is_quantized
    if not is_plain or tensor.is_complex() or tensor.is_meta or tensor.is_floating_point() != like.is_floating_point():
        return f"is {tensor.dtype} ({tensor.layout}) instead of {like.dtype}"
    return ""


def _body(scheme: str, network: nn.Module) -> frozenset[str]:
    """Return the first parts of names that, after the prefix, only the network itself may have."""
    if scheme == _HUGGING_FACE:
        return frozenset({"embedder", "encoder"})
    children = [name for name, child in network.named_children() if not _is_head(name, child)]
    renamed = {_renamed(name, _STEMS[scheme]).partition(".")[0] for name in children}
    # In a Sequential, ReLU and max pooling are numbered as well.
    between = {"2", "3"} if scheme == "Sequential of children" else set()
    return frozenset(renamed | between)


def _is_head(name: str, child: nn.Module) -> bool:
    return name in ("fc", "head", "last_linear") and not list(child.parameters())


def _is_of_body(name: str, body: frozenset[str]) -> bool:
    """Return whether a name after the prefix belongs to a layer that images pass through and this network lacks."""
    first = _BOUNDARY.split(name, 1)[0]
    return first in body or re.fullmatch(r"(conv|bn|norm|layer|stage)\d+", first) is not None


def _is_spatial(tensor: Tensor) -> bool:
    """Return whether a tensor belongs to a layer that combines neighbouring pixels, which no head does."""
    return tensor.ndim == 4 and max(tensor.shape[2:]) > 1


def _beginning(path: str, prefix: str) -> str:
    """Return the shortest prefix of a path that is not a prefix of ``prefix``.

    Example:
        >>> _beginning("state_dict/module.queue", "state_dict/module.encoder_q.")
        'state_dict/module.queue'
        >>> _beginning("optimizer/state/0/exp_avg", "state_dict/module.encoder_q.")
        'optimizer/*'
    """
    n_common = next((i for i, (a, b) in enumerate(zip(path, prefix, strict=False)) if a != b), len(prefix))
    boundary = _BOUNDARY.search(path, n_common)
    return f"{path[: boundary.end()]}*" if boundary else path


def _rank(group: Group) -> int:
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", group.prefix)]
    return sum(word in _AVOIDED for word in words) - sum(word in _PREFERRED for word in words)


def _same_numbers(first: Group, second: Group) -> bool:
    return all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items() if _COUNTER not in name)


def _some(names: list[str], n_shown: int = 3, between: str = " ") -> str:
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return between.join(names[:n_shown]) + more
