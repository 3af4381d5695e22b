"""Growth of cost with the amount of work: measured at 1, 2, 4 and 8 times the base, with the fitted exponent."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.extraction import turns_of
from benchmarks.harness import Row, Work, seconds
from benchmarks.images import make_many
from benchmarks.processes import extract_in_process
from benchmarks.synthetic import clusters
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import build_head
from resnet_mlflow.longtail.fitting import fit_method

FACTORS = (1, 2, 4, 8)
# According to scikit-learn's documentation, a kernel SVM is between quadratic and cubic in the rows.
HEAD_LIMITS = {"knn": 1.05, "prototype": 1.05, "linear": 1.05, "svm": 2.0}


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the least-squares line through the logarithms: 1 if cost is proportional to size.

    Example:
        >>> round(fit_exponent([1, 2, 4], [3, 12, 48]), 6)
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def growth_row(what: str, limit: float, costs: Mapping[int, Sequence[float]], *, unit: str = "s") -> Row:
    """Return the row of an exponent: the median over turns, each of which covers all sizes.

    Args:
        what: Name of the row.
        limit: Largest acceptable exponent.
        costs: Cost of each turn, by size of the work; all sizes have the same number of turns.
        unit: Unit of the costs.
    """
    sizes = sorted(costs)
    turns = list(zip(*(costs[size] for size in sizes), strict=True))
    exponents = [fit_exponent(sizes, turn) for turn in turns]
    text = ", ".join(f"{size}: {statistics.median(costs[size]):.3g} {unit}" for size in sizes)
    return Row(
        f"growth of {what}, exponent ({len(turns)} turns)"
        if len(turns) > 1
        else f"growth of {what}, exponent (one turn)",
        statistics.median(exponents),
        limit,
        unit="",
        at_least=False,
        spread=(min(exponents), max(exponents)),
        ours=text,
    )


def time_growth(work_of: Callable[[int], Work], base: int, turns: int) -> dict[int, list[float]]:
    """Return seconds by size, for 1, 2, 4 and 8 times ``base``; every turn covers all sizes.

    Args:
        work_of: Returns the work of a size; called once per size. The smallest work runs once as a warm-up.
        base: The smallest size.
        turns: How often each size is timed.
    """
    works = {factor * base: work_of(factor * base) for factor in FACTORS}
    works[base]()
    taken: dict[int, list[float]] = {size: [] for size in works}
    for _ in range(turns):
        for size, work in works.items():
            taken[size].append(seconds(work))
    return taken


def listing(folder: Path, quick: bool) -> list[Row]:
    """Return the exponents of listing a folder, by number of files: the first time, and later without changes."""
    base, turns = (500, 1) if quick else (5000, 3)
    costs: dict[str, dict[int, list[float]]] = {"the first time": {}, "later, unchanged": {}}
    for n_files in (factor * base for factor in FACTORS):
        images = make_many(folder / str(n_files), n_files)
        for turn in range(turns):
            notes = folder / f"notes-{n_files}-{turn}"
            for by_size in costs.values():
                taken = seconds(partial(load_dataset, f"folder:{images}", data_dir=notes))
                by_size.setdefault(n_files, []).append(taken)
    return [growth_row(f"listing a folder {when} with its files", 1.05, by_size) for when, by_size in costs.items()]


def extraction(folder: Path, quick: bool) -> list[Row]:
    """Return the exponent of extraction's time, by number of images."""
    base, turns = (100, 1) if quick else (1000, 5)

    def work_of(n_images: int) -> Work:
        return turns_of(make_many(folder / str(n_images) / "images", n_images), 64)

    costs = time_growth(work_of, base, turns)
    return [growth_row("extraction, resnet18, with the images of 32 px at 64 px", 1.05, costs)]


def heads(folder: Path, quick: bool) -> list[Row]:
    """Return the exponents of fitting heads, by number of rows."""
    base, turns = (250, 1) if quick else (1250, 5)
    X, y, what = clusters(8 * base)

    def work_of(head: str, n_rows: int) -> Work:
        fit = partial(build_head(head, {}, seed=0).fit, X[:n_rows], y[:n_rows])
        if head != "knn":
            return fit
        # Its fit only stores the rows; the search grows.
        return partial(fit().predict, X[:500])

    rows = []
    for head, limit in HEAD_LIMITS.items():
        costs = time_growth(partial(work_of, head), base, turns)
        done = "500 predictions of a knn head" if head == "knn" else f"the fit of a {head} head"
        rows.append(growth_row(f"{done} with its rows ({what})", limit, costs))
    return rows


def longtail(folder: Path, quick: bool) -> list[Row]:
    """Return the exponent of a long-tail method's time, by number of training rows."""
    base, turns = (500, 1) if quick else (5000, 5)
    X, y, what = clusters(8 * base + 1000)
    ids = np.array([f"{i:032x}" for i in range(len(X))])
    held_out = FeatureSplit(X[-1000:], y[-1000:], ids[-1000:])

    def work_of(n_rows: int) -> Work:
        train = FeatureSplit(X[:n_rows], y[:n_rows], ids[:n_rows])
        splits = {"train": train, "val": held_out, "test": held_out}
        return lambda: fit_method("balanced_softmax", "linear", {"epochs": 10}, splits, seed=0)

    costs = time_growth(work_of, base, turns)
    return [growth_row(f"a long-tail method's 10 epochs with its rows ({what})", 1.05, costs)]


def memory(folder: Path, quick: bool) -> list[Row]:
    """Return the exponent of the peak memory of `extract`, by number of images."""
    base, turns = (500, 1) if quick else (2500, 5)
    peaks = {
        factor * base: [extract_in_process(folder, factor * base, turn).peak_rss_mib for turn in range(turns)]
        for factor in FACTORS
    }
    return [growth_row("the peak memory of `extract`, resnet18, with the images of 32 px", 0.1, peaks, unit="MiB")]
