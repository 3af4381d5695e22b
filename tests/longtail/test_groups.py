"""Scores of many, medium and few."""

import math

import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation, evaluate
from resnet_mlflow.longtail.groups import class_recalls, group_classes, group_scores, group_tertiles, long_tail_metrics


def evaluation(recalls: list[float], n_items: int = 4) -> Evaluation:
    """Return an evaluation with those recalls, of ``n_items`` a class; wrong items go to the next class."""
    n_classes = len(recalls)
    labels = np.repeat(np.arange(n_classes), n_items)
    right = np.concatenate([np.arange(n_items) < recall * n_items for recall in recalls])
    predictions = np.where(right, labels, (labels + 1) % n_classes)
    names = [f"c{label}" for label in range(n_classes)]
    return evaluate(labels, np.eye(n_classes)[predictions], labels.astype(str), names)


def test_group_classes_counts_the_thresholds_as_medium() -> None:
    groups = group_classes([101, 100, 20, 19, 0])
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "many": [0],
        "medium": [1, 2],
        "few": [3, 4],
    }


def test_group_classes_takes_equal_thresholds() -> None:
    assert group_classes([30, 20, 10], many=20, few=20)["medium"].tolist() == [1]


@pytest.mark.parametrize(("many", "few"), [(20, 100), (10, -1), (math.nan, 20)])
def test_group_classes_refuses_thresholds_that_do_not_ascend(many: float, few: float) -> None:
    with pytest.raises(
        InputError, match=rf"must ascend from few to many, got few below {few:g} and many above {many:g}"
    ):
        group_classes([1, 2], many, few)


def test_group_tertiles_makes_three_groups() -> None:
    many, few = group_tertiles([5, 90, 60, 10, 40, 30, 20, 80, 70])
    assert [len(classes) for classes in group_classes([5, 90, 60, 10, 40, 30, 20, 80, 70], many, few).values()] == [
        3
    ] * 3


def test_group_scores_leaves_empty_groups_and_untested_classes_out() -> None:
    scores = group_scores([0.5, math.nan, 1.0], group_classes([500, 500, 50]))
    assert scores["many"] == (0.5, 2)
    assert scores["medium"] == (1.0, 1)
    assert math.isnan(scores["few"][0])
    assert scores["few"][1] == 0


def test_long_tail_metrics_by_hand() -> None:
    metrics = long_tail_metrics(evaluation([1.0, 0.5, 0.25]), [200, 50, 5])
    assert metrics == pytest.approx(
        {
            "accuracy_many": 1.0,
            "n_classes_many": 1,
            "accuracy_medium": 0.5,
            "n_classes_medium": 1,
            "accuracy_few": 0.25,
            "n_classes_few": 1,
            "worst_class_recall": 0.25,
            "geometric_mean_recall": 0.5,
            "harmonic_mean_recall": 3 / 7,
        }
    )


def test_long_tail_metrics_are_zero_where_a_class_is_never_found() -> None:
    metrics = long_tail_metrics(evaluation([1.0, 0.0, 0.5]), [9, 9, 9])
    assert metrics["worst_class_recall"] == metrics["geometric_mean_recall"] == metrics["harmonic_mean_recall"] == 0


def test_class_recalls_of_a_class_without_items_is_nan() -> None:
    seen = evaluate([0, 0], [[1, 0, 0], [0, 1, 0]], ["x", "y"], ["a", "b", "c"])
    assert class_recalls(seen)[0] == 0.5
    assert np.isnan(class_recalls(seen)[1:]).all()
    assert long_tail_metrics(seen, [9, 9, 9])["accuracy_few"] == 0.5
