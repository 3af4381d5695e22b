"""Whether cross-validation is worth its cost: its error compared with a single 20 % split, on samples of 300 images.

The true accuracy for a sample is that of the head fitted on the whole sample, on the thousands of images outside it.
Both estimates use only the sample, and draw their validation images from their training images.
"""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.features import features
from benchmarks.harness import Row
from resnet_mlflow.data.folds import draw_folds
from resnet_mlflow.data.splits import split_validation
from resnet_mlflow.heads import build_head
from resnet_mlflow.statistics import accuracy_interval, cross_validated_score

CSV = Path(__file__).parent / "cross_validation.csv"
N_IMAGES, N_SAMPLES, FOLDS, REPEATS, TEST_FRACTION, VAL_FRACTION = 300, 50, 5, 2, 0.2, 0.2
HEADS = ("linear", "svm", "knn")
MOST_ERROR = 0.6

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """One sample: its true accuracy, and both estimates with their 95 % intervals."""

    head: str
    sample: int
    truth: float
    split: float
    split_low: float
    split_high: float
    folds: float
    folds_low: float
    folds_high: float


class Sample:
    """Images drawn from a larger set; the others determine the true accuracy."""

    def __init__(self, X: NDArray[np.float32], y: Rows, head: str, number: int) -> None:
        self.X, self.y, self.head, self.number = X, y, head, number
        drawn = np.random.default_rng([number, 7]).permutation(len(y))
        self.rows, self.others = np.sort(drawn[:N_IMAGES]), drawn[N_IMAGES:]

    def hits(self, train: Rows, test: Rows, seed: int) -> NDArray[np.bool_]:
        """Return which test rows a head classifies correctly; some of the training rows are its validation."""
        fitted, validation = split_validation(self.y[train], VAL_FRACTION, seed)
        a, b = train[fitted], train[validation]
        head = build_head(self.head, {}, seed).fit(self.X[a], self.y[a], self.X[b], self.y[b])
        return np.asarray(head.predict(self.X[test]) == self.y[test])

    def estimate(self) -> Estimate:
        truth = float(self.hits(self.rows, self.others, self.number).mean())
        train, test = split_validation(self.y[self.rows], TEST_FRACTION, self.number)
        split = self.hits(self.rows[train], self.rows[test], self.number)
        correct, held = np.empty((REPEATS, N_IMAGES)), np.empty((REPEATS, N_IMAGES), dtype=np.int64)
        for repeat in range(REPEATS):
            seed = 1000 * self.number + repeat
            held[repeat] = draw_folds(self.y[self.rows], FOLDS, seed)
            for fold in range(FOLDS):
                out = held[repeat] == fold
                correct[repeat, out] = self.hits(self.rows[~out], self.rows[out], seed)
        score = cross_validated_score(correct, held)
        ends = accuracy_interval(int(split.sum()), len(split))
        return Estimate(self.head, self.number, truth, float(split.mean()), *ends, score.mean, *score.interval)


def estimates(folder: Path, quick: bool) -> list[Row]:
    """Return the error of a cross-validated estimate relative to that of a single split, per head, and its coverage."""
    X, y, what = features(folder, 2000 if quick else 6000)
    found = [
        Sample(X, y, head, number).estimate()
        for head in (HEADS[:1] if quick else HEADS)
        for number in range(10 if quick else N_SAMPLES)
    ]
    if not quick:
        with CSV.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(asdict(found[0])))
            table.writeheader()
            table.writerows(
                {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(one).items()} for one in found
            )
    return [row for head in dict.fromkeys(one.head for one in found) for row in _rows(head, found, what)]


def _rows(head: str, found: list[Estimate], what: str) -> list[Row]:
    own = [one for one in found if one.head == head]
    truth, split, folds = (np.array([getattr(one, name) for one in own]) for name in ("truth", "split", "folds"))
    errors = [float(np.sqrt(np.mean((estimate - truth) ** 2))) for estimate in (folds, split)]
    name = f"estimate of `{head}`, {REPEATS} x {FOLDS} folds over one {TEST_FRACTION:.0%} split"
    n = f"{len(own)} samples of {N_IMAGES} images, {what}"
    names = [
        f"error {error:.4f}, bias {np.mean(x - truth):+.4f}" for error, x in zip(errors, (folds, split), strict=True)
    ]
    covered, widths = zip(*(_interval(own, name, truth) for name in ("folds", "split")), strict=True)
    ours, peer = (f"{share:.0%}, width {width:.3f}" for share, width in zip(covered, widths, strict=True))
    return [
        Row(f"{name}: error, {n}", errors[0] / errors[1], MOST_ERROR, at_least=False, ours=names[0], peer=names[1]),
        Row(f"{name}: 95 % intervals that hold the truth, {n}", covered[0], 0.93, unit="", ours=ours, peer=peer),
    ]


def _interval(own: list[Estimate], name: str, truth: NDArray[np.float64]) -> tuple[float, float]:
    """Return how often intervals contain the truth, and their mean width."""
    low, high = (np.array([getattr(one, f"{name}_{end}") for one in own]) for end in ("low", "high"))
    return float(np.mean((low <= truth) & (truth <= high))), float(np.mean(high - low))
