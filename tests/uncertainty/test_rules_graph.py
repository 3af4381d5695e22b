"""Rules of answering as a graph: what it says of images is what the rules say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.linear import LinearHead
from resnet_mlflow.registry.ood_scores import OOD_SCORES, OodScore
from resnet_mlflow.uncertainty.answering import ALWAYS, AnswerRule
from resnet_mlflow.uncertainty.conformal import SetRule
from resnet_mlflow.uncertainty.graphs import RulesGraph, score_graph
from resnet_mlflow.uncertainty.rules import Rules
from resnet_mlflow.uncertainty.unlike import UnlikeRule, fit_score, score_images

NAMES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def data():
    """A head, features that it was fitted on with their labels, and others, some far away."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = (3 + np.eye(3, 8)[labels] + rng.normal(0, 0.5, (90, 8))).astype(np.float32)
    others = np.concatenate([features + 0.3, features[:10] * 4]).astype(np.float32)
    return LinearHead().fit(features, labels), features, labels, others


def both(rules, head, features):
    """What the graph says, and what the rules say."""
    logits, leads = head.logits_and_leads(features)
    given = [
        torch.tensor(part, dtype=torch.float32) for part in (features, logits, leads, head.predict_proba(features))
    ]
    found = [part.numpy() for part in RulesGraph(rules, NAMES)(*given)]
    unknown = np.full((len(features), 4), np.nan, dtype=np.float32)
    return found, rules.judge(head, features, unknown, NAMES)


@pytest.mark.parametrize("score", OOD_SCORES)
def test_rules_graph_says_what_the_rules_say(data, score):
    head, features, labels, others = data
    arrays = fit_score(score, features, labels)
    threshold = float(np.quantile(score_images(score, arrays, others, head.logits(others)), 0.8)) + 1e-4
    rules = Rules(
        "cross_fit",
        SetRule(0.9, "class", 0.2, {"bee": 0.05}),
        AnswerRule(0.1, 0.99, 0.6, 90, 80, 1),
        UnlikeRule(score, 0.8, threshold),
        costs=((0, 1, 1), (1, 0, 1), (9, 1, 0)),
        arrays=arrays,
    )
    (label, inside, answered, unlike), judged = both(rules, head, others)
    assert label.tolist() == judged.labels.tolist()
    assert inside.tolist() == judged.sets.tolist()
    assert answered.tolist() == judged.answered.tolist()
    assert unlike.tolist() == rules.unlike_training(others, head.logits(others)).tolist()
    assert 0 < unlike.sum() < answered.sum() < len(others)
    assert (label != head.logits(others).argmax(axis=1)).any(), "costs count"


def test_rules_graph_without_thresholds_answers_always(data):
    head, features, _, _ = data
    rules = Rules("kept_aside", SetRule(0.9, "all", 1.0), AnswerRule(0.5, 0.99, ALWAYS, 90, 90, 1))
    for one in (rules, replace(rules, answering=None)):
        (label, inside, answered, unlike), judged = both(one, head, features)
        assert inside.tolist() == judged.sets.tolist()
        assert inside.sum() == len(features), "the most probable class is always in"
        assert answered.all()
        assert not unlike.any()
        assert label.tolist() == head.predict(features).tolist()


def test_a_score_without_a_graph_is_refused_in_one_line():
    OOD_SCORES.add(OodScore("made_up", "x:y", "nobody"))
    try:
        with pytest.raises(InputError, match=r"must be one of knn, .*, max_softmax, got made_up; promote with one"):
            score_graph("made_up", {})
    finally:
        del OOD_SCORES._rows["made_up"]
