"""Two runs side by side: parameters, metrics, confusions, and images that only one of them classifies correctly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from numpy.typing import NDArray

from analysis.diff_figures import changed_items_figure, confusion_difference_figure
from analysis.diff_images import load_test_images
from analysis.render import csv_of
from analysis.resampling import refuse_divided
from analysis.runs import to_frame
from analysis.separation import paired_difference, stored_predictions
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import count_confusion
from resnet_mlflow.files.paths import user_path, writable_folder
from resnet_mlflow.markdown import markdown_table, plain
from resnet_mlflow.statistics import McNemarTest, SeededDifference, mcnemar
from resnet_mlflow.tracking import Predictions, get_run, reach_store

# With fewer than six discordant items, p of the exact test is always above 0.05.
MCNEMAR_MIN_DISCORDANT = 6
N_THUMBNAILS = 8
N_CONFUSIONS = 10


@dataclass(frozen=True, eq=False)
class RunDiff:
    """Two runs on the same test items; differences are second minus first.

    Attributes:
        runs: Both runs.
        parameters: Name and both values of parameters that differ.
        metrics: Name and both values of metrics that either run has.
        accuracy: Difference in test accuracy, with its interval over items.
        balanced_accuracy: The same for balanced accuracy.
        test: McNemar's test that both are equally accurate; its ``first`` is the first run.
        class_names: Names of classes.
        confusion: Confusions of the second minus those of the first, ``(n_classes, n_classes)``; rows are labels.
        changed: Items that only one of them classified correctly: ``item_id``, ``path``, ``label``, ``first``,
            ``second``, ``gained``.
    """

    runs: tuple[Run, Run]
    parameters: list[tuple[str, str, str]]
    metrics: list[tuple[str, float, float]]
    accuracy: SeededDifference
    balanced_accuracy: SeededDifference
    test: McNemarTest
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    changed: pd.DataFrame


def compare_runs(first: str, second: str) -> RunDiff:
    """Return how two runs differ.

    Raises:
        InputError: If a run is missing, has no predictions, or the two were tested on different data.
    """
    reach_store()
    runs = get_run(first), get_run(second)
    for run in runs:
        refuse_divided(run, "diff", "table cross_validation compares them")
    digests = [run.data.tags.get("dataset_digest") for run in runs]
    if digests[0] != digests[1]:
        raise InputError(
            f"compared runs must share one dataset digest, got {digests[0]} and {digests[1]}; their test images differ"
        )
    # With one run on each side, they form a pair even if their seeds differ.
    sides = {0: second}, {0: first}
    accuracy, balanced = (paired_difference(*sides, balanced=balanced) for balanced in (False, True))
    assert accuracy is not None
    assert balanced is not None
    stored = stored_predictions(first), stored_predictions(second)
    names = tuple(dict.fromkeys([*stored[0].class_names, *stored[1].class_names]))
    confusion = _confusion(stored[1], names) - _confusion(stored[0], names)
    test = mcnemar(stored[0].correct, stored[1].correct)
    parameters, metrics = _differences(runs)
    return RunDiff(runs, parameters, metrics, accuracy, balanced, test, names, confusion, _changed(*stored))


def write_diff(first: str, second: str, folder: Path) -> str:
    """Write a comparison to a folder, and return it as Markdown.

    The folder gets ``diff.md``, ``confusion_difference.csv`` and ``.png``, ``changed_items.csv`` and, if the
    dataset can be loaded and there are changed items, ``changed_items.png`` with their thumbnails.

    Raises:
        InputError: As ``compare_runs``, or if the folder's name is taken by a file.
    """
    folder = user_path(str(folder), "output")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output must be a folder, got the file {str(folder)!r}; name another")
    writable_folder(folder, "output")
    found = compare_runs(first, second)
    names = list(found.class_names)
    confusion = pd.DataFrame(found.confusion, columns=names)
    confusion.insert(0, "", names, allow_duplicates=True)
    (folder / "confusion_difference.csv").write_text(csv_of(confusion), encoding="utf-8")
    confusion_difference_figure(found.confusion, names).savefig(folder / "confusion_difference.png")
    (folder / "changed_items.csv").write_text(csv_of(found.changed), encoding="utf-8")
    images, why = load_test_images(found.runs[0])
    thumbnails = folder / "changed_items.png"
    if images is not None and len(found.changed):
        changed_items_figure(found.changed, images, names, N_THUMBNAILS).savefig(thumbnails)
    else:
        thumbnails.unlink(missing_ok=True)  # Left by an earlier comparison in the same folder.
    text = to_markdown(found, why) + f"\n\nFiles: {folder}"
    (folder / "diff.md").write_text(text + "\n", encoding="utf-8")
    return text


def to_markdown(found: RunDiff, why_no_images: str = "") -> str:
    """Return a comparison as Markdown.

    Args:
        found: The comparison.
        why_no_images: Why there are no thumbnails; empty if there are.
    """
    a, b = (f"{run.info.run_name} ({run.info.run_id[:8]})" for run in found.runs)
    gained = int(found.changed["gained"].sum())
    lost = len(found.changed) - gained
    parts = [
        [f"# {plain(b)} against {plain(a)}", "", "Differences are second run minus first run."],
        ["## Parameters", "", *_table(["parameter", "first", "second"], found.parameters, "No parameters differ.")],
        ["## Test scores", "", *_scores(found)],
        ["## Metrics", "", *_metric_rows(found.metrics)],
        ["## Confusions", "", *_confusion_rows(found)],
        [
            "## Images that only one run gets right",
            "",
            f"{gained} images are correct in the second run only, {lost} in the first only (changed_items.csv).",
        ],
    ]
    if why_no_images:
        parts.append([f"No thumbnails: {why_no_images}."])
    return "\n\n".join("\n".join(part) for part in parts)


def _scores(found: RunDiff) -> list[str]:
    test = found.test
    rows = []
    for name, difference in (("accuracy", found.accuracy), ("balanced accuracy", found.balanced_accuracy)):
        low, high = difference.interval
        rows.append([name, f"{difference.difference:+.4f}", f"{low:+.4f} to {high:+.4f}"])
    discordant = test.n_only_first + test.n_only_second
    verdict = (
        f"n too small: only one run is correct on {discordant} images, and the exact test cannot reach 0.05 with "
        f"fewer than {MCNEMAR_MIN_DISCORDANT}"
        if discordant < MCNEMAR_MIN_DISCORDANT
        else f"p {test.p_value:.3g} ({test.method}) on the {discordant} images that only one run gets right"
    )
    table = markdown_table(["score", "difference", "95 % interval over images (Tango)"], rows)
    return [
        *table,
        "",
        f"McNemar: {verdict}. {found.accuracy.n_items} test images; other seeds may give another result.",
    ]


def _metric_rows(metrics: Sequence[tuple[str, float, float]]) -> list[str]:
    rows = [[name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}"] for name, a, b in metrics]
    return markdown_table(["metric", "first", "second", "difference"], rows)


def _confusion_rows(found: RunDiff) -> list[str]:
    changes = found.confusion.copy()
    np.fill_diagonal(changes, 0)
    order = np.argsort(-np.abs(changes), axis=None, kind="stable")[:N_CONFUSIONS]
    rows = []
    for flat in order:
        label, prediction = divmod(int(flat), len(changes))
        if changes[label, prediction]:
            rows.append([found.class_names[label], found.class_names[prediction], f"{changes[label, prediction]:+d}"])
    return _table(["true class", "predicted as", "images"], rows, "No confusions differ.")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], otherwise: str) -> list[str]:
    return markdown_table(titles, rows) if rows else [otherwise]


def _differences(runs: tuple[Run, Run]) -> tuple[list[tuple[str, str, str]], list[tuple[str, float, float]]]:
    """Return parameters whose values differ, and the scores that either run has."""
    frame = to_frame(runs).astype(object)
    columns = [name for name in frame if str(name).startswith("config.") or name in ("weights", "version")]
    pairs = [
        (str(name).removeprefix("config."), _text(frame[name].iloc[0]), _text(frame[name].iloc[1])) for name in columns
    ]
    own = [name for name in frame if str(name).startswith(("val/", "test/", "time/")) and "_ci_" not in str(name)]
    metrics = [(str(name), float(frame[name].iloc[0]), float(frame[name].iloc[1])) for name in own]
    return [pair for pair in dict.fromkeys(pairs) if pair[1] != pair[2]], metrics


def _text(value: Any) -> str:
    return "-" if pd.isna(value) else str(value)


def _confusion(stored: Predictions, names: Sequence[str]) -> NDArray[np.int64]:
    index = {name: position for position, name in enumerate(names)}
    labels, predictions = (
        np.array([index[name] for name in column.tolist()], dtype=np.int64)
        for column in (stored.labels, stored.predictions)
    )
    return count_confusion(labels, predictions, len(names))


def _changed(first: Predictions, second: Predictions) -> pd.DataFrame:
    rows = np.flatnonzero(first.correct != second.correct)
    return pd.DataFrame(
        {
            "item_id": first.item_ids[rows],
            "path": first.paths[rows],
            "label": first.labels[rows],
            "first": first.predictions[rows],
            "second": second.predictions[rows],
            "gained": second.correct[rows],
        }
    )
