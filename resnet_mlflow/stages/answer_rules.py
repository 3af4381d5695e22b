"""Answering rules at promotion: calibrates them, tests them on test images, and logs them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.config import AnsweringConfig
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.stages.calibration import check_calibration, fit_rules, group_names_of
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.statistics import accuracy_interval
from resnet_mlflow.tracking import StageRun
from resnet_mlflow.uncertainty.rules import Judged, Rules, rules_as_json

FOLDER = "answering"
NOTHING = "none"


@dataclass(frozen=True, eq=False)
class AnswerPolicy:
    """A version's rules for its answers, and their test results.

    Attributes:
        rules: The rules; None without guarantees.
        metrics: Results of the rules on test images.
    """

    rules: Rules | None
    metrics: dict[str, float]

    @property
    def tags(self) -> dict[str, str]:
        """Return the policy as tags of a version."""
        if self.rules is None:
            return {"promises": NOTHING}
        tags = {"promises": self._sets_in_words, "calibrated_on": self.rules.source}
        return tags | ({"answers": self._answers_in_words} if self.rules.answering else {})

    @property
    def _sets_in_words(self) -> str:
        assert self.rules is not None
        sets = self.rules.sets
        per = "" if sets.per == "all" else f" of each {sets.per}"
        words = (
            f"the true class is in the set for {100 * sets.coverage:g} % of images{per} ({sets.n_images} "
            "calibration images)"
        )
        if not self.metrics:
            return words
        return (
            f"{words}; for {self._share('coverage')} of the test images, with {self.metrics['set_size']:.2f} classes "
            f"per set"
        )

    @property
    def _answers_in_words(self) -> str:
        assert self.rules is not None
        if "answer_error" not in self.metrics:
            return str(self.rules.answering)
        answered, wrong = self._share("answer_rate"), self._share("answer_error")
        return f"{self.rules.answering}; {answered} of the test images are answered, {wrong} of these wrongly"

    def _share(self, name: str) -> str:
        value, low, high = (100 * self.metrics[f"{name}{end}"] for end in ("", "_ci_low", "_ci_high"))
        return f"{value:.1f} % ({low:.1f} to {high:.1f} %)"


def remarks_of(tags: Mapping[str, str]) -> list[str]:
    """Return the guarantees in a version's tags as sentences."""
    found = [tags.get(name, NOTHING) for name in ("promises", "answers")]
    return [f"{words[0].upper()}{words[1:]}." for words in found if words != NOTHING]


def make_answer_policy(run: StageRun, config: AnsweringConfig, classifier: RunClassifier) -> AnswerPolicy:
    """Return the answer policy of a classifier, and log it to the run of the promotion.

    Raises:
        InputError: If a requested guarantee is not possible.
    """
    source = check_calibration(config, classifier)
    if source is None:
        return AnswerPolicy(None, {})
    rules, splits = fit_rules(config, classifier, source)
    metrics = _on_test(rules, classifier, splits["test"]) if "test" in splits else {}
    run.log_metrics({f"{FOLDER}/test_{name}": value for name, value in metrics.items()})
    run.log_json(rules_as_json(rules), f"{FOLDER}/rules.json")
    return AnswerPolicy(rules, metrics)


def _on_test(rules: Rules, classifier: RunClassifier, test: FeatureSplit) -> dict[str, float]:
    judged = judge_features(rules, classifier, test)
    wrong = (judged.labels != test.labels)[judged.answered]
    assert judged.sets is not None
    covered = judged.sets[np.arange(len(test)), test.labels]
    metrics = {"set_size": float(judged.sets.sum(axis=1).mean())}
    shares = {"coverage": covered, "answer_rate": judged.answered, "answer_error": wrong}
    for name, hits in shares.items():
        metrics |= _with_interval(name, hits) if len(hits) else {}
    return metrics


def judge_features(rules: Rules, classifier: RunClassifier, items: FeatureSplit) -> Judged:
    """Return the result of applying rules to images by their features; their brightness is unknown."""
    unknown = np.full((len(items), 4), np.nan, dtype=np.float32)
    groups = group_names_of(classifier.inputs.dataset, items)
    return rules.judge(classifier.head, items.features, unknown, classifier.class_names, groups)


def _with_interval(name: str, hits: NDArray[np.bool_]) -> dict[str, float]:
    low, high = accuracy_interval(int(hits.sum()), len(hits))
    return {name: float(hits.mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}
