"""Intervals of balanced accuracy and macro-F1: what they must be where it is known, and their coverage elsewhere."""

import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import (
    accuracy_interval,
    balanced_accuracy_interval,
    effective_items,
    macro_f1_interval,
    strata_of,
    wilson_interval,
)


def diagonal(hits: list[int], n_items: int) -> np.ndarray:
    """Make a confusion matrix of classes with ``n_items`` each, whose errors all go to the next class."""
    wrong = [n_items - n for n in hits]
    return np.diag(hits) + np.roll(np.diag(wrong), 1, axis=1)


@pytest.mark.parametrize(("n_classes", "n_items"), [(2, 15), (10, 3), (30, 1)])
def test_intervals_without_an_error_are_those_of_accuracy(n_classes: int, n_items: int) -> None:
    confusion = diagonal([n_items] * n_classes, n_items)
    expected = wilson_interval(30, 30)
    assert balanced_accuracy_interval(confusion) == pytest.approx(expected)
    assert macro_f1_interval(confusion) == pytest.approx(expected)
    assert balanced_accuracy_interval(confusion)[1] == 1.0


def test_balanced_accuracy_interval_of_equal_recalls_is_that_of_accuracy() -> None:
    assert balanced_accuracy_interval(diagonal([8, 8, 8, 8], 10)) == pytest.approx(accuracy_interval(32, 40))


def test_balanced_accuracy_interval_of_a_thousand_classes_with_one_item_each_has_a_width() -> None:
    low, high = balanced_accuracy_interval(diagonal([1] * 700 + [0] * 300, 1))
    assert (low, high) == pytest.approx(wilson_interval(700, 1000), abs=1e-6)


def test_balanced_accuracy_interval_counts_the_smaller_class_more() -> None:
    # 1000 items of one class add little: the interval is about half as wide as that of the 10 of the other.
    low, high = balanced_accuracy_interval([[900, 100], [2, 8]])
    of_ten = np.diff(wilson_interval(8, 10))[0]
    assert 0.45 * of_ten < high - low < 0.65 * of_ten


def test_effective_items_is_their_number_for_classes_of_one_size_and_less_for_a_tail() -> None:
    assert effective_items([9, 9, 9], [10, 10, 10]) == pytest.approx(30)
    # 2^2 / (1/10 + 1/1000), if no class is worse than the other.
    assert effective_items([10, 1000], [10, 1000]) == pytest.approx(4 / (1 / 10 + 1 / 1000))


def test_intervals_of_classes_of_unlike_size_add_the_reaches_of_their_strata_as_squares() -> None:
    # 300 common items without an error say nothing of the rare class: half its own Wilson interval reaches down.
    low, high = balanced_accuracy_interval([[300, 0], [0, 8]])
    reaches = [1 - wilson_interval(300, 300)[0], 1 - wilson_interval(8, 8)[0]]
    assert low == pytest.approx(1 - np.hypot(*reaches) / 2)
    assert high == 1.0
    assert macro_f1_interval([[300, 0], [0, 8]]) == pytest.approx((low, high))


def test_strata_hold_classes_of_like_size_and_join_single_items_to_the_next() -> None:
    assert [one.tolist() for one in strata_of([5, 100, 6, 40])] == [[0, 2], [1, 3]]
    assert [one.tolist() for one in strata_of([2, 100, 20])] == [[0, 2], [1]]
    assert [one.tolist() for one in strata_of([7, 7, 7])] == [[0, 1, 2]]
    assert [one.tolist() for one in strata_of([1])] == [[0]]


def test_intervals_leave_classes_without_items_out() -> None:
    with_empty = np.zeros((3, 3), dtype=int)
    with_empty[:2, :2] = diagonal([8, 9], 10)
    assert balanced_accuracy_interval(with_empty) == pytest.approx(balanced_accuracy_interval(diagonal([8, 9], 10)))
    assert macro_f1_interval(with_empty) == pytest.approx(macro_f1_interval(diagonal([8, 9], 10)), abs=0.01)


def test_intervals_of_a_single_class_are_those_of_its_recall() -> None:
    for interval in (balanced_accuracy_interval, macro_f1_interval):
        assert interval([[5]]) == pytest.approx(wilson_interval(5, 5))
    assert balanced_accuracy_interval([[30, 10], [0, 0]]) == pytest.approx(wilson_interval(30, 40))


def test_macro_f1_interval_holds_macro_f1_and_is_near_the_delta_methods() -> None:
    confusion = np.array([[400, 60, 40], [30, 440, 30], [50, 20, 430]])
    support, predicted, hits = confusion.sum(1), confusion.sum(0), np.diagonal(confusion)
    f1 = 2 * hits / (support + predicted)
    # The standard error by drawing the confusion matrix anew, here where every cell is large.
    rng = np.random.default_rng(0)
    drawn = np.stack(
        [rng.multinomial(n, row / n, size=4000) for n, row in zip(support, confusion, strict=True)], axis=1
    )
    own = 2 * np.diagonal(drawn, axis1=1, axis2=2) / (support + drawn.sum(axis=1))
    error = own.mean(axis=1).std()
    low, high = macro_f1_interval(confusion)
    assert (low, high) == pytest.approx((f1.mean() - 1.96 * error, f1.mean() + 1.96 * error), abs=0.004)


@pytest.mark.parametrize("confusion", [[[1, 2]], [1, 2], [[1, -1], [0, 0]]])
def test_intervals_refuse_what_is_no_confusion_matrix(confusion: list[object]) -> None:
    for interval in (balanced_accuracy_interval, macro_f1_interval):
        with pytest.raises(InputError, match="square matrix of counts"):
            interval(np.array(confusion))


def test_macro_f1_interval_of_one_item_per_class_reaches_beyond_the_bias_of_f1() -> None:
    # 100 classes, one item each, right with 0.7 and else any other class: F1 of the expected confusions is 0.7.
    rng = np.random.default_rng(0)
    shares = np.full((100, 100), 0.3 / 99)
    np.fill_diagonal(shares, 0.7)
    drawn = [rng.multinomial(np.ones(100, dtype=int), shares) for _ in range(200)]
    scores = [(2 * np.diagonal(one) / (1 + one.sum(0))).mean() for one in drawn]
    assert np.mean(scores) < 0.65, "F1 of single items is too low on average"
    ends = np.array([macro_f1_interval(one) for one in drawn])
    assert np.mean((ends[:, 0] <= 0.7) & (ends[:, 1] >= 0.7)) >= 0.93
