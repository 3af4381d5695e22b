"""The parts of a card: facts for the sections, and the blocks that sections consist of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.evaluation.scores import Evaluation
from resnet_mlflow.evaluation.slices import SliceScores


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts about a version.

    Attributes:
        model: Name of the registered model.
        version: Its number.
        run_name: Name of the run behind it.
        dataset: The dataset that it was fitted and tested on.
        tags: Tags of the version.
        evaluation: Evaluation on test images; over folds, on the images held out in the first repeat.
        class_counts: Images used, by class and split.
        split_digests: Digests of items and labels, by split.
        metrics: Metrics as ``<split>/<name>``, with the limits of their intervals.
        splits: Splits in the names of metrics.
        slices: Scores of slices of the test split; None if there are none.
        group_by: What images of a group have in common, as configured.
        data_license: Licence of the images, as given.
        intended_use: Intended use, as given.
        promotion: Metrics of the runs that promoted it.
        robustness: Id and metrics of each run that tested it under corruption.
        power: Content of ``power_curve.json``; None if there is none.
        runs: Runs behind it: the work of each, its id, its seconds, and joules if measured.
        commands: Commands that reproduce it.
        origins: Versions, commits and digests of its inputs, by kind.
    """

    model: str
    version: str
    run_name: str
    dataset: ImageDataset
    tags: Mapping[str, str]
    evaluation: Evaluation
    class_counts: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, float]
    splits: Sequence[str]
    split_digests: Mapping[str, str] = field(default_factory=dict)
    slices: SliceScores | None = None
    group_by: str = ""
    data_license: str = ""
    intended_use: str = ""
    promotion: Mapping[str, float] = field(default_factory=dict)
    robustness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    power: Mapping[str, Any] | None = None
    runs: Sequence[tuple[str, str, float, float | None]] = ()
    commands: Sequence[str] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Missing:
    """A missing measurement, and how to get it."""

    text: str
    kind: str = "missing"


@dataclass(frozen=True)
class Table:
    """A table of texts; the columns after the first hold numbers if ``numbers`` is set."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True
    kind: str = "table"


@dataclass(frozen=True)
class Code:
    """Lines for a terminal."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Figure:
    """A figure as a PNG file in base64, and a description in words."""

    png: str
    alt: str
    kind: str = "figure"


@dataclass(frozen=True)
class Pictures:
    """Small JPEG files in base64 under a title."""

    title: str
    images: Sequence[str]
    kind: str = "pictures"


Block = Text | Missing | Table | Code | Figure | Pictures


@dataclass(frozen=True)
class Section:
    """One section of the card.

    Attributes:
        name: Name of its anchor.
        title: Heading.
        write: Returns its blocks from the facts; empty if nothing is known.
        otherwise: How to measure it; shown after "not measured: ".
    """

    name: str
    title: str
    write: Callable[[Facts], Iterable[Block]]
    otherwise: str


def with_interval(metrics: Mapping[str, float], name: str, digits: int = 4) -> str:
    """Return a metric with its interval, or ``-`` if it is missing.

    Example:
        >>> with_interval({"a": 0.5, "a_ci_low": 0.4, "a_ci_high": 0.6}, "a", 2), with_interval({}, "a")
        ('0.50 (0.40 to 0.60)', '-')
    """
    if name not in metrics:
        return "-"
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_ci_low", "_ci_high"))
    interval = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{interval}"
