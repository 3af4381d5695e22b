"""timm's ResNet family, ``timm:NAME``: rows are made on demand, as timm has several hundred."""

import re
from functools import lru_cache
from typing import Any

from resnet_mlflow.backbones.weight_notes import timm_preprocessing
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.registry.backbones import TIMM, Backbone
from resnet_mlflow.registry.preprocessing import IMAGENET, Preprocessing

# Modules of timm whose networks are ResNets: blocks with a shortcut, convolutions in between.
_MODULES = ("resnet", "resnetv2", "resnest", "res2net", "sknet", "senet")
_HUB = "https://huggingface.co/{}/resolve/main/{}"


@lru_cache(maxsize=64)
def timm_row(name: str) -> Backbone:
    """Return the row of ``timm:NAME``, with the weights that timm lists, its default last.

    Args:
        name: Name with the prefix, such as ``timm:resnet50d``.

    Raises:
        InputError: If timm is not installed, or has no ResNet with that name.
    """
    timm = _timm()
    wanted = name.removeprefix(TIMM)
    known = timm.list_models(module=list(_MODULES))
    if wanted not in known:
        what = f"{wanted!r}, which is of another kind" if timm.is_model(wanted) else repr(wanted)
        raise InputError(
            f"backbone must be {TIMM}NAME with a ResNet of timm {timm.__version__}, got {what}{_near(name, known)}"
        )
    # The default is the first of timm's.
    configs = _configs(wanted)
    files = {key: _file(config) for key, config in reversed(configs.items())}
    files = {key: found for key, found in files.items() if found[0]}
    return Backbone(
        name,
        builder="timm:create_model",
        arguments={"model_name": wanted, "num_classes": 0},
        width=_width(wanted),
        weights_class=f"timm/{wanted}",
        weights={key: file for key, (file, _) in files.items()},
        addresses=dict(files.values()),
        preprocessing={key: _preprocessing(config) for key, config in configs.items() if key in files},
    )


def _near(name: str, known: list[str]) -> str:
    return nearest(name, [f"{TIMM}{one}" for one in known]) or "; see timm.list_models(module='resnet')"


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"backbone {TIMM}NAME needs timm, which is not installed ({error}); pip install 'resnet-mlflow[timm]'"
        ) from None
    return timm


def _configs(name: str) -> dict[str, Any]:
    """Return timm's configuration of each of a network's weights, by tag, the default first."""
    from timm.models import get_pretrained_cfg
    from timm.models._registry import get_arch_pretrained_cfgs

    configs = {key.partition(".")[2]: config for key, config in get_arch_pretrained_cfgs(name).items()}
    default = get_pretrained_cfg(name)
    first = default.tag if default and default.tag in configs else next(iter(configs), "")
    return {first: configs[first]} | configs if configs else {}


def _file(config: Any) -> tuple[str, str]:
    """Return name and address of a weights file, empty if there is none.

    A name with the start of its SHA-256 is preferred, because the file can be checked.
    """
    address = config.url or ""
    if re.search(r"-[0-9a-f]{8,}\.pth$", address):
        return address.rpartition("/")[2], address
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        return f"{config.hf_hub_id.replace('/', '--')}--{file}", _HUB.format(config.hf_hub_id, file)
    return address.rpartition("/")[2], address


def _preprocessing(config: Any) -> Preprocessing:
    return timm_preprocessing(config.to_dict()) or IMAGENET


def _width(name: str) -> int:
    import timm
    import torch

    with torch.device("meta"):
        network: Any = timm.create_model(name, num_classes=0)
    return int(network.num_features)
