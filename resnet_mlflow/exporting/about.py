"""The description inside an exported file, so that running it needs nothing else of the project."""

from collections.abc import Mapping, Sequence
from typing import Any

from resnet_mlflow import __version__
from resnet_mlflow.registry.export_formats import OPSET
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.serving.classifier import Parts
from resnet_mlflow.uncertainty.rules import rules_as_json

# Key in a file's metadata for the whole description as JSON.
KEY = "resnet_mlflow"
# Name of the graph's input.
INPUT = "images"


def describe_export(parts: Parts, outputs: Sequence[str], source: Mapping[str, str]) -> dict[str, Any]:
    """Return the description that every form of a classifier contains, for JSON.

    Args:
        parts: Parts of the classifier.
        outputs: Names of its graph's outputs, in order.
        source: Its origin, such as ``run_id``.
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
    """Return how an image becomes the graph's input: its shorter side is resized, and the centre cropped.

    Args:
        preprocessing: The preprocessing that the weights expect.
        size: Side of the input in pixels.

    Returns:
        ``to``: length of the shorter side in pixels; ``from``: images with a shorter side below this are resized to the
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
