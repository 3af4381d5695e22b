"""The comparison of candidate and champion, and its description in the log, on the version and in the history."""

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

# Tag with the number of a version's last decision on its test split.
LOOK_TAG = "test_look"


@dataclass(frozen=True)
class Case:
    """A candidate and the current champion.

    Attributes:
        config: Configuration of the promotion.
        dataset: The dataset that both are evaluated on.
        name: Name of the registered model.
        candidate: Run of the candidate.
        evidence: Evidence on the candidate.
        champion: The current champion, if any.
        decision: The resulting decision.
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
    """Return the description on a version's page; its guarantees are read from its tags."""
    evidence, decision = case.evidence, case.decision
    title = f"{evidence.run.info.run_name}, run {evidence.run.info.run_id}"
    if is_divided(evidence.run):
        title += "; fitted on all images, with the scores of the cross-validation"
    remarks = [looks_in_words(decision.look if decision.difference else 0), *remarks_of(tags)]
    return describe_version(title, evidence.metrics, evidence.answers, decision.reason, evidence.splits, remarks)


def explain(case: Case) -> None:
    """Log which runs are compared, and the decision."""
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
    """Return a version's tags about the decision on it."""
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
    """Return the facts of a decision for the history; an unchanged champion is not a decision."""
    if case.champion is not None and case.champion.tags.get(RUN_TAG) == case.run_id:
        return {}
    return {"dataset_digest": case.dataset.digest, **decision_tags(case)}


def why_of(case: Case) -> str:
    """Return the reason for a decision, with the user's remark."""
    return f"{case.decision.reason}; {case.config.reason}" if case.config.reason else case.decision.reason
