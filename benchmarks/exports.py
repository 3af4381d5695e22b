"""Exported forms of a classifier compared with the classifier itself: images/s, and loss of accuracy."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, alternate, ratio_row
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.loading import iterate_batches
from resnet_mlflow.exporting.forms import own_runner, run_all, write_form, write_graphs
from resnet_mlflow.exporting.onnx_files import Pixels
from resnet_mlflow.exporting.parity import Parity, compare
from resnet_mlflow.heads import build_head
from resnet_mlflow.registry.export_formats import EXPORT_FORMATS
from resnet_mlflow.serving.classifier import Description, Parts
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.preparation import prepare

N_CALIBRATION, BATCH_SIZE, OURS = 300, 32, "ours"
Rows = NDArray[np.int64]


def int8(folder: Path, quick: bool) -> list[Row]:
    """Return images/s of int8 files relative to ours in fp32: resnet18, linear head, digits enlarged to 224 pixels."""
    size = 64 if quick else 224
    config = FitHeadConfig(weights="random", precision="fp32", image_size=size)
    inputs = prepare(config)
    features = extract_untracked(config, inputs).splits["train"]
    head = build_head("linear", {}, 0).fit(features.features, features.labels)
    names = inputs.dataset.class_names
    backbone = build_backbone("resnet18", inputs.weights).eval()
    parts = Parts(Description("resnet18", names, size, "fp32"), backbone, head, None)
    train, test = (inputs.dataset.splits[name] for name in ("train", "test"))
    spread = np.linspace(0, len(train) - 1, N_CALIBRATION).round().astype(np.int64)
    graph = write_graphs(parts, ["int8"], folder, lambda: _pixels(train, size, spread))["int8"]
    runners = {OURS: own_runner(parts, "fp32")}
    runners |= {name: write_form(row, graph, folder / name, {}) for name, row in EXPORT_FORMATS.items()}
    outputs = run_all(runners, _pixels(test, size))
    pixels = next(_pixels(test, size))
    rows = []
    for name, row in EXPORT_FORMATS.items():
        kept = _kept(compare(outputs[name], outputs[OURS], outputs[OURS], test.labels))
        taken = alternate(partial(runners[name], pixels), partial(runners[OURS], pixels), 3 if quick else 7)
        what = (
            f"exported classifier, resnet18 and linear head, {BATCH_SIZE} images of {size} px, int8 over ours in fp32"
        )
        names_shown = (f"{row.runtime}; digits: {kept}", "this project, fp32")
        rows.append(ratio_row(f"{what}, {name}", 1.5, *taken, n_items=len(pixels), names=names_shown))
    return rows


def _pixels(images: ImageSplit, size: int, rows: Rows | None = None) -> Iterator[Pixels]:
    for batch in iterate_batches(images, size, BATCH_SIZE, -1, rows=rows):
        yield np.ascontiguousarray(batch.images.permute(0, 2, 3, 1).numpy())


def _kept(found: Parity) -> str:
    low, high = found.interval
    return f"accuracy {found.accuracy:.4f}, {found.difference:+.4f} ({low:+.4f} to {high:+.4f}) on {found.n_images}"
