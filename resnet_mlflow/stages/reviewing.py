"""What a careful reviewer would say about a run, logged with it: see ``review.run_rules`` for the warnings."""

import logging
from collections.abc import Mapping

import numpy as np

from resnet_mlflow.features.identity import CALIBRATION, FeatureSplit
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.review import RUN_RULES, RunFacts, find
from resnet_mlflow.tracking import StageRun

logger = logging.getLogger(__name__)


def review_run(run: StageRun, facts: RunFacts) -> None:
    """Log the warnings that a run's facts call for, as tags, in its note and on the terminal."""
    found = {finding.code: finding.clauses for finding in find(RUN_RULES, facts)}
    lines = {code: RUN_RULES[code].message(clauses) for code, clauses in found.items()}
    run.log_warnings({code: "; ".join(clauses) for code, clauses in found.items()}, lines)
    for line in lines.values():
        # A study's terminal shows cells, and its report all warnings.
        logger.log(logging.DEBUG if run.nested else logging.WARNING, "%s", line)


def facts_of_fit(
    head: HeadBase, splits: Mapping[str, FeatureSplit], class_names: tuple[str, ...], *, calibrated: bool, scarce: bool
) -> RunFacts:
    """Return what a fitted head and its data are reviewed by.

    Args:
        head: Fitted on ``splits["train"]``.
        splits: Features named train, val and test.
        class_names: Of the labels.
        calibrated: Whether the head was calibrated on ``splits["val"]``.
        scarce: Whether classes were made to have few training images.
    """
    # What is kept aside judges no classifier: promotion says itself when it is too few.
    judged = {name: split for name, split in splits.items() if name != CALIBRATION}
    counts = {name: np.bincount(split.labels, minlength=len(class_names)) for name, split in judged.items()}
    return RunFacts(counts, class_names, scarce, head.temperature_bound_ if calibrated else "")
