"""What a classifier can be exported as: a row each, and its functions in ``resnet_mlflow.exporting``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry

# Graphs are of this version of ONNX's operators, OpenVINO's too, which are converted.
OPSET = 18
# The one precision that must give what the classifier gives; all others lose digits.
EXACT = "fp32"


@dataclass(frozen=True)
class ExportFormat:
    """One format, and the runtime that runs it.

    Attributes:
        name: What users call it, and the extra that installs its libraries.
        runtime: Name of the runtime, for people.
        precisions: What it can be exported in.
        packages: Which libraries it needs, by the names that they are imported by.
        save: ``(graph, folder, about) -> None``, as ``module:attribute``: writes the files of an ONNX graph.
        load: ``folder -> Runner``, as ``module:attribute``: what runs these files.
        why_not: Why it has no other precision.
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
