"""Thresholds of answering: exact bounds, their order, and errors on digits over random splits."""

import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.uncertainty.answering import (
    ALWAYS,
    Confidences,
    check_enough_to_answer,
    fit_answering,
    n_answers_needed,
)

ASKED = (0.02, 0.05)


def confidences(head, items):
    return Confidences.of(head.logits_and_leads(items.features)[1], head.predict(items.features), items.labels)


@pytest.mark.parametrize("head", ["linear", "svm"])
def test_answers_are_wrong_as_seldom_as_asked_for_over_random_splits(digits_features, head):
    held, shares = dict.fromkeys(ASKED, 0), {answer_error: [] for answer_error in ASKED}
    for seed in range(50):
        order = np.random.default_rng(seed).permutation(len(digits_features))
        train, val, own, test = (digits_features.select(rows) for rows in np.split(order, [600, 800, 1300]))
        fitted = build_head(head, {}, 0).fit(train.features, train.labels).calibrate(val.features, val.labels)
        others, calibration, tested = (confidences(fitted, items) for items in (val, own, test))
        for answer_error in ASKED:
            try:
                threshold = fit_answering(calibration, others, answer_error).threshold
            except InputError:  # 500 images do not always show it
                threshold = np.inf
            n_answered, n_wrong = tested.from_on(threshold)
            held[answer_error] += n_wrong <= answer_error * n_answered
            shares[answer_error].append(n_answered / len(test))
    assert min(held.values()) >= 0.95 * 50
    assert np.mean(shares[0.02]) > 0.5
    assert np.mean(shares[0.05]) > 0.9


def test_fit_answering_is_wrong_in_one_case_of_a_hundred_at_most():
    # Confidences tell nothing: every threshold has an error of 2.2 %, so that none may be promised.
    rng, n_promised = np.random.default_rng(0), 0
    for _ in range(400):
        values = rng.random((2, 600))
        wrong = rng.random((2, 600)) < 0.022
        try:
            fit_answering(Confidences(values[0], wrong[0]), Confidences(values[1], wrong[1]), 0.02)
        except InputError:
            continue
        n_promised += 1
    assert n_promised <= 10  # 11 of 400 have a chance of 1 in 300 at 1 %


def test_fit_answering_answers_all_where_nothing_is_wrong():
    sure = Confidences(np.linspace(0.5, 1, 300), np.zeros(300, dtype=bool))
    rule = fit_answering(sure, sure, 0.02)
    assert (rule.n_answered, rule.n_wrong, rule.threshold) == (300, 0, ALWAYS)
    assert rule.answer_rate == 1
    assert rule.error_bound == pytest.approx(1 - 0.01 ** (1 / 300))
    assert str(rule).startswith("answers 100.0 % of images (98.7 to 100.0 %), with at most 2 % of them wrong (0 of 300")


def test_fit_answering_leaves_out_what_is_wrong():
    values = np.linspace(0, 1, 1000)
    one = Confidences(values, values < 0.2)
    rule = fit_answering(one, one, 0.02)
    assert 0.15 < rule.threshold < 0.21
    assert rule.error_bound <= 0.02


@pytest.mark.parametrize(("answer_error", "needed"), [(0.02, 228), (0.05, 90), (0.001, 4603)])
def test_too_few_images_are_told_how_many_are_needed(answer_error, needed):
    assert n_answers_needed(answer_error) == needed
    check_enough_to_answer(needed, answer_error)
    line = f"answer_error={answer_error:g} needs at least {needed} calibration images, got {needed - 1}"
    with pytest.raises(InputError, match=line):
        check_enough_to_answer(needed - 1, answer_error)


def test_what_is_advised_with_few_images_is_enough():
    with pytest.raises(InputError, match=r"or pass answer_error=0\.09") as refused:
        check_enough_to_answer(50, 0.02)
    check_enough_to_answer(50, float(str(refused.value).rpartition("=")[2]))


def test_fit_answering_refuses_a_poor_classifier():
    rng = np.random.default_rng(0)
    poor = Confidences(rng.random(500), rng.random(500) < 0.3)
    with pytest.raises(InputError, match=r"answer_error=0\.02 cannot be guaranteed: .* answers are wrong among the"):
        fit_answering(poor, poor, 0.02)
