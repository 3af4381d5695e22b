"""Corruptions: their time relative to the forward passes of their results, and to a loop over single images."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.extraction import WEIGHTS
from benchmarks.harness import Row, limit_row, ratio_row, seconds
from benchmarks.images import Pixels, picture
from benchmarks.peers import corruptions as peer
from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.data.loading import normalize
from resnet_mlflow.devices import n_cores, pick_precision
from resnet_mlflow.features.streaming import images_per_task
from resnet_mlflow.process import one_thread
from resnet_mlflow.robustness.corruptions import corrupt
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.robustness.severities import constants_for

SIZE = 224
SEVERITY = 3
TURNS = 5


def over_forward(folder: Path, quick: bool) -> list[Row]:
    """Return the time of all 15 corruptions of some images relative to that of the forward passes of all 15 results.

    Each corruption is timed together with a forward pass of its result, one pass per core, which is the fastest way.
    """
    n_images = 32 if quick else 256
    images = torch.from_numpy(_pictures(n_images)).permute(0, 3, 1, 2)
    precision = pick_precision("auto", "cpu")
    form = inference_form(build_backbone("resnet18", WEIGHTS), precision)
    _forward(form, images)
    shares, taken = [], dict.fromkeys(BENCHMARK, 0.0)
    for _ in range(TURNS):
        corrupting = forward = 0.0
        for name in BENCHMARK:
            once = seconds(lambda name=name: corrupt(images, name, SEVERITY, range(n_images)))
            corrupting += once
            taken[name] += once / TURNS
            forward += seconds(lambda: _forward(form, images))
        shares.append(corrupting / forward)
    rates = ", ".join(f"{name} {n_images / s:.0f}" for name, s in taken.items())
    n_forward = len(BENCHMARK) * n_images * statistics.median(shares) / sum(taken.values())
    return [
        limit_row(
            f"all 15 corruptions at severity {SEVERITY} of {n_images} images of {SIZE} px, over the forward passes "
            f"(resnet18, {precision}) of the 15 x {n_images} images made",
            0.35,
            shares,
            unit="x",
            ours=f"images/s: {rates}",
            peer=f"{n_forward:.0f} images/s forward, one pass per core",
        )
    ]


def over_loop(folder: Path, quick: bool) -> list[Row]:
    """Return the time of a loop over images in NumPy relative to ours, for all 15 corruptions together."""
    n_ours, n_peer = (16, 1) if quick else (128, 4)
    pixels = _pictures(n_ours)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(TURNS):
        ours.append(seconds(lambda: [corrupt(images, name, SEVERITY, range(n_ours)) for name in BENCHMARK]))
        theirs.append(seconds(lambda: _loop(pixels[:n_peer])) * n_ours / n_peer)
    return [
        ratio_row(
            f"all 15 corruptions at severity {SEVERITY} of images of {SIZE} px, over one image at a time",
            8.0,
            ours,
            theirs,
            n_items=len(BENCHMARK) * n_ours,
            names=(f"batch of {n_ours}", f"NumPy, SciPy, OpenCV and Pillow, {n_peer} images"),
        )
    ]


def _pictures(n_images: int) -> Pixels:
    rng = np.random.default_rng(0)
    # Shifted copies of a few pictures: their content hardly matters, and generating pictures takes time.
    few = [picture(rng, SIZE, SIZE) for _ in range(8)]
    return np.stack([np.roll(few[i % 8], (i, 2 * i), (0, 1)) for i in range(n_images)])


def _loop(pixels: Pixels) -> None:
    rng = np.random.default_rng(0)
    for name in BENCHMARK:
        for image in pixels:
            getattr(peer, name)(image, rng, *constants_for(name, SEVERITY, SIZE))


def _forward(form: InferenceForm, images: Tensor) -> None:

    @torch.inference_mode()
    def forward(chunk: Tensor) -> None:
        form(normalize(chunk, dtype=form.dtype))

    with one_thread(), ThreadPoolExecutor(n_cores(), "forward", torch.set_num_threads, (1,)) as pool:
        list(pool.map(forward, images.split(images_per_task(SIZE))))
