"""The comparison of candidate and champion, and how it is described: in the log, on the version, in the history."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from resnet_mlflow.config import PromoteConfig
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.serving.looks import level_of_look, looks_in_words
from resnet_mlflow.serving.promotion import Decision, describe_version
from resnet_mlflow.stages.answer_rules import remarks_of
from resnet_mlflow.stages.candidates import Candidate
from resnet_mlflow.stages.promotion_evidence import Evidence, is_divided
from resnet_mlflow.tracking import CHALLENGER, CHAMPION, RUN_TAG

logger = logging.getLogger(__name__)

# Which decision on its test split a version's last one was.
LOOK_TAG = "test_look"


@dataclass(frozen=True)
class Case:
    """A candidate beside the present champion.

    Attributes:
        config: Of the promotion.
        dataset: What both are judged on.
        name: Of the registered model.
        candidate: The run that is asked about.
        evidence: What it says.
        champion: The present one, if any.
        decision: What follows.
    """

    config: PromoteConfig
    dataset: ImageDataset
    name: str
    candidate: Candidate
    evidence: Evidence
    champion: ModelVersion | None
    decision: Decision

    @property
    def run_id(self) -> str:
        """Return the id of the candidate's run."""
        return str(self.candidate.run.info.run_id)


def description_of(case: Case, tags: Mapping[str, str]) -> str:
    """Return what a version's page says of it; its promises are read from its tags."""
    evidence, decision = case.evidence, case.decision
    title = f"{evidence.run.info.run_name}, run {evidence.run.info.run_id}"
    if is_divided(evidence.run):
        title += "; fitted on all images, with the scores of the cross-validation"
    remarks = [looks_in_words(decision.look if decision.difference else 0), *remarks_of(tags)]
    return describe_version(title, evidence.metrics, evidence.answers, decision.reason, evidence.splits, remarks)


def explain(case: Case) -> None:
    """Log who is compared with whom, and what follows."""
    config, metrics, champion, decision = case.config, case.evidence.metrics, case.champion, case.decision
    scores = ", ".join(
        f"{split} {config.metric} {metrics[f'{split}/{config.metric}']:.4f}" for split in case.evidence.splits
    )
    if tie := case.candidate.remarks.get("tie"):
        logger.info("tie:       %s", tie)
    logger.info("candidate: %s, run %s (%s)", case.candidate.run.info.run_name, case.run_id, scores)
    if champion is not None:
        logger.info("champion:  version %s, run %s", champion.version, champion.tags.get(RUN_TAG))
    logger.info("decision:  %s (%s)", CHAMPION if decision.promote else CHALLENGER, decision.reason)
    if config.dry_run:
        logger.info("nothing was changed, because dry_run is true")


def decision_tags(case: Case) -> dict[str, str]:
    """Return what a version's tags say of the decision about it."""
    config, metrics, champion, decision = case.config, case.evidence.metrics, case.champion, case.decision
    tags = {RUN_TAG: case.run_id, "metric": config.metric, "margin": f"{config.margin:g}", **case.candidate.remarks}
    for split in case.evidence.splits:
        low, high = (metrics[f"{split}/{config.metric}_ci_{end}"] for end in ("low", "high"))
        tags[f"{split}_{config.metric}"] = f"{metrics[f'{split}/{config.metric}']:.4f}"
        tags[f"{split}_{config.metric}_interval"] = f"{low:.4f} to {high:.4f}"
    tags["reason"] = decision.reason
    if champion is not None and decision.difference is not None:
        low, high = decision.difference.interval
        tags |= {
            "compared_with_version": str(champion.version),
            "compared_with_run": champion.tags[RUN_TAG],
            "test_difference": f"{decision.difference.difference:+.4f}",
            "test_difference_interval": f"{low:+.4f} to {high:+.4f}",
            "test_difference_level": f"{level_of_look(decision.look):.4g}",
            LOOK_TAG: str(decision.look),
        }
    return tags


def facts_of(case: Case) -> dict[str, str]:
    """Return what the history keeps of a decision; that the champion stays itself is none."""
    if case.champion is not None and case.champion.tags.get(RUN_TAG) == case.run_id:
        return {}
    return {"dataset_digest": case.dataset.digest, **decision_tags(case)}


def why_of(case: Case) -> str:
    """Return the reason of a decision, with what the user said of it."""
    return f"{case.decision.reason}; {case.config.reason}" if case.config.reason else case.decision.reason
