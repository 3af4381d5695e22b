"""What an exported file says of itself, so that whoever runs it needs nothing else of the project."""

from collections.abc import Mapping, Sequence
from typing import Any

from resnet_mlflow import __version__
from resnet_mlflow.registry.export_formats import OPSET
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.serving.classifier import Parts
from resnet_mlflow.uncertainty.rules import rules_as_json

# The key of a file's metadata that holds all of it as JSON.
KEY = "resnet_mlflow"
# What the graph's input is called.
INPUT = "images"


def describe_export(parts: Parts, outputs: Sequence[str], source: Mapping[str, str]) -> dict[str, Any]:
    """Return what every form of a classifier says of itself, for JSON.

    Args:
        parts: Of the classifier.
        outputs: Names of what its graph returns, in order.
        source: Where it is from, such as ``run_id``.
    """
    description = parts.description
    preprocessing = Preprocessing.read(description.preprocessing)
    return {
        "class_names": list(description.class_names),
        "image_size": description.image_size,
        "resize": describe_resizing(preprocessing, description.image_size),
        "input": INPUT,
        "outputs": list(outputs),
        "backbone": description.backbone,
        "head": type(parts.head).__name__,
        "temperature": float(parts.head.temperature_),
        "rules": None if parts.rules is None else rules_as_json(parts.rules),
        "opset": OPSET,
        "version": __version__,
        **source,
    }


def describe_resizing(preprocessing: Preprocessing, size: int) -> dict[str, Any]:
    """Return how an image becomes the graph's input: its shorter side is resized, and the middle cut out.

    Args:
        preprocessing: What the weights are used to.
        size: Side of the input in pixels.

    Returns:
        ``to``: length of the shorter side in pixels; ``from``: images whose shorter side is less are resized to the
        input's side instead; ``interpolation``; ``margins``: how half a pixel of a margin is rounded.

    Example:
        >>> describe_resizing(Preprocessing(), 224)
        {'to': 256, 'from': 256.0, 'interpolation': 'bilinear', 'margins': 'floor'}
    """
    always = bool(preprocessing.resize) and size == preprocessing.crop
    wanted = size * preprocessing.resize / preprocessing.crop if preprocessing.resize else size * 8 / 7
    return {
        "to": round(wanted),
        "from": 0 if always else wanted,
        "interpolation": preprocessing.interpolation,
        "margins": "half to even" if preprocessing.resize else "floor",
    }
