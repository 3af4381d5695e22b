"""ONNX graphs as OpenVINO's IR, and OpenVINO."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_mlflow.devices import n_cores
from resnet_mlflow.exporting.about import KEY
from resnet_mlflow.exporting.onnx_files import Pixels, Runner

MODEL_FILE = "model.xml"
# Parts that are in another precision say so themselves; left to itself, OpenVINO would compute heads in bf16 too.
HINTS = {"INFERENCE_PRECISION_HINT": "f32"}


def save(graph: Path, folder: Path, about: Mapping[str, Any]) -> None:
    """Write an ONNX graph as IR, with what it says of itself; see ``registry.export_formats``."""
    import openvino

    # Not by convert_model, which reports to its makers.
    model = openvino.Core().read_model(graph)
    model.set_rt_info(json.dumps(dict(about)), [KEY])
    openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)


def load(folder: Path) -> Runner:
    """Return what runs the files of ``save`` on all cores of the processor; see ``registry.export_formats``."""
    import openvino

    options = HINTS | {"INFERENCE_NUM_THREADS": n_cores()}
    compiled = openvino.Core().compile_model(folder / MODEL_FILE, "CPU", options)
    names = [output.any_name for output in compiled.outputs]

    def run(pixels: Pixels) -> dict[str, Any]:
        found = compiled([pixels])
        return {name: found[place].copy() for place, name in enumerate(names)}

    return run
