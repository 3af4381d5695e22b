"""ONNX graphs as OpenVINO IR, and the OpenVINO runtime."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_mlflow.devices import n_cores
from resnet_mlflow.exporting.about import KEY
from resnet_mlflow.exporting.onnx_files import Pixels, Runner

MODEL_FILE = "model.xml"
# Parts in another precision are marked in the graph; by default, OpenVINO would compute heads in bf16 too.
HINTS = {"INFERENCE_PRECISION_HINT": "f32"}


def save(graph: Path, folder: Path, about: Mapping[str, Any]) -> None:
    """Write an ONNX graph as IR, with its description; see ``registry.export_formats``."""
    import openvino

    # Not with convert_model, which sends telemetry.
    model = openvino.Core().read_model(graph)
    model.set_rt_info(json.dumps(dict(about)), [KEY])
    openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)


def load(folder: Path) -> Runner:
    """Return a runner for the files of ``save`` on all cores of the processor; see ``registry.export_formats``."""
    import openvino

    options = HINTS | {"INFERENCE_NUM_THREADS": n_cores()}
    compiled = openvino.Core().compile_model(folder / MODEL_FILE, "CPU", options)
    names = [output.any_name for output in compiled.outputs]

    def run(pixels: Pixels) -> dict[str, Any]:
        found = compiled([pixels])
        return {name: found[place].copy() for place, name in enumerate(names)}

    return run
