"""The effect of depth on random weights, on digits: ``python -m benchmarks.random_backbones [RECIPE]``."""

import sys

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.markdown import markdown_table

NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
COLUMNS = ("backbone", "spread", "condition", "linear, fp32", "linear, bf16", "other predictions")

Features = dict[str, NDArray[np.float32]]


def describe(name: str, weights: str) -> list[str]:
    """Return a network's row: spread and condition of its features, and the accuracy of a linear head on them."""
    network = build_backbone(name, resolve_weights(name, weights, 0)).eval()
    splits = load_digits().splits
    labels = {split: images.labels for split, images in splits.items()}
    predicted = {}
    for precision in ("bf16", "fp32"):
        form = inference_form(network, precision)
        features: Features = {}
        for split, images in splits.items():
            batches = iterate_batches(images, image_size=32, batch_size=128, num_workers=1)
            with torch.inference_mode():
                features[split] = torch.cat([form(normalize(batch.images)) for batch in batches]).numpy()
        predicted[precision] = LinearHead().fit(features["train"], labels["train"]).predict(features["test"])
    scores = [f"{np.mean(predicted[precision] == labels['test']):.4f}" for precision in ("fp32", "bf16")]
    n_other = int((predicted["fp32"] != predicted["bf16"]).sum())
    spread, condition = shape(features["test"])
    return [name, f"{spread:.2f}", f"{condition:.1f}", *scores, f"{n_other} of {len(labels['test'])}"]


def shape(features: NDArray[np.float32]) -> tuple[float, float]:
    """Return the share of features that differs between images, and the ratio of their 1st to 100th singular value."""
    centred = features - features.mean(axis=0)
    values = np.linalg.svd(centred.astype(np.float64), compute_uv=False)
    return float(np.linalg.norm(centred) / np.linalg.norm(features)), float(values[0] / values[99])


def main() -> None:
    weights = f"random:{sys.argv[1]}" if len(sys.argv) > 1 else "random"
    print("\n".join(markdown_table(COLUMNS, [describe(name, weights) for name in NETWORKS])))


if __name__ == "__main__":
    main()
