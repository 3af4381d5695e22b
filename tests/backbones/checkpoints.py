"""Weights files as projects write them, built from a network's tensors."""

import argparse
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]


def distinct_state(like: Mapping[str, Tensor], seed: int) -> State:
    """Return tensors of the same shapes whose numbers differ from channel to channel; small in a file."""
    generator = torch.Generator().manual_seed(seed)

    def made(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0:
            return torch.tensor(seed)
        numbers = torch.rand(len(tensor), *[1] * (tensor.ndim - 1), generator=generator) + 0.5
        return numbers.expand(tensor.shape)

    return {name: made(tensor) for name, tensor in like.items()}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def with_fc(state: State, n_classes: int = 10) -> State:
    width = state["layer4.1.bn2.weight"].shape[0] * (4 if "layer4.1.bn3.weight" in state else 1)
    return state | {"fc.weight": torch.zeros(n_classes, width), "fc.bias": torch.zeros(n_classes)}


def projector(name: str = "", width: int = 512) -> State:
    norm = {f"1.{stat}": torch.ones(width) for stat in ("weight", "bias", "running_mean", "running_var")}
    layers = {"0.weight": torch.ones(width, width), **norm, "1.num_batches_tracked": torch.tensor(3)}
    return prefixed(name, layers | {"3.weight": torch.ones(128, width)})


def numbered(state: State) -> State:
    """Return the names that an nn.Sequential of the children gives."""
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {re.sub(r"^\w+", lambda first: places[first[0]], name): tensor for name, tensor in state.items()}


def hugging_face(state: State) -> State:
    """Return the names of transformers' ResNetModel."""
    rules = [
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        (r"\.downsample\.0\.", ".shortcut.convolution."),
        (r"\.downsample\.1\.", ".shortcut.normalization."),
        *[(rf"\.conv{k}\.", f".layer.{k - 1}.convolution.") for k in (1, 2, 3)],
        *[(rf"\.bn{k}\.", f".layer.{k - 1}.normalization.") for k in (1, 2, 3)],
        *[(rf"^layer{k}\.(\d+)\.", rf"encoder.stages.{k - 1}.layers.\1.") for k in (1, 2, 3, 4)],
    ]
    named = {}
    for name, tensor in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        named[name] = tensor
    return named


def optimizer(state: State) -> dict[str, Any]:
    moments = {index: {"step": 3, "exp_avg": torch.zeros(4)} for index in range(3)}
    return {"state": moments, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": list(range(3))}]}


def arguments() -> argparse.Namespace:
    return argparse.Namespace(model="resnet50", lr=0.1, milestones=[3, 6], opt=None)


def lightning(state: State, prefix: str) -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(prefixed(prefix, with_fc(state)) | {"loss.weight": torch.ones(10)}),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer(state)],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "arch": "resnet50"},
    }


Layout = Callable[[State, State], Any]

