"""Warnings that a careful reviewer would raise about a run, logged with it; see ``review.run_rules``."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from resnet_mlflow.features.identity import CALIBRATION, FeatureSplit
from resnet_mlflow.review import RUN_RULES, RunFacts, find
from resnet_mlflow.tracking import StageRun

if TYPE_CHECKING:
    from resnet_mlflow.heads.base import HeadBase

logger = logging.getLogger(__name__)


def review_run(run: StageRun, facts: RunFacts) -> None:
    """Log the warnings that follow from a run's facts, as tags, in its note and on the terminal."""
    found = {finding.code: finding.clauses for finding in find(RUN_RULES, facts)}
    lines = {code: RUN_RULES[code].message(clauses) for code, clauses in found.items()}
    run.log_warnings({code: "; ".join(clauses) for code, clauses in found.items()}, lines)
    for line in lines.values():
        # A study's terminal shows cells, and its report all warnings.
        logger.log(logging.DEBUG if run.nested else logging.WARNING, "%s", line)


def facts_of_fit(
    head: "HeadBase",
    splits: Mapping[str, FeatureSplit],
    class_names: tuple[str, ...],
    *,
    calibrated: bool,
    scarce: bool,
) -> RunFacts:
    """Return the facts for reviewing a fitted head and its data.

    Args:
        head: Head fitted on ``splits["train"]``.
        splits: Features of train, val and test.
        class_names: Names of the classes.
        calibrated: Whether the head was calibrated on ``splits["val"]``.
        scarce: Whether classes have few training images on purpose.
    """
    # Images set aside evaluate no classifier: promotion itself reports when there are too few.
    judged = {name: split for name, split in splits.items() if name != CALIBRATION}
    counts = {name: np.bincount(split.labels, minlength=len(class_names)) for name, split in judged.items()}
    return RunFacts(counts, class_names, scarce, head.temperature_bound_ if calibrated else "")
