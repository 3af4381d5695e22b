"""Metrics against scikit-learn and numbers worked out by hand."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import (
    Evaluation,
    confused_pairs,
    count_confusion,
    evaluate,
    expected_calibration_error,
    negative_log_likelihood,
    top_k_accuracy,
)
from resnet_mlflow.statistics import balanced_accuracy_interval, macro_f1_interval, wilson_interval


def make_evaluation(n_items: int, n_classes: int, seed: int = 0, absent: tuple[int, ...] = ()) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.setdiff1d(np.arange(n_classes), absent), size=n_items)
    logits = rng.normal(size=(n_items, n_classes)) + 2 * (labels[:, None] == np.arange(n_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"c{index}" for index in range(n_classes)]
    return evaluate(labels, probabilities, np.arange(n_items).astype(str), names)


def test_evaluate_by_hand() -> None:
    # Class 0: 3 items, 2 right. Class 1: 1 item, right. Balanced (2/3 + 1) / 2; F1 of class 0 is 4/5, of class 1 2/3.
    probabilities = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]]
    e = evaluate([0, 0, 0, 1], probabilities, list("abcd"), ["cat", "dog"])
    assert e.confusion.tolist() == [[2, 1], [0, 1]]
    assert e.predictions.tolist() == [0, 0, 1, 1]
    assert e.metrics["accuracy"] == 0.75
    assert e.metrics["balanced_accuracy"] == pytest.approx(5 / 6)
    assert e.metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert e.metrics["nll"] == pytest.approx(-np.log([0.8, 0.6, 0.1, 0.7]).mean())
    # Bins of 1/15: four items in four bins, each gap counts a quarter.
    assert e.metrics["ece"] == pytest.approx((0.2 + 0.4 + 0.9 + 0.3) / 4)
    assert set(e.metrics) == {"accuracy", "balanced_accuracy", "macro_f1", "nll", "ece"}


def test_evaluate_equals_scikit_learn() -> None:
    e = make_evaluation(500, 12)
    y, p = e.labels, e.predictions
    assert e.metrics["accuracy"] == pytest.approx(sk.accuracy_score(y, p))
    assert e.metrics["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p))
    assert e.metrics["macro_f1"] == pytest.approx(sk.f1_score(y, p, average="macro"))
    assert e.metrics["nll"] == pytest.approx(sk.log_loss(y, e.probabilities))
    assert e.metrics["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(y, e.probabilities, k=5))
    assert (e.confusion == sk.confusion_matrix(y, p)).all()


def test_evaluate_averages_over_classes_that_have_items() -> None:
    e = make_evaluation(300, 6, absent=(1, 4))
    present = [0, 2, 3, 5]
    assert (np.isin(e.predictions, [1, 4])).any()  # also predicted, or the case would prove little
    recalls = sk.recall_score(e.labels, e.predictions, labels=present, average=None)
    assert e.metrics["balanced_accuracy"] == pytest.approx(recalls.mean())
    expected = sk.f1_score(e.labels, e.predictions, labels=present, average="macro")
    assert e.metrics["macro_f1"] == pytest.approx(expected)


@pytest.mark.parametrize(("n_classes", "has_top5"), [(9, False), (10, True)])
def test_evaluate_gives_top5_from_ten_classes_on(n_classes: int, has_top5: bool) -> None:
    assert ("top5_accuracy" in make_evaluation(50, n_classes).metrics) is has_top5


def test_evaluate_intervals_hold_the_metrics() -> None:
    e = make_evaluation(400, 5)
    assert e.intervals["accuracy"] == pytest.approx(wilson_interval(int(np.trace(e.confusion)), 400))
    for name, (low, high) in e.intervals.items():
        assert low < e.metrics[name] < high
        assert high - low < 0.15


def test_evaluate_intervals_are_those_of_the_confusion_matrix() -> None:
    e = make_evaluation(400, 5)
    assert e.intervals["balanced_accuracy"] == balanced_accuracy_interval(e.confusion)
    assert e.intervals["macro_f1"] == macro_f1_interval(e.confusion)


def test_evaluate_of_a_perfect_classifier() -> None:
    e = evaluate([0, 1, 2], np.eye(3), ["a", "b", "c"], ["x", "y", "z"])
    assert e.metrics == {"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "nll": 0, "ece": 0}
    for low, high in e.intervals.values():
        assert low == pytest.approx(0.4385, abs=1e-4)  # 3 / (3 + 1.96^2)
        assert high == 1


GOOD: dict[str, Any] = {
    "labels": [0, 1],
    "probabilities": [[0.9, 0.1], [0.5, 0.5]],
    "item_ids": ["a", "b"],
    "class_names": ["x", "y"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "at least one item"),
        ({"labels": [[0, 1]]}, r"labels must be \(n_items,\)"),
        ({"labels": [0.0, 1.0]}, "class indices, got dtype float64"),
        ({"labels": [0, 2]}, r"in \[0, 1\] \(2 class names\), got 0 to 2"),
        ({"labels": [-1, 1]}, "got -1 to 1"),
        ({"item_ids": ["a"]}, "one id per label"),
        ({"class_names": ["x"]}, "at least 2 distinct"),
        ({"class_names": ["x", "x"]}, "at least 2 distinct"),
        ({"class_names": ["x", "y", "z"]}, r"\(2, 3\), got \(2, 2\)"),
        ({"probabilities": [[0.9, 0.1], [np.nan, 0.5]]}, "NaN or infinity in row 1"),
        ({"probabilities": [[0.9, 0.1], [np.inf, 0.5]]}, "NaN or infinity in row 1"),
        ({"probabilities": [[2.0, -1.0], [0.5, 0.5]]}, "non-negative and sum to one, got a sum of 1 in row 0"),
        ({"probabilities": [[0.9, 0.1], [3.0, 2.5]]}, "a sum of 5.5 in row 1; apply softmax"),
    ],
)
def test_evaluate_refuses_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_evaluate_takes_float32_softmax_of_many_classes() -> None:
    logits = np.random.default_rng(0).normal(scale=4, size=(20, 1000)).astype(np.float32)
    scores = np.exp(logits)
    scores /= scores.sum(axis=1, keepdims=True)
    e = evaluate(np.arange(20), scores, np.arange(20).astype(str), [str(i) for i in range(1000)])
    assert e.probabilities.dtype == np.float32


def test_expected_calibration_error_by_hand() -> None:
    # One bin, (0.6, 0.8] of five: confidences .7 and .8, one right of two: |0.75 - 0.5|. Another, (0.8, 1]: .9, right.
    probabilities = [[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]]
    assert expected_calibration_error(probabilities, [0, 0, 0], n_bins=5) == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 0.1)


def test_expected_calibration_error_bins_are_closed_above() -> None:
    # 0.5 belongs to (0, 0.5], so the two items do not share a bin and do not cancel out.
    assert expected_calibration_error([[0.5, 0.5], [0.4, 0.6]], [0, 0], n_bins=2) == pytest.approx((0.5 + 0.6) / 2)


def test_expected_calibration_error_of_calibrated_scores_is_small() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=50_000)
    labels = (rng.random(50_000) > confidence).astype(int)
    assert expected_calibration_error(np.stack([confidence, 1 - confidence], axis=1), labels) < 0.01


def test_negative_log_likelihood_clips_a_certain_mistake() -> None:
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(36.04, abs=0.01)


def test_top_k_accuracy_by_hand() -> None:
    probabilities = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.5, 0.3, 0.2]]
    assert top_k_accuracy(probabilities, [1, 0, 2], 2) == pytest.approx(1 / 3)
    assert top_k_accuracy(probabilities, [1, 0, 2], 3) == 1


def test_top_k_accuracy_of_uniform_scores_counts_the_first_classes_only() -> None:
    assert top_k_accuracy(np.full((10, 10), 0.1), np.arange(10), 5) == 0.5


def test_count_confusion_has_labels_as_rows() -> None:
    assert count_confusion(np.array([0, 0, 2]), np.array([1, 1, 2]), 3).tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_confused_pairs_are_sorted_and_leave_out_what_is_right() -> None:
    confusion = np.array([[9, 1, 0], [4, 9, 0], [2, 0, 9]])
    assert confused_pairs(confusion, 5) == [(1, 0, 4), (2, 0, 2), (0, 1, 1)]
    assert confused_pairs(confusion, 1) == [(1, 0, 4)]
    assert confused_pairs(np.eye(3, dtype=np.int64), 5) == []


def test_report_equals_scikit_learn() -> None:
    e = make_evaluation(300, 5)
    expected = sk.classification_report(e.labels, e.predictions, target_names=e.class_names, output_dict=True)
    report = e.report()
    assert report["accuracy"] == pytest.approx(expected["accuracy"])
    ours = {**report["classes"], "macro avg": report["macro_avg"], "weighted avg": report["weighted_avg"]}
    for name, row in ours.items():
        theirs = expected[name]
        assert row == pytest.approx(
            {"precision": theirs["precision"], "recall": theirs["recall"], "f1": theirs["f1-score"],
             "support": theirs["support"]}
        )  # fmt: skip


def test_report_has_none_for_what_is_undefined_and_is_json() -> None:
    # "b" has no items and is predicted once; "c" has an item and is never predicted.
    e = evaluate([0, 0, 2], [[1, 0, 0], [0, 1, 0], [1, 0, 0]], ["1", "2", "3"], ["a", "b", "c"])
    report = json.loads(json.dumps(e.report(), allow_nan=False))
    assert report["classes"]["b"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert report["classes"]["c"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}
    assert report["macro_avg"]["recall"] == pytest.approx(e.metrics["balanced_accuracy"])
    assert report["macro_avg"]["f1"] == pytest.approx(e.metrics["macro_f1"])


def test_predictions_frame_has_one_row_per_item() -> None:
    e = evaluate([0, 1], [[0.9, 0.1], [0.75, 0.25]], ["i7", "i8"], ["cat", "dog"])
    frame = e.predictions_frame()
    assert list(frame.columns) == ["item_id", "label", "prediction", "score_cat", "score_dog"]
    assert frame.iloc[1].tolist() == ["i8", "dog", "cat", 0.75, 0.25]
    assert frame["score_cat"].dtype == np.float32


def test_import_is_free_of_torch_and_other_slow_libraries() -> None:
    code = (
        "import sys, resnet_mlflow.evaluation.scores, resnet_mlflow.evaluation.figures, resnet_mlflow.statistics;"
        "slow = {'torch', 'torchvision', 'captum', 'matplotlib', 'pandas', 'sklearn', 'mlflow'};"
        "print(*sorted(slow & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
