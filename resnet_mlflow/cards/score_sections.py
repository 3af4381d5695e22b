"""Sections on a classifier's quality: by class and slice, by confidence, when it answers, and what it confuses."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resnet_mlflow.cards.content import Block, Facts, Figure, Pictures, Table, Text, with_interval
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.evaluation.mistakes import thumbnail
from resnet_mlflow.evaluation.reliability import reliability, reliability_figure
from resnet_mlflow.evaluation.scores import confused_pairs
from resnet_mlflow.statistics import accuracy_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

N_CLASSES = 100
N_PAIRS, N_PICTURES = 6, 6
SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
# Results of guarantees on test images: metric and displayed name.
KEPT = {
    "coverage": "sets that contain the true class",
    "answer_rate": "images answered",
    "answer_error": "wrong answers",
}


def write_scores(facts: Facts) -> Iterator[Block]:
    """Yield scores with 95 % intervals, for each split, class and slice."""
    names = {"cv": "folds"}
    rows = [
        [names.get(split, split), *(with_interval(facts.metrics, f"{split}/{name}") for name in SCORES)]
        for split in facts.splits
    ]
    yield Table(("split", *SCORES.values()), rows)
    yield Text(
        "Brackets contain 95 % intervals over images. Parameters, epochs and the candidate were chosen on "
        "validation data."
    )
    shown = _shown_classes(facts)
    yield Table(("class", "images", "recall", "precision"), [_class_row(facts, index) for index in shown])
    if len(shown) < (n := len(facts.evaluation.class_names)):
        yield Text(
            f"The {len(shown)} of {n:,} classes with the lowest recall; the run's classification report lists all "
            f"classes."
        )
    if facts.slices is None:
        yield Text(
            "Slices: none, because no column of the dataset's table divides the test images into 2 to 20 slices."
        )
        return
    rows = [
        [one.name, f"{one.n:,}", f"{one.accuracy:.4f} ({one.low:.4f} to {one.high:.4f})"] for one in facts.slices.scores
    ]
    yield Table(("slice", "images", "accuracy"), rows)
    message = ", ".join(f"{column} {p:.3g}" for column, p in facts.slices.p_values.items())
    yield Text(f"p values for no difference between slices, after Holm's correction: {message}.")


def _shown_classes(facts: Facts) -> list[int]:
    """Return all classes in order; if there are more than ``N_CLASSES``, those with the lowest recall."""
    confusion = facts.evaluation.confusion
    if len(confusion) <= N_CLASSES:
        return list(range(len(confusion)))
    recall = np.diagonal(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return [int(index) for index in np.argsort(recall, kind="stable")[:N_CLASSES]]


def _class_row(facts: Facts, index: int) -> list[str]:
    confusion = facts.evaluation.confusion
    hits, support, predicted = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
    name = facts.evaluation.class_names[index]
    return [name, f"{support:,}", _share(int(hits), int(support)), _share(int(hits), int(predicted))]


def _share(n_right: int, n: int) -> str:
    if n == 0:
        return "-"
    low, high = accuracy_interval(n_right, n)
    return f"{n_right / n:.3f} ({low:.3f} to {high:.3f})"


def write_calibration(facts: Facts) -> Iterator[Block]:
    """Yield how well probabilities are calibrated."""
    evaluation = facts.evaluation
    bins = reliability(evaluation.probabilities, evaluation.labels)
    judged = "test images" if "test" in facts.splits else "held-out images"
    drawing = reliability_figure(bins, judged)
    yield Figure(png_of(drawing), f"Accuracy of {judged} by the confidence of their answers")
    rows = [
        [
            f"{one.low:.1f} to {one.high:.1f}",
            f"{one.n:,}",
            f"{one.confidence:.3f}",
            f"{one.accuracy:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f})",
        ]
        for one in bins
    ]
    yield Table(("confidence", "images", "mean confidence", "accuracy"), rows)
    ece, nll = (evaluation.metrics[name] for name in ("ece", "nll"))
    yield Text(f"Expected calibration error {ece:.4f} (15 bins), negative log-likelihood {nll:.4f}.")


def png_of(drawing: "Drawing") -> str:
    """Return a figure as a PNG file in base64."""
    written = io.BytesIO()
    drawing.savefig(written, format="png")
    return base64.b64encode(written.getvalue()).decode()


def write_answering(facts: Facts) -> Sequence[Block]:
    """Return when the classifier declines to answer, and how well its guarantees hold on test images."""
    tags = facts.tags
    if tags.get("promises", "none") == "none":
        return []
    words = [f"{tags[name][0].upper()}{tags[name][1:]}." for name in ("promises", "answers") if tags.get(name)]
    source = tags.get("calibrated_on", "source not recorded").replace("_", " ")
    blocks: list[Block] = [Text(" ".join(words)), Text(f"Calibrated on images that no choice was based on ({source}).")]
    found = {name: f"answering/test_{name}" for name in KEPT if f"answering/test_{name}" in facts.promotion}
    rows = [[KEPT[name], with_interval(facts.promotion, metric)] for name, metric in found.items()]
    return [*blocks, *([Table(("of test images", "share"), rows)] if rows else [])]


def write_confusions(facts: Facts) -> Iterator[Block]:
    """Yield the most frequent confusions, with images."""
    evaluation, names = facts.evaluation, facts.evaluation.class_names
    pairs = confused_pairs(evaluation.confusion, N_PAIRS)
    if not pairs:
        yield Text(f"None of {len(evaluation.labels):,} test images was confused.")
        return
    support = evaluation.confusion.sum(axis=1)
    rows = [[names[i], names[j], f"{count:,} of {support[i]:,}"] for i, j, count in pairs]
    yield Table(("class", "predicted as", "images"), rows, numbers=False)
    chosen = {(label, prediction): _surest(facts, label, prediction) for label, prediction, _ in pairs}
    place_of = _places(facts, {item_id for ids in chosen.values() for item_id in ids})
    for (label, prediction), ids in chosen.items():
        images = [text for item_id in ids if item_id in place_of for text in _thumbnail(*place_of[item_id])]
        if images:
            yield Pictures(f"{names[label]} predicted as {names[prediction]}", images)


def _surest(facts: Facts, label: int, prediction: int) -> list[str]:
    """Return ids of items of one class that were predicted as another, the most confident mistakes first."""
    evaluation = facts.evaluation
    own = np.flatnonzero((evaluation.labels == label) & (evaluation.predictions == prediction))
    order = np.argsort(-evaluation.probabilities[own, prediction], kind="stable")
    return [str(item_id) for item_id in evaluation.item_ids[own[order][:N_PICTURES]]]


def _places(facts: Facts, wanted: set[str]) -> dict[str, tuple[ImageSplit, int]]:
    return {
        item_id: (split, row)
        for split in facts.dataset.splits.values()
        for row, item_id in enumerate(split.item_ids.tolist())
        if item_id in wanted
    }


def _thumbnail(split: ImageSplit, row: int) -> Iterator[str]:
    try:
        yield thumbnail(split.read_image(row))
    except BadImageError:
        return
