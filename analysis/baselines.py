"""Comparisons that lack a baseline that they should include, one row each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.cells import few_shot
from resnet_mlflow.longtail.selection import FORCE

# Equal for runs on the same images with the same weights, as far as tags show.
PLACE = ("dataset_digest", "backbone", "weights", "image_size", "config.folds", "config.repeats")
TAIL = (*PLACE, "head", "strategy", "config.profile", "config.imbalance_factor")
# Long-tail methods that cost nothing, and that any other method must beat.
ADJUSTMENTS = ("logit_adjust_posthoc", "logit_adjust_loss", "balanced_softmax")

Test = Callable[[pd.DataFrame], bool]


@dataclass(frozen=True)
class Baseline:
    """A baseline that a kind of comparison needs.

    Attributes:
        compared: What is compared, in words.
        missing: What such a comparison lacks without the baseline, and how to get it.
        within: Columns whose values are equal within one comparison.
        compares: Whether runs form such a comparison.
        holds: Whether the baseline is among them.
    """

    compared: str
    missing: str
    within: tuple[str, ...]
    compares: Test
    holds: Test


def _trains_backbones(runs: pd.DataFrame) -> bool:
    return not runs["strategy"].isin(["frozen", "fc"]).all()


def _has_heads(runs: pd.DataFrame) -> bool:
    return len(set(runs.loc[runs["strategy"] == "frozen", "head"])) > 1


def _has_linear_head(runs: pd.DataFrame) -> bool:
    frozen = runs[runs["strategy"].isin(["frozen", "fc"])]
    return bool((frozen["head"] == "linear").any())


def _has_remedies(runs: pd.DataFrame) -> bool:
    return not (runs["method"] == "none").all()


def _has_none(runs: pd.DataFrame) -> bool:
    return bool((runs["method"] == "none").any())


def _has_adjustment(runs: pd.DataFrame) -> bool:
    parts = {part for method in runs["method"] for part in str(method).removeprefix(FORCE).split("+")}
    return not parts.isdisjoint(ADJUSTMENTS)


BASELINES = (
    Baseline(
        "fine-tuned networks",
        "a linear head on the frozen features (fit_head head=linear, or finetune train_layers=fc)",
        PLACE,
        _trains_backbones,
        _has_linear_head,
    ),
    Baseline("heads on frozen features", "the linear head (fit_head head=linear)", PLACE, _has_heads, _has_linear_head),
    Baseline("long-tail methods", "method none", TAIL, _has_remedies, _has_none),
    Baseline(
        "long-tail methods",
        f"logit adjustment ({', '.join(ADJUSTMENTS)})",
        TAIL,
        _has_remedies,
        _has_adjustment,
    ),
)


def missing_baselines(done: pd.DataFrame) -> Iterator[str]:
    """Yield a clause for each baseline that is missing from a comparison.

    Args:
        done: Finished cells, as ``warnings`` reviews them.
    """
    whole = done[done["stage"].isin(["fit_head", "finetune"]) & ~few_shot(done)]
    tails = done[(done["stage"] == "longtail") & done["method"].notna()]
    for row in BASELINES:
        runs = tails if row.within is TAIL else whole
        keys = runs.reindex(columns=list(row.within))
        places: dict[str, None] = {}
        for _, own in runs.groupby([keys[name] for name in row.within], sort=False, dropna=False):
            if row.compares(own) and not row.holds(own):
                places[f"{own['backbone'].iloc[0]} and {own['dataset'].iloc[0]}"] = None
        if places:
            yield f"{row.compared} without {row.missing}, on {', '.join(places)}"
