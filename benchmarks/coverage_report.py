"""Table and figure of the simulated coverage in the docs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.coverage_simulation import Result, Setting
from resnet_mlflow.evaluation.figures import BLUE, ORANGE, TEXT_POINTS, new_figure
from resnet_mlflow.markdown import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
START, END = "<!-- made by python -m benchmarks --only coverage -->", "<!-- end -->"
LOW, HIGH = 0.93, 0.98
FEW_ERRORS = 8
PARTS = (
    "accuracy",
    "balanced accuracy",
    "macro-F1",
    "difference",
    "accuracy over seeds",
    "difference over seeds",
)


def write_report(results: Sequence[Result]) -> None:
    """Write the tables into ``docs/statistics.md``, between their markers, and the figure."""
    page = DOCS / "statistics.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    lines = [*_coverage_table(results), "", *_decision_table(results), "", *_exceptions(results)]
    page.write_text("\n".join([before + START, "", *lines, "", END + after]), encoding="utf-8")
    coverage_figure(results).savefig(DOCS / "images" / "coverage.png")


def _coverage_table(results: Sequence[Result]) -> list[str]:
    rows = []
    for part in PARTS:
        shares = np.array([one.share for one in results if one.part == part])
        inside = np.mean((shares >= LOW) & (shares <= HIGH))
        median, below, above = np.median(shares), int((shares < LOW).sum()), int((shares > HIGH).sum())
        ends = [f"{100 * value:.1f} %" for value in (shares.min(), median, shares.max())]
        rows.append([part, str(len(shares)), *ends, f"{100 * inside:.0f} %", str(below), str(above)])
    return markdown_table(
        ["95 % interval of", "settings", "least", "median", "most", "93 to 98 %", "below", "above"], rows
    )


def _decision_table(results: Sequence[Result]) -> list[str]:
    rows = []
    for part in dict.fromkeys(one.part for one in results if one.part not in PARTS):
        shares = [one.share for one in results if one.part == part]
        rows.append([part, str(len(shares)), *(f"{100 * value:.2f} %" for value in (min(shares), max(shares)))])
    return markdown_table(["decision", "settings", "least often", "most often"], rows)


def _exceptions(results: Sequence[Result]) -> list[str]:
    """Return how often each reason explains a coverage outside of 93 to 98 %, and the range of these values."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in results:
        if one.part in PARTS and not LOW <= one.share <= HIGH:
            side = "below 93 %" if one.share < LOW else "above 98 %"
            found.setdefault((side, reason_of(one.part, one.setting, below=one.share < LOW)), []).append(one.share)
    rows = [
        [side, reason, str(len(shares)), f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %"]
        for (side, reason), shares in sorted(found.items())
    ]
    return markdown_table(["coverage", "why", "settings", "from, to"], rows)


def reason_of(part: str, setting: Setting, *, below: bool) -> str:
    """Return the reason why a coverage is not between 93 and 98 %."""
    per_class = setting.support().min()
    if part == "macro-F1" and below:
        return "fewer than 10 images in a class: F1 itself is biased"
    expected = setting.n_items * (1 - setting.accuracy)
    if setting.n_seeds > 1 and below:
        return "few seeds"
    if setting.n_seeds > 1 and expected >= FEW_ERRORS:
        return f"{setting.n_seeds} seeds: t is wide, and covers what differs by item too"
    if setting.n_classes > 1 and setting.tail and per_class < 10:
        return "classes of a few images beside large ones: one image decides"
    if part == "difference":
        expected *= 2 * setting.disagreement
    if expected < FEW_ERRORS:
        return f"fewer than {FEW_ERRORS} errors (or images that differ) expected: their number is discrete"
    if setting.n_classes > 1 and (setting.falling or setting.tail):
        return "recalls or sizes of classes far apart: the variance is taken at its upper bound"
    return "the number of errors is discrete"


def coverage_figure(results: Sequence[Result]) -> "Figure":
    """Return a figure of coverage against the expected number of errors of a setting, one panel per part."""
    figure = new_figure(6.2)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, 3, sharey=True, sharex=True).ravel()
    for axes, part in zip(panels, PARTS, strict=True):
        chosen = [one for one in results if one.part == part]
        for tail, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "^")):
            own = [one for one in chosen if one.setting.tail is tail]
            errors = [one.setting.n_items * (1 - one.setting.accuracy) for one in own]
            axes.plot(errors, [100 * one.share for one in own], marker, color=colour, markersize=3.5, alpha=0.6)
        axes.axhspan(100 * LOW, 100 * HIGH, color="0.92", zorder=0)
        axes.axhline(95, color="0.4", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.set_title(f"{part} ({len(chosen)} settings)", fontsize=TEXT_POINTS + 1)
        axes.tick_params(labelsize=TEXT_POINTS)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(min(89.5, 100 * min(one.share for one in results if one.part in PARTS) - 0.5), 100.5)
    figure.supxlabel("errors expected in the test split", fontsize=TEXT_POINTS + 1)
    figure.supylabel("coverage of 95 % intervals (%)", fontsize=TEXT_POINTS + 1)
    for colour, marker, name in ((BLUE, "o", "classes of one size"), (ORANGE, "^", "long-tailed test split")):
        panels[0].plot([], [], marker, color=colour, label=name)
    figure.legend(loc="outside upper center", ncols=2, fontsize=TEXT_POINTS + 1, frameon=False)
    return figure
