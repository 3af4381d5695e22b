"""Stage `predict`: a registered classifier's predictions for a folder of images, in one file."""

import glob
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from resnet_mlflow.config import PredictConfig
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.folder import find_images
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.paths import user_path, writable_folder
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.process import is_gone, process_mark
from resnet_mlflow.serving.classifier import Classifier, read_classifier
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import StageRun, connect, download_classifier, promoted_version, stage_run
from resnet_mlflow.uncertainty.rules import Judged

logger = logging.getLogger(__name__)

N_LISTED = 20
COPIED_TAGS = ("dataset", "dataset_digest", "backbone", "weights", "head")


@dataclass(frozen=True)
class PredictedFolder:
    """The result for a folder: the output file, its number of images, and the images without an answer."""

    output: Path
    n_images: int
    bad: list[BadImageError]


def run_predict(config: PredictConfig) -> PredictedFolder:
    """Write path, label, probability and class scores of all readable images in a folder; return the result.

    Raises:
        InputError: If the folder has no images, the model does not exist, or the file cannot be written.
    """
    connect()
    folder, output = user_path(config.images, "images"), user_path(config.output, "output")
    _check_output(output)
    paths = find_images(folder)
    version = promoted_version(config.model)
    name = f"predict {version.name} v{version.version}"
    tags = {tag: version.tags[tag] for tag in COPIED_TAGS if tag in version.tags}
    with stage_run("predict", config, name, tags | {"model_version": version.version}) as run:
        with scratch_folder() as downloaded:
            classifier = read_classifier(download_classifier(config.model, downloaded), config.device)
        start = time.perf_counter()
        bad = _predict(classifier, paths, folder, output, config)
        _report(run, PredictedFolder(output, len(paths) - len(bad), bad), time.perf_counter() - start)
    return PredictedFolder(output, len(paths) - len(bad), bad)


def _predict(
    classifier: Classifier, paths: list[Path], folder: Path, output: Path, config: PredictConfig
) -> list[BadImageError]:
    """Write the predictions block by block, so that memory does not grow with the number of images."""
    bad: list[BadImageError] = []
    reserved = [("set", pa.string()), ("answered", pa.bool_()), ("reason", pa.string())]
    schema = pa.schema(
        [("path", pa.string()), ("label", pa.string()), ("probability", pa.float32())]
        + (reserved if classifier.rules else [])
        + [(f"score_{name}", pa.float32()) for name in classifier.class_names]
    )

    def skip(_: int, error: BadImageError) -> None:
        bad.append(error)
        bar.update()

    bar = progress(len(paths), "images", in_files=True)
    with bar, _written_whole(output) as partial, _writer(partial, output.suffix, schema) as writer:
        blocks = classifier.iterate(
            paths,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            on_skip=skip,
            max_pixels=config.max_pixels,
        )
        for rows, judged in blocks:
            relative = [str(paths[row].relative_to(folder)) for row in rows]
            writer.write_table(_table(relative, judged, classifier.class_names, schema))
            bar.update(len(rows))
    return bad


def _table(paths: list[str], judged: Judged, class_names: tuple[str, ...], schema: pa.Schema) -> pa.Table:
    columns = [paths, [class_names[index] for index in judged.labels], judged.label_probabilities]
    if judged.sets is not None:
        # As JSON, because CSV has no lists, and names may contain any separator.
        columns += [[json.dumps(names) for names in judged.named_sets(class_names)], judged.answered, judged.reasons]
    columns += [*judged.probabilities.T]
    return pa.table([pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _check_output(path: Path) -> None:
    """Refuse an unwritable file before the images are read, and remove leftovers of killed processes."""
    if path.is_dir():
        raise InputError(f"output must be a file, got the folder {path}; pass another output")
    if not path.parent.is_dir():
        raise InputError(f"output must be a writable file, got {path} (No such folder); pass another output")
    writable_folder(path.parent, "folder of output")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        if is_gone(left.name.removeprefix(f".{path.name}.").removesuffix(".partial").replace("-", ":")):
            left.unlink(missing_ok=True)


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to the file, renamed to the file on success, else removed."""
    partial = path.with_name(f".{path.name}.{process_mark().replace(':', '-')}.partial")
    try:
        partial.touch()
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"output must be a writable file, got {path} ({error.strerror or error}); pass another output"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _writer(path: Path, ending: str, schema: pa.Schema) -> "parquet.ParquetWriter | csv.CSVWriter":
    return csv.CSVWriter(path, schema) if ending == ".csv" else parquet.ParquetWriter(path, schema)


def _report(run: StageRun, predicted: PredictedFolder, seconds: float) -> None:
    n_images = predicted.n_images
    run.log_metrics({"n_images": n_images, "n_bad_images": len(predicted.bad), "time/predict_s": seconds})
    run.log_metrics({"throughput/predict_images_per_s": n_images / seconds})
    run.log_json({"bad_images": {str(error.path): error.reason for error in predicted.bad}}, "bad_images.json")
    logger.info("%d images predicted at %.0f images/s: %s", n_images, n_images / seconds, predicted.output)
    for error in predicted.bad[:N_LISTED]:
        logger.warning("not predicted: %s (%s)", error.path, error.reason)
    if len(predicted.bad) > N_LISTED:
        logger.warning("%d more in bad_images.json of run %s", len(predicted.bad) - N_LISTED, run.run_id)
