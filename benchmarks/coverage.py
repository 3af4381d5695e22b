"""Whether intervals and decisions keep their level: simulations over sizes, classes, accuracies and seeds."""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.coverage_report import write_report
from benchmarks.coverage_simulation import (
    Result,
    Setting,
    Simulate,
    balanced_accuracy_coverage,
    difference_coverage,
    false_gains,
    false_slices,
    false_winners,
    macro_f1_coverage,
    promotions,
    seeded_difference_coverage,
    seeded_score_coverage,
)
from benchmarks.harness import Row

N_SIMULATIONS = 2000
CSV = Path(__file__).parent / "coverage.csv"
# The level of 5 % or 2.5 % plus two standard errors of such a share in 2000 simulations.
MOST_FALSE = {0.05: 0.05 + 2 * (0.05 * 0.95 / N_SIMULATIONS) ** 0.5, 0.025: 0.025 + 2 * (0.025 * 0.975 / 2000) ** 0.5}
SIZES = ((30, 2), (30, 10), (100, 2), (100, 10), (100, 100), (360, 10), (1000, 2), (1000, 10), (1000, 100))
LARGE = ((1000, 1000), (10_000, 2), (10_000, 10), (10_000, 100), (10_000, 1000))
ACCURACIES = (0.5, 0.7, 0.9, 0.95, 0.99, 0.999)


def coverage(folder: Path, quick: bool) -> list[Row]:
    """Return smallest and largest coverage, false positives and power; write the table and figure of the docs.

    A quick run has 200 simulations of every eighth setting, and writes nothing.
    """
    n_simulations, rng, results = (200 if quick else N_SIMULATIONS), np.random.default_rng(0), []
    for i, (part, simulate, setting) in enumerate(_plan()):
        if not quick or i % 8 == 0:
            results.append(Result(part, setting, simulate(setting, n_simulations, rng)))
    if not quick:
        _write_csv(results)
        write_report(results)
    return _rows(results)


def _plan() -> Iterator[tuple[str, Simulate, Setting]]:
    for setting in _single_scores():
        yield ("accuracy" if setting.n_classes == 1 else "balanced accuracy"), balanced_accuracy_coverage, setting
    for (n, n_classes), tail, accuracy in product(SIZES, (False, True), ACCURACIES):
        if n_classes <= 10 or accuracy in (0.7, 0.95):  # 2000 matrices of 100 classes take 2 s.
            yield "macro-F1", macro_f1_coverage, Setting(n, n_classes, accuracy, tail)
    for (n, n_classes), accuracy in product(((100, 2), (360, 10), (1000, 10)), (0.9, 0.95)):
        yield "macro-F1", macro_f1_coverage, Setting(n, n_classes, accuracy, tail=True, hard_tail=True)
    for setting in _seeds():
        yield "accuracy over seeds", seeded_score_coverage, setting
        yield "difference over seeds", seeded_difference_coverage, setting
    for setting in _pairs((0.0, 0.02)):
        yield "difference", difference_coverage, setting
    for setting in _pairs((0.0,)):
        yield "false gain, one seed", false_gains, setting
    for setting in _seeds():
        yield "false bold of 3, over seeds", false_winners, setting
    yield from _gates()
    for (n, n_slices), tail, accuracy in product(((30, 2), (100, 5), (360, 10)), (False, True), (0.7, 0.95)):
        yield "false difference of slices", false_slices, Setting(n, n_slices, accuracy, tail)


def _single_scores() -> Iterator[Setting]:
    for n, accuracy in product((30, 50, 100, 150, 360, 1000, 10_000), ACCURACIES):
        yield Setting(n, 1, accuracy)
    for (n, n_classes), tail, falling, accuracy in product((*SIZES, *LARGE), (False, True), (False, True), ACCURACIES):
        yield Setting(n, n_classes, accuracy, tail, falling)
    for (n, n_classes), accuracy in product((*SIZES, *LARGE), (0.9, 0.95, 0.99)):
        yield Setting(n, n_classes, accuracy, tail=True, hard_tail=True)


