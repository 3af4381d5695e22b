"""Speed of forward passes alone, on decoded images in memory, relative to ONNX Runtime and OpenVINO."""

from functools import partial
from pathlib import Path

import torch

from benchmarks.extraction import WEIGHTS, forward_on_cores
from benchmarks.harness import Row, Work, alternate, ratio_row
from benchmarks.peers.onnx_runtime import OnnxForward
from benchmarks.peers.openvino_forward import OpenvinoForward
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.devices import n_cores, pick_precision
from resnet_mlflow.features.streaming import images_per_task

BATCH_SIZE = 64


def runtimes(folder: Path, quick: bool) -> list[Row]:
    """Return images/s of the forward pass relative to other runtimes, in float32, and in bf16 if both support it."""
    precisions = ("fp32", "bf16") if pick_precision("auto", "cpu") == "bf16" else ("fp32",)
    sizes = ((64, 128),) if quick else ((64, 2048), (224, 192))
    return [
        row for size, n_images in sizes for precision in precisions for row in _rows(size, n_images, precision, quick)
    ]


def _rows(image_size: int, n_images: int, precision: str, quick: bool) -> list[Row]:
    network = build_backbone("resnet18", WEIGHTS).eval()
    form = inference_form(network, precision)
    pixels = torch.randn(n_images, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    n_per_task = images_per_task(image_size)
    channels_last = pixels.to(form.dtype, memory_format=torch.channels_last)
    ours = partial(forward_on_cores, form, channels_last, n_per_task)
    batches = [batch.numpy() for batch in pixels.split(BATCH_SIZE)]
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    peers: dict[str, Work] = {"OpenVINO": partial(OpenvinoForward(network, image_size, BATCH_SIZE, hint), batches)}
    if precision == "fp32":
        session = OnnxForward(network, image_size)
        peers["ONNX Runtime"] = lambda: [session(images) for images in batches]
    return [
        ratio_row(
            f"forward pass, resnet18, {n_images} images of {image_size} px in memory, {precision}, over {name}'s",
            1.0,
            *alternate(ours, peer, 3 if quick else 5),
            n_items=n_images,
            names=(f"one pass per core ({n_cores()})", f"{name}, batches of {BATCH_SIZE}, {precision}"),
        )
        for name, peer in peers.items()
    ]
