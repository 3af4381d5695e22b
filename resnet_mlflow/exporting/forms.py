"""Forms of a classifier, our own and the exported ones: each maps pixels to answers."""

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting.graph import ANSWERED, LABEL, RULED_OUTPUTS, SCORES, SET, ClassifierGraph
from resnet_mlflow.exporting.onnx_files import Pixels, Runner, quantise, write_graph
from resnet_mlflow.features.streaming import extract_images
from resnet_mlflow.registry import load
from resnet_mlflow.registry.export_formats import EXACT, ExportFormat
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.serving.classifier import Parts, unconditional

INT8 = "int8"
_ROUNDS, _FEWEST_CALLS, _SHORTEST_S, _PAUSE_S = 3, 4, 0.15, 0.1


def check_runtimes(formats: Iterable[ExportFormat]) -> None:
    """Refuse formats whose libraries are not installed.

    Raises:
        InputError: If one is missing; the message names the extra that installs it.
    """
    for row in formats:
        missing = [name for name in row.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                f"format {row.name} needs {', '.join(row.packages)}, got no {', '.join(missing)}; "
                f"pip install 'resnet-mlflow[{row.name}]'"
            )


def write_graphs(
    parts: Parts, precisions: Sequence[str], folder: Path, batches: Callable[[], Iterator[Pixels]]
) -> dict[str, Path]:
    """Write an ONNX graph of the classifier for each precision into a folder, and return them.

    Args:
        parts: Parts of the classifier.
        precisions: Precisions of the backbone.
        folder: Folder for the graphs.
        batches: Returns pixels of training images, for the ranges of int8.

    Raises:
        InputError: If its backbone, head or score of unlike images cannot be exported.
    """
    description = parts.description
    written = {}
    # int8 is made from the exact graph.
    for precision in dict.fromkeys(EXACT if one == INT8 else one for one in precisions):
        graph = ClassifierGraph(
            parts.backbone,
            parts.head,
            Preprocessing.read(description.preprocessing),
            parts.rules,
            description.class_names,
            precision,
        )
        written[precision] = folder / f"{precision}.onnx"
        write_graph(graph, written[precision], description.image_size, description.backbone)
    if INT8 in precisions:
        written[INT8] = folder / f"{INT8}.onnx"
        quantise(written[EXACT], written[INT8], batches())
    return written


def write_form(row: ExportFormat, graph: Path, folder: Path, about: Mapping[str, Any]) -> Runner:
    """Write a form to files, load it back, and return its runner.

    Args:
        row: Its format.
        graph: The ONNX graph of its precision.
        folder: Folder for the files; created here.
        about: Description to include.
    """
    folder.mkdir(parents=True)
    load(row.save)(graph, folder, about)
    runner: Runner = load(row.load)(folder)
    return runner


def own_runner(parts: Parts, precision: str) -> Runner:
    """Return the runner of the classifier as served on this processor, in ``fp32``, ``bf16`` or ``int8``."""
    form = inference_form(parts.backbone, precision)
    preprocessing = Preprocessing.read(parts.description.preprocessing)
    names = parts.description.class_names

    def run(pixels: Pixels) -> dict[str, Any]:
        features = extract_images(form, torch.from_numpy(pixels).permute(0, 3, 1, 2), preprocessing)
        if parts.rules is None:
            judged = unconditional(parts.head.predict_proba(features))
            return {SCORES: judged.probabilities, LABEL: judged.labels}
        # Brightness affects only the reasons for answers, which graphs do not return.
        judged = parts.rules.judge(parts.head, features, np.full((len(features), 4), np.nan, np.float32), names)
        return {SCORES: judged.probabilities, LABEL: judged.labels, SET: judged.sets, ANSWERED: judged.answered}

    return run


def run_all(runners: Mapping[str, Runner], batches: Iterable[Pixels]) -> dict[str, dict[str, Any]]:
    """Return every form's outputs for all images, computed in batches: memory does not grow with the size of images."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    for pixels in batches:
        for name, run in runners.items():
            found[name].append(run(pixels))
    return {
        name: {key: np.concatenate([part[key] for part in parts]) for key in RULED_OUTPUTS if key in parts[0]}
        for name, parts in found.items()
    }


def time_all(runners: Mapping[str, Runner], pixels: Pixels) -> dict[str, float]:
    """Return milliseconds per image of every form: the median over rounds in which all forms take turns.

    A turn is several calls after a pause, and the first call does not count: threads of the previous form busy-wait for
    a while and would occupy the cores.

    Args:
        runners: Runners by name.
        pixels: Pixels of the images of one call.
    """
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(_ROUNDS):
        for name, run in runners.items():
            time.sleep(_PAUSE_S)
            taken[name] += _calls(run, pixels)[1:]
    return {name: 1000 * statistics.median(seconds) / len(pixels) for name, seconds in taken.items()}


def _calls(run: Runner, pixels: Pixels) -> list[float]:
    """Return the seconds of several calls, of more if they are short."""
    taken: list[float] = []
    while len(taken) < _FEWEST_CALLS or sum(taken) < _SHORTEST_S:
        began = time.perf_counter()
        run(pixels)
        taken.append(time.perf_counter() - began)
    return taken
