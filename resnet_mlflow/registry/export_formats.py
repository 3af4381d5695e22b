"""Export formats of a classifier: one row each, and functions in ``resnet_mlflow.exporting``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry

# Graphs use this version of ONNX's operators, including those converted for OpenVINO.
OPSET = 18
# The only precision that must reproduce the classifier's results; all others lose digits.
EXACT = "fp32"


@dataclass(frozen=True)
class ExportFormat:
    """An export format and its runtime.

    Attributes:
        name: Name for users, and the extra that installs its libraries.
        runtime: Display name of the runtime.
        precisions: Supported precisions.
        packages: Required libraries, by import name.
        save: ``(graph, folder, about) -> None``, as ``module:attribute``: writes an ONNX graph to files.
        load: ``folder -> Runner``, as ``module:attribute``: loads the files for running.
        why_not: Why other precisions are not supported.
    """

    name: str
    runtime: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    save: str
    load: str
    why_not: str = ""


_TO_EXPORT = ("onnx", "onnxscript", "onnxruntime")
EXPORT_FORMATS = Registry(
    "format",
    ExportFormat(
        "onnx",
        "ONNX Runtime",
        ("fp32", "fp16", "int8"),
        _TO_EXPORT,
        "resnet_mlflow.exporting.onnx_files:save",
        "resnet_mlflow.exporting.onnx_files:load",
        why_not="on processors ONNX Runtime has no convolution in bf16",
    ),
    ExportFormat(
        "openvino",
        "OpenVINO",
        ("fp32", "fp16", "bf16", "int8"),
        (*_TO_EXPORT, "openvino"),
        "resnet_mlflow.exporting.openvino_files:save",
        "resnet_mlflow.exporting.openvino_files:load",
    ),
)
PRECISIONS = tuple(dict.fromkeys(precision for row in EXPORT_FORMATS.values() for precision in row.precisions))
