"""Graphs as ONNX files, their quantisation, and ONNX Runtime."""

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.devices import n_cores
from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting.about import INPUT, KEY
from resnet_mlflow.exporting.graph import ClassifierGraph
from resnet_mlflow.registry.export_formats import OPSET

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_FILE = "model.onnx"
Pixels = NDArray[np.uint8]
# Maps pixels (n_images, side, side, 3) to the graph's outputs, by name.
Runner = Callable[[Pixels], dict[str, NDArray[Any]]]
# Additions and maxima between convolutions stay in float32: equally fast on this project's networks, and 30 % closer.
_QUANTISED = "Conv"
_BACKBONE = "/backbone: "
# Maximum size of the numbers in one file: protobuf counts bytes in 31 bits, and the graph itself takes some.
_MOST_BYTES = 2_000_000_000


def write_graph(graph: ClassifierGraph, path: Path, image_size: int, backbone: str) -> None:
    """Write a classifier's graph as ONNX, for any number of images.

    Args:
        graph: Graph of the classifier.
        path: The file to write.
        image_size: Side of its input in pixels.
        backbone: Name of the network, for the error.

    Raises:
        InputError: If torch cannot export the network, or the graph is too large for an ONNX file.
    """
    import torch

    n_bytes = sum(values.nbytes for values in (*graph.parameters(), *graph.buffers()))
    if n_bytes > _MOST_BYTES:
        raise InputError(
            f"an exported graph must have at most {_MOST_BYTES} bytes of weights, got {n_bytes}, including neighbours "
            f"and support vectors; export a linear head"
        )
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    try:
        write_module(graph, example, path, graph.outputs)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"a backbone must be one that torch exports to ONNX, got {backbone} ({reason[:200]}); export a classifier "
            "on another one"
        ) from None


def write_module(module: "nn.Module", example: "Tensor", path: Path, outputs: Sequence[str]) -> None:
    """Write a torch module with one input as ONNX; the first axis of its input and outputs may have any length.

    Args:
        module: The module, in eval mode.
        example: Example of its input.
        path: The file to write.
        outputs: Names of its outputs.
    """
    import torch

    with _quiet():
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("n_images")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def quantise(source: Path, path: Path, batches: Iterable[Pixels]) -> None:
    """Write a copy of a float32 graph with int8 convolutions in its backbone.

    Weights have one scale per channel; each activation has one scale, from its smallest and largest value on the given
    images. The head stays in float32: it takes little time, and distances need the precision.

    Args:
        source: An fp32 graph from ``write_graph``.
        path: The file to write.
        batches: Pixels of training images, ``(n_images, side, side, 3)`` each.

    References:
        Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference, section 2; Krishnamoorthi (2018), Quantizing deep convolutional networks, for scales per channel.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = ({INPUT: batch} for batch in batches)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(self._feeds, None)

    nodes = onnx.load(source).graph.node
    own = [node.name for node in nodes if node.op_type == _QUANTISED and _is_of_backbone(node)]
    with _quiet():
        quantize_static(
            source,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=own,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with signed weights, the combination that AVX-512 VNNI multiplies
            weight_type=QuantType.QInt8,
        )


def save(graph: Path, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a graph with its description; see ``registry.export_formats``."""
    import onnx

    model = onnx.load(graph)
    # The exporter's traces of our modules and of paths on this machine are removed for privacy.
    for node in model.graph.node:
        del node.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(dict(about))
    onnx.save(model, folder / MODEL_FILE)


def load(folder: Path) -> Runner:
    """Return a runner for the files of ``save`` on all cores of the processor; see ``registry.export_formats``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_cores()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(None, {INPUT: pixels}), strict=True))


def _is_of_backbone(node: Any) -> bool:
    return any(entry.key == "namespace" and _BACKBONE in entry.value for entry in node.metadata_props)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own messages off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
