"""Speed of reading a weights file, relative to torch's reader alone."""

import statistics
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks.harness import Row, alternate, limit_row
from resnet_mlflow.backbones import weights
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.files.digests import forget_digests


def load_file(folder: Path, quick: bool) -> list[Row]:
    """Return the time to resolve, check and load resnet50 from a file, relative to that of torch.load."""
    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.resnet50(weights=None).state_dict()
    moco = {"state_dict": {f"module.encoder_q.{name}": tensor for name, tensor in own.items()}}
    turns = 3 if quick else 15
    return [
        _row(folder, "torchvision's layout", own, turns, first=False),
        _row(folder, "MoCo's layout", moco, turns, first=False),
        _row(folder, "torchvision's layout, its SHA-256 for the first time", own, turns, first=True),
    ]


def _row(folder: Path, what: str, content: dict[str, Any], turns: int, *, first: bool) -> Row:
    path = folder / "resnet50.pth"
    torch.save(content, path)

    def ours() -> object:
        if first:
            forget_digests()
        return build_backbone("resnet50", weights.resolve_weights("resnet50", str(path), 0))

    def peer() -> object:
        return torch.load(path, map_location="cpu", weights_only=True)

    taken = alternate(ours, peer, turns)
    ratios = [own / theirs for own, theirs in zip(*taken, strict=True)]
    megabytes = path.stat().st_size / 1e6
    return limit_row(
        f"resolve and load resnet50, {megabytes:.0f} MB, {what}, over torch.load alone",
        1.5,
        ratios,
        unit="x",
        ours=f"{statistics.median(taken[0]):.3g} s, into a network that was checked",
        peer=f"{statistics.median(taken[1]):.3g} s, tensors only",
    )
