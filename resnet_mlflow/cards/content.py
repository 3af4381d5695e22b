"""The parts of a card: facts that sections are written from, and the blocks that they consist of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.evaluation.scores import Evaluation
from resnet_mlflow.evaluation.slices import SliceScores


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a version.

    Attributes:
        model: Name of the registered model.
        version: Its number.
        run_name: Name of the run that is behind it.
        dataset: What it was fitted and tested on.
        tags: Of the version.
        evaluation: What it said of test images; over folds, of the images that the first repeat held out.
        class_counts: Images by class and split, as they were used.
        split_digests: Of items and labels, by split.
        metrics: As ``<split>/<name>``, with the ends of their intervals.
        splits: What these are named after.
        slices: Scores of the parts of the test split; None where there are none.
        group_by: What images of a group have in common, as it was configured.
        data_license: As it was given.
        intended_use: As it was given.
        promotion: Metrics of the runs that promoted it.
        robustness: Of each run that tested it under corruption its id and metrics.
        power: Content of ``power_curve.json``; None where there is none.
        runs: Runs behind it: what each did, its id, its seconds, and joules where they were measured.
        commands: That make it again.
        origins: Versions, commits and digests that it rests on, by what they are.
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
    """What was not measured, and how to get it."""

    text: str
    kind: str = "missing"


@dataclass(frozen=True)
class Table:
    """A table of texts; columns behind the first are numbers where ``numbers`` says so."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True
    kind: str = "table"


@dataclass(frozen=True)
class Code:
    """Lines of a terminal."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Figure:
    """A figure as a PNG file in base64, and what it shows in words."""

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
        name: Of its anchor.
        title: What stands above it.
        write: Gives its blocks from the facts; none where nothing is known.
        otherwise: What to do to know it; stands behind "not measured: ".
    """

    name: str
    title: str
    write: Callable[[Facts], Iterable[Block]]
    otherwise: str


def with_interval(metrics: Mapping[str, float], name: str, digits: int = 4) -> str:
    """Return a metric with its interval, or ``-`` where it is not there.

    Example:
        >>> with_interval({"a": 0.5, "a_ci_low": 0.4, "a_ci_high": 0.6}, "a", 2), with_interval({}, "a")
        ('0.50 (0.40 to 0.60)', '-')
    """
    if name not in metrics:
        return "-"
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_ci_low", "_ci_high"))
    interval = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{interval}"
