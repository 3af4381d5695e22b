"""Sections on unusual images: other datasets, corrupted images, and images that change over time."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resnet_mlflow.cards.content import Block, Facts, Figure, Missing, Table, Text, with_interval
from resnet_mlflow.cards.score_sections import png_of
from resnet_mlflow.evaluation.figures import TEXT_POINTS, new_figure

_OOD = re.compile(r"ood/(?P<source>.+)/(?P<score>[^/]+)/auroc")
_PART = re.compile(r"robustness/(?P<part>[^/]+)/accuracy")
N_WORST, N_CURVES = 5, 8


def write_ood(facts: Facts) -> Iterator[Block]:
    """Yield how well scores detect images that the classifier is not intended for."""
    found = {name: match for name in facts.promotion if (match := _OOD.fullmatch(name))}
    rows = []
    for name, match in sorted(found.items()):
        stem = name.removesuffix("auroc")
        n = facts.promotion.get(f"{stem}n_images", float("nan"))
        cells = (with_interval(facts.promotion, f"{stem}{measure}", 3) for measure in ("auroc", "fpr95"))
        rows.append([match["source"], match["score"], f"{n:,.0f}", *cells])
    if rows:
        yield Table(("other images", "score", "images", "AUROC", "FPR at 95 % TPR"), rows)
        yield Text(
            "AUROC: probability that one of the other images scores higher than a test image; 0.5 means no separation."
        )


def write_corruptions(facts: Facts) -> Iterator[Block]:
    """Yield scores on corrupted test images, from the newest run that tested them."""
    for run_id, metrics in list(facts.robustness.items())[:1]:
        parts = [match["part"] for name in metrics if (match := _PART.fullmatch(name))]
        means = [part for part in parts if f"robustness/{part}/consistency" in metrics]
        rows = [
            [part, *(with_interval(metrics, f"robustness/{part}/{name}") for name in ("accuracy", "consistency"))]
            for part in sorted(means, key=lambda part: -metrics[f"robustness/{part}/accuracy"])
        ]
        yield Table(("images", "accuracy", "unchanged predictions"), rows)
        single = sorted(
            (part for part in parts if part not in means), key=lambda part: metrics[f"robustness/{part}/accuracy"]
        )
        if single:
            message = ", ".join(f"{part} {metrics[f'robustness/{part}/accuracy']:.3f}" for part in single[:N_WORST])
            yield Text(f"Worst at the highest severity tested: {message}.")
        yield Text(f"From robustness run {run_id}.")


def write_power(facts: Facts) -> Sequence[Block]:
    """Return the number of images needed to detect a corruption."""
    if facts.power is None:
        return []
    try:
        return list(_power(facts.power))
    except (KeyError, TypeError, ValueError) as error:
        return [
            Missing(f"power_curve.json was not written by promote ({type(error).__name__} {error}); promote again.")
        ]


def _power(power: Mapping[str, Any]) -> Iterator[Block]:
    curves = [(f"{one['corruption']} {int(one['severity'])}", one) for one in power["curves"]]
    target, alarms = float(power["target_power"]), power["false_alarms"]
    sentence = str(power["sentence"])
    yield Text(f"{sentence[:1].upper()}{sentence[1:].removesuffix('.')}.")
    if curves:
        # If there are more curves than fit in a figure, those detected last: others are detected at once.
        drawn = sorted(curves, key=lambda pair: -(pair[1]["noticed_from"] or math.inf))[:N_CURVES]
        alt = f"Chance to notice a corruption of the test images by their number; {target:.0%} is asked for"
        alt += f"; {len(drawn)} of {len(curves)} corruptions" if len(drawn) < len(curves) else ""
        yield Figure(png_of(_power_figure(drawn, target)), alt)
        rows = [[name, _from(one["noticed_from"]), f"{max(map(float, one['power'])):.2f}"] for name, one in curves]
        yield Table(("corruption", "noticed from", "highest power measured"), rows)
    yield Text(f"False alarms without a change: {int(alarms['alarms'])} of {int(alarms['batches'])} batches.")


def _from(n_images: Any) -> str:
    return "not within the sizes tested" if n_images is None else f"{int(n_images):,} images or more"


def _power_figure(curves: Sequence[tuple[str, Mapping[str, Any]]], target: float) -> Any:
    figure = new_figure(3.8)
    axes = figure.add_axes((0.08, 0.14, 0.66, 0.82))
    for name, one in curves:
        axes.plot(
            [int(n) for n in one["n_images"]], [float(value) for value in one["power"]], "o-", label=name, markersize=3
        )
    axes.axhline(target, color="#666666", linewidth=1, linestyle=":")
    axes.set(xscale="log", xlabel="images checked", ylabel="probability of noticing", ylim=(0, 1.03))
    ticks = sorted({int(n) for _, one in curves for n in one["n_images"]})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=TEXT_POINTS + 1)
    axes.grid(alpha=0.3)
    legend = axes.legend(fontsize=TEXT_POINTS + 1, loc="center left", bbox_to_anchor=(1.01, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