def _seeds() -> Iterator[Setting]:
    for n_seeds, n, deviation, accuracy in product((2, 3, 5, 10), (100, 360), (0.0, 0.01, 0.03), (0.8, 0.95)):
        yield Setting(n, 1, accuracy, n_seeds=n_seeds, seed_deviation=deviation if accuracy < 0.9 else deviation / 2)
    for n_seeds, deviation in product((2, 3, 5), (0.0, 0.01)):
        yield Setting(360, 10, 0.9, tail=True, n_seeds=n_seeds, seed_deviation=deviation)
        yield Setting(360, 1, 0.9, n_seeds=n_seeds, seed_deviation=deviation, held_out=0.25)
    for n_seeds, (n, accuracy), own in product((3, 5, 10), ((30, 0.95), (100, 0.95), (100, 0.99)), (0.1, 0.35)):
        yield Setting(n, 1, accuracy, n_seeds=n_seeds, own_share=own)
    for n_seeds, deviation in ((2, 0.0), (2, 0.01), (3, 0.005), (3, 0.01)):
        yield Setting(10_000, 1, 0.9, n_seeds=n_seeds, seed_deviation=deviation)


def _pairs(gains: tuple[float, ...]) -> Iterator[Setting]:
    sizes = (
        (30, 1),
        (100, 1),
        (360, 1),
        (1000, 1),
        (10_000, 1),
        (30, 10),
        (100, 100),
        (300, 100),
        (360, 10),
        (1000, 1000),
    )
    for (n, n_classes), tail, accuracy, gain, disagreement in product(
        sizes, (False, True), (0.7, 0.9, 0.97, 0.99), gains, (0.2, 0.8)
    ):
        if accuracy + gain < 1 and not (tail and n_classes == 1):
            yield Setting(n, n_classes, accuracy, tail, gain=gain, disagreement=disagreement)
    hard = product(((100, 10), (360, 10), (1000, 2), (1000, 100)), (0.9, 0.97), gains, (0.2, 0.8))
    for (n, n_classes), accuracy, gain, disagreement in hard:
        yield Setting(n, n_classes, accuracy, tail=True, hard_tail=True, gain=2 * gain, disagreement=disagreement)


def _gates() -> Iterator[tuple[str, Simulate, Setting]]:
    for n, n_classes, accuracy in ((30, 1, 0.9), (360, 1, 0.9), (360, 10, 0.99), (1000, 1, 0.95)):
        yield "false promotion", promotions, Setting(n, n_classes, accuracy, disagreement=0.8)
    for per_class in (1, 2, 3):
        yield "false promotion", promotions, Setting(100 * per_class, 100, 0.9, disagreement=0.8)
    for accuracy, disagreement in ((0.8, 0.2), (0.85, 0.3)):
        yield "power of the gate", promotions, Setting(360, 1, accuracy + 0.05, gain=0.05, disagreement=disagreement)


def _rows(results: list[Result]) -> list[Row]:
    rows = []
    for part in dict.fromkeys(result.part for result in results):
        shares = [result.share for result in results if result.part == part]
        what = f"{part}: {{}} of {len(shares)} settings"
        if part.startswith("false"):
            level = 0.025 if "promotion" in part else 0.05
            rows.append(Row(what.format("most"), max(shares), round(MOST_FALSE[level], 4), unit="", at_least=False))
        elif part.startswith("power"):
            rows.append(Row(what.format("least"), min(shares), 0.82, unit=""))
        else:
            rows.append(Row(f"coverage, {what.format('least')}", min(shares), 0.93, unit=""))
            rows.append(Row(f"coverage, {what.format('most')}", max(shares), 0.98, unit="", at_least=False))
    return rows


def _write_csv(results: list[Result]) -> None:
    with CSV.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["part", *asdict(results[0].setting), "share"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"part": one.part, **asdict(one.setting), "share": round(one.share, 4)} for one in results)