# Of the tensors that must be loaded, and of others that fit as well: what the file holds.
LAYOUTS: dict[str, Layout] = {
    "torchvision": lambda own, _: with_fc(own, 1000),
    "without fc": lambda own, _: own,
    "without counters": lambda own, _: {k: v for k, v in own.items() if "num_batches_tracked" not in k},
    "parameters": lambda own, _: OrderedDict((k, torch.nn.Parameter(v, False)) for k, v in own.items()),
    "torchvision references": lambda own, _: {
        "model": with_fc(own),
        "optimizer": optimizer(own),
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 3,
        "args": arguments(),
    },
    "torchvision references, EMA": lambda own, other: {
        "model": with_fc(other),
        "model_ema": {"n_averaged": torch.tensor(5)} | prefixed("module.", with_fc(own)),
        "args": arguments(),
    },
    "timm": lambda own, _: {"arch": "resnet50", "state_dict": with_fc(own), "args": arguments(), "version": 2},
    "timm, EMA": lambda own, other: {
        "arch": "resnet50",
        "state_dict": with_fc(other),
        "state_dict_ema": with_fc(own),
        "optimizer": optimizer(own),
        "args": arguments(),
        "metric": 71.3,
    },
    "timm, EMA, DataParallel": lambda own, other: {
        "state_dict": prefixed("module.", with_fc(other)),
        "state_dict_ema": prefixed("module.", with_fc(own)),
    },
    "DataParallel": lambda own, _: prefixed("module.", with_fc(own)),
    "torch.compile": lambda own, _: {"model": prefixed("_orig_mod.", with_fc(own))},
    "DataParallel of torch.compile": lambda own, _: {"net": prefixed("module._orig_mod.", with_fc(own)), "acc": 71.3},
    "Lightning, model.": lambda own, _: lightning(own, "model."),
    "Lightning, net.": lambda own, _: lightning(own, "net."),
    "Hugging Face": lambda own, _: (
        prefixed("resnet.", hugging_face(own))
        | {"classifier.1.weight": torch.ones(5, 8), "classifier.1.bias": torch.ones(5)}
    ),
    "Hugging Face, base": lambda own, _: hugging_face(own),
    "MoCo": lambda own, other: {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": prefixed("module.encoder_k.", with_fc(other, 128))
        | prefixed("module.encoder_q.", with_fc(own, 128))
        | {"module.queue": torch.ones(128, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)},
        "optimizer": optimizer(own),
    },
    "MoCo v2": lambda own, other: {
        "state_dict": prefixed("module.encoder_q.", own | projector("fc."))
        | prefixed("module.encoder_k.", other | projector("fc."))
        | {"module.queue": torch.ones(128, 64)},
    },
    "MoCo v3": lambda own, other: {
        "state_dict": prefixed("module.base_encoder.", own | projector("fc."))
        | prefixed("module.momentum_encoder.", other | projector("fc."))
        | projector("module.predictor."),
    },
    "SimSiam": lambda own, _: {
        "state_dict": prefixed("module.encoder.", own | projector("fc.")) | projector("module.predictor."),
    },
    "SimCLR": lambda own, _: {
        "epoch": 100,
        "arch": "resnet18",
        "state_dict": prefixed("backbone.", own | projector("fc.")),
    },
    "Barlow Twins": lambda own, _: own,
    "Barlow Twins, checkpoint": lambda own, _: {
        "epoch": 3,
        "model": prefixed("module.backbone.", own) | projector("module.projector.") | projector("module.bn."),
        "optimizer": optimizer(own),
    },
    "SwAV": lambda own, _: prefixed(
        "module.", own | projector("projection_head.") | {"prototypes.weight": torch.ones(300, 128)}
    ),
    "DINO": lambda own, other: {
        "student": prefixed("module.backbone.", other) | projector("module.head.mlp."),
        "teacher": prefixed("backbone.", own) | projector("head.mlp."),
        "optimizer": optimizer(own),
        "args": arguments(),
        "dino_loss": {"center": torch.ones(1, 8)},
    },
    "solo-learn": lambda own, other: {
        "state_dict": prefixed("backbone.", own)
        | prefixed("momentum_backbone.", other)
        | projector("projector.")
        | {"classifier.weight": torch.ones(10, 8), "classifier.bias": torch.ones(10)},
    },
    "MMPretrain": lambda own, _: {
        "meta": {"epoch": 100, "experiment_name": "x", "seed": 1},
        "state_dict": prefixed("backbone.", own)
        | {"head.fc.weight": torch.ones(10, 8), "head.fc.bias": torch.ones(10)},
    },
    "MMPretrain, EMA": lambda own, other: {
        "state_dict": prefixed("backbone.", other),
        "ema_state_dict": {"steps": torch.tensor(3)} | prefixed("module.backbone.", own),
    },
    "lightly": lambda own, _: {
        "state_dict": prefixed("backbone.", numbered(own)) | projector("projection_head.layers."),
    },
    "fastai": lambda own, _: {
        "model": prefixed("0.", numbered(own)) | prefixed("1.", projector("2.")),
        "opt": {"state": [{"grad_avg": torch.ones(3)}], "hypers": [{"lr": 0.1}]},
    },
    "nested modules": lambda own, _: {
        "net": {"conv1": {"weight": own["conv1.weight"]}} | {k: v for k, v in own.items() if k != "conv1.weight"}
    },
    "list of one": lambda own, _: [{"weights": own}],
    "stem in layer0": lambda own, _: {
        re.sub(r"^(conv|bn)1\.", lambda m: f"layer0.{0 if m[1] == 'conv' else 1}.", k): v for k, v in own.items()
    },
    "same twice": lambda own, _: {"state_dict": own, "model": dict(own)},
}
