"""What a careful reviewer would criticise: warnings, one row each, with a code and advice."""

from resnet_mlflow.review.facts import RunFacts, Searched
from resnet_mlflow.review.rule import TAG, Finding, Rule, find
from resnet_mlflow.review.run_rules import RUN_RULES

__all__ = ["RUN_RULES", "TAG", "Finding", "Rule", "RunFacts", "Searched", "find"]
