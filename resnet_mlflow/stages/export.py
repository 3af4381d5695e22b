"""Stage `export`: a classifier as files for other runtimes, kept only if they agree with it on the test split."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from numpy.typing import NDArray

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import ExportConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.loading import iterate_batches
from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting.about import describe_export
from resnet_mlflow.exporting.forms import check_runtimes, own_runner, run_all, time_all, write_form, write_graphs
from resnet_mlflow.exporting.graph import PLAIN_OUTPUTS, RULED_OUTPUTS
from resnet_mlflow.exporting.onnx_files import Pixels, Runner
from resnet_mlflow.exporting.parity import Parity, check, compare
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.registry.export_formats import EXACT
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.serving.classifier import Parts, read_parts, write_classifier
from resnet_mlflow.stages.classifiers import RunClassifier, load_classifier
from resnet_mlflow.stages.packaging import describe, tested_images
from resnet_mlflow.tracking import (
    StageRun,
    connect,
    download_classifier,
    load_predictions,
    promoted_version,
    rewrite_version,
    run_of_model,
    stage_run,
)

logger = logging.getLogger(__name__)

FOLDER = "export"
OURS = "classifier"
COPIED_TAGS = ("dataset", "dataset_digest", "backbone", "weights", "head", "seed")
COLUMNS = (
    *("form", "agreement", "largest score difference", "accuracy", "difference", "interval"),
    *("answered alike", "ms alone", "ms in a batch", "MB"),
)


@dataclass(frozen=True, eq=False)
class Source:
    """The classifier to export.

    Attributes:
        classifier: The classifier of its run, which provides the test images for comparison.
        parts: Its parts; for a registered one, those in the package.
        version: The registered version; None if a run was named.
    """

    classifier: RunClassifier
    parts: Parts
    version: ModelVersion | None

    @property
    def tags(self) -> dict[str, str]:
        """Return its origin, for tags and files."""
        run = {"classifier_run": self.classifier.run.info.run_id}
        if self.version is None:
            return run
        return run | {"model_name": self.version.name, "model_version": str(self.version.version)}


@dataclass(frozen=True)
class Measured:
    """Measurements of an exported form: agreement, time per image, and size.

    Attributes:
        parity: Agreement on the test split.
        latency_ms: Milliseconds for a single image.
        batch_ms: Milliseconds per image in a batch.
        n_bytes: Size of its files.
    """

    parity: Parity
    latency_ms: float
    batch_ms: float
    n_bytes: int


def run_export(config: ExportConfig) -> dict[str, Measured]:
    """Return the measurements of every form, by name, after logging their files; none is logged if one does not agree.

    Raises:
        InputError: If a runtime is missing, the classifier does not exist, or a form does not agree with it.
    """
    connect()
    check_runtimes(row for row, _ in config.forms)
    source = _find(config)
    tags = {tag: value for tag, value in source.classifier.run.data.tags.items() if tag in COPIED_TAGS}
    name = f"export {source.classifier.name}"
    with stage_run("export", config, name, tags | source.tags) as run, scratch_folder() as scratch:
        runners, folders = _write(config, source, scratch)
        measured = _measure(config, source, runners, folders)
        _check(config, measured)
        _log(run, source, measured, scratch / FOLDER)
    return measured


def _find(config: ExportConfig) -> Source:
    if bool(config.model) == bool(config.run_id):
        got = "both" if config.model else "none"
        raise InputError(
            f"exactly one of model and run_id must be given, got {got}; pass model=models:/NAME@champion or run_id=ID"
        )
    version = promoted_version(config.model) if config.model else None
    run_id = run_of_model(config.model) if config.model else config.run_id
    classifier = load_classifier(run_id, {"device": "cpu", "cache_dir": config.cache_dir})
    if classifier.run.data.tags["stage"] == "refit" and classifier.inputs.dataset.test_is_drawn:
        raise InputError(
            f"an exported classifier must have test images to compare on, got run {run_id}, which was fitted on all "
            f"of {classifier.inputs.dataset.name}; export a run on a fixed split"
        )
    if version is None:
        backbone = build_backbone(classifier.config.backbone, classifier.inputs.weights).eval()
        return Source(classifier, Parts(describe(classifier), backbone, classifier.head, None), None)
    with scratch_folder() as folder:
        return Source(classifier, read_parts(download_classifier(config.model, folder)), version)


def _write(config: ExportConfig, source: Source, scratch: Path) -> tuple[dict[str, Runner], dict[str, Path]]:
    """Return a runner for each form, loaded back from its files, and the folder of these files."""
    parts = source.parts
    graphs_folder, own = scratch / "graphs", scratch / OURS
    graphs_folder.mkdir()
    own.mkdir()
    write_classifier(own, parts.description, parts.backbone, parts.head, parts.rules)
    precisions = list(dict.fromkeys(precision for _, precision in config.forms))
    graphs = write_graphs(parts, precisions, graphs_folder, lambda: _training_pixels(config, source))
    own_precisions = dict.fromkeys((EXACT, parts.description.precision))
    runners = {_own_name(precision): own_runner(parts, precision) for precision in own_precisions}
    folders = dict.fromkeys(runners, own)
    for row, precision in config.forms:
        name = f"{row.name}-{precision}"
        outputs = PLAIN_OUTPUTS if parts.rules is None else RULED_OUTPUTS
        about = describe_export(parts, outputs, {**source.tags, "precision": precision})
        folders[name] = scratch / FOLDER / name
        runners[name] = write_form(row, graphs[precision], folders[name], about)
        logger.info("made %s", name)
    return runners, folders


def _own_name(precision: str) -> str:
    return f"{OURS}-{precision}"


def _measure(
    config: ExportConfig, source: Source, runners: Mapping[str, Runner], folders: Mapping[str, Path]
) -> dict[str, Measured]:
    logged = load_predictions(source.classifier.run.info.run_id)
    images = tested_images(source.classifier.inputs.dataset.splits["test"], logged)
    outputs = run_all(runners, _pixels(config, source, images))
    few = next(_pixels(config, source, images))
    alone, together = time_all(runners, few[:1]), time_all(runners, few)
    exact, own = outputs[_own_name(EXACT)], outputs[_own_name(source.parts.description.precision)]
    return {
        name: Measured(compare(found, exact, own, images.labels), alone[name], together[name], _size(folders[name]))
        for name, found in outputs.items()
    }


def _pixels(
    config: ExportConfig, source: Source, images: ImageSplit, rows: NDArray[np.int64] | None = None
) -> Iterator[Pixels]:
    """Yield images as the network receives them, ``(n_images, side, side, 3)`` each."""
    description = source.parts.description
    batches = iterate_batches(
        images,
        description.image_size,
        config.batch_size,
        config.num_workers,
        rows=rows,
        preprocessing=Preprocessing.read(description.preprocessing),
    )
    for batch in batches:
        yield np.ascontiguousarray(batch.images.permute(0, 2, 3, 1).numpy())


def _training_pixels(config: ExportConfig, source: Source) -> Iterator[Pixels]:
    """Yield evenly spread training images, because the images are sorted by class."""
    train = source.classifier.inputs.dataset.splits["train"]
    n_images = min(config.calibration_images, len(train))
    return _pixels(config, source, train, np.linspace(0, len(train) - 1, n_images).round().astype(np.int64))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _check(config: ExportConfig, measured: Mapping[str, Measured]) -> None:
    for row, precision in config.forms:
        name = f"{row.name}-{precision}"
        check(measured[name].parity, name, precision, config.margin)


def _log(run: StageRun, source: Source, measured: Mapping[str, Measured], folder: Path) -> None:
    table = pd.DataFrame([_cells(name, found) for name, found in measured.items()], columns=list(COLUMNS))
    lines = markdown_table(COLUMNS, table.to_numpy().tolist())
    (folder / "parity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with run.artifacts() as place:
        folder.rename(place / FOLDER)
    run.log_table(table, f"{FOLDER}/parity.json")
    for name, found in measured.items():
        run.log_metrics({f"{FOLDER}/{name}/{key}": value for key, value in _metrics(found).items()})
    run.log_note("\n".join([f"Exported from run {source.classifier.run.info.run_id}.", "", *lines]))
    print("\n".join(lines))
    logger.info("logged to run %s: mlflow artifacts download -r %s -a %s", run.run_id, run.run_id, FOLDER)
    if source.version is not None:
        exported = {name: found for name, found in measured.items() if not name.startswith(OURS)}
        rewrite_version(source.version, {f"{FOLDER}.{name}": _tag(run, found) for name, found in exported.items()})


def _cells(name: str, found: Measured) -> list[str]:
    parity, (low, high) = found.parity, found.parity.interval
    answered = "" if parity.answered_alike is None else f"{parity.answered_alike:.4f}"
    return [
        name,
        f"{parity.agreement:.4f}",
        f"{parity.max_difference:.1e}",
        f"{parity.accuracy:.4f}",
        f"{parity.difference:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        answered,
        f"{found.latency_ms:.2f}",
        f"{found.batch_ms:.2f}",
        f"{found.n_bytes / 1e6:.1f}",
    ]


def _metrics(found: Measured) -> dict[str, float]:
    parity = found.parity
    shares: dict[str, Any] = {"answered_alike": parity.answered_alike, "sets_alike": parity.sets_alike}
    return {
        "agreement": parity.agreement,
        "max_score_difference": parity.max_difference,
        "accuracy": parity.accuracy,
        "difference": parity.difference,
        "difference_ci_low": parity.interval[0],
        "difference_ci_high": parity.interval[1],
        "latency_ms": found.latency_ms,
        "batch_latency_ms": found.batch_ms,
        "size_mb": found.n_bytes / 1e6,
        **{name: value for name, value in shares.items() if value is not None},
    }


def _tag(run: StageRun, found: Measured) -> str:
    parity, (low, high) = found.parity, found.parity.interval
    return (
        f"run {run.run_id}: {parity.n_alike} of {parity.n_images} predictions alike, scores within "
        f"{parity.max_difference:.1e}, accuracy {parity.difference:+.4f} ({low:+.4f} to {high:+.4f}), "
        f"{found.latency_ms:.1f} ms, {found.n_bytes / 1e6:.1f} MB"
    )
