import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.promotion import (
    Answers,
    FoldAnswers,
    decide,
    decide_over_folds,
    demand_of_slices,
    describe_version,
    level_of_look,
)


def answers(n_right, n_items=100, n_cats=50):
    """Answers of which the first ``n_right`` are right; the first ``n_cats`` items are cats, the rest dogs."""
    labels = np.where(np.arange(n_items) < n_cats, "cat", "dog")
    wrong = np.where(labels == "cat", "dog", "cat")
    ids = np.array([f"{i:03d}" for i in range(n_items)])
    return Answers(ids, labels, np.where(np.arange(n_items) < n_right, labels, wrong))


def test_decide_promotes_where_the_interval_lies_above_the_margin():
    decision = decide(answers(90), answers(60), "accuracy", 0.0)
    assert decision.promote
    assert decision.difference.difference == pytest.approx(0.3)
    # 30 of 100 pairs differ: a standard error of sqrt(0.3 * 0.7 / 100) = 0.046.
    assert decision.difference.interval == pytest.approx((0.3 - 1.96 * 0.046, 0.3 + 1.96 * 0.046), abs=0.02)
    assert decision.reason.startswith("test accuracy differs by +0.3000, 95 % interval +0.2")
    assert decision.reason.endswith(", above the margin 0")


@pytest.mark.parametrize(("n_right", "margin"), [(59, 0.0), (60, 0.0), (62, 0.0), (90, 0.25)])
def test_decide_keeps_the_champion_otherwise(n_right, margin):
    decision = decide(answers(n_right), answers(60), "accuracy", margin)
    assert not decision.promote
    assert f", not above the margin {margin:g}" in decision.reason


def test_decide_by_balanced_accuracy_weighs_classes_alike():
    # 90 cats and 10 dogs; the candidate is right on all dogs too: +0.1 accuracy, +0.5 balanced accuracy.
    candidate, champion = answers(100, n_cats=90), answers(90, n_cats=90)
    assert decide(candidate, champion, "accuracy", 0).difference.difference == pytest.approx(0.1)
    assert decide(candidate, champion, "balanced_accuracy", 0).difference.difference == pytest.approx(0.5)


def test_decide_pairs_items_by_id():
    champion = answers(60)
    order = np.random.default_rng(0).permutation(100)
    shuffled = Answers(champion.item_ids[order], champion.labels[order], champion.predictions[order])
    assert decide(answers(90), shuffled, "accuracy", 0) == decide(answers(90), champion, "accuracy", 0)


def test_decide_refuses_other_items():
    with pytest.raises(InputError, match="tested on the same images, got 100 and 90 with 90 in common"):
        decide(answers(50), answers(50, n_items=90), "accuracy", 0)


def sliced(right: np.ndarray) -> Answers:
    """Answers on three sites of 80, 15 and 5 items."""
    sites = np.repeat(["north", "south", "west"], [80, 15, 5])
    labels = np.full(100, "cat")
    ids = np.array([f"{i:03d}" for i in range(100)])
    return Answers(ids, labels, np.where(right, labels, "dog"), {"site": sites})


@pytest.mark.parametrize(
    ("lost", "demand", "promoted", "message"),
    [
        ([], "not_worse", True, "on none of 3 slices significantly worse"),
        ([], "not_lower", True, "on none of 3 slices correct less often"),
        # One image of west is too few to show anything, and is lost all the same.
        ([97], "not_worse", True, "on none of 3 slices significantly worse"),
        ([97], "not_lower", False, "correct less often on site=west by -0.2000"),
        (range(80, 92), "not_worse", False, "significantly worse on site=south by -0.8000"),
    ],
)
def test_demand_of_slices_keeps_a_champion_that_is_better_somewhere(lost, demand, promoted, message):
    champion, candidate = np.arange(100) >= 40, np.full(100, True)
    candidate[list(lost)] = False
    first, second = sliced(candidate), sliced(champion)
    decision = decide(first, second, "accuracy", 0.0)
    assert decision.promote
    demanded = demand_of_slices(decision, first, second, demand)
    assert demanded.promote == promoted
    assert message in demanded.reason
    assert demanded.difference == decision.difference


def test_demand_of_slices_pairs_items_by_id():
    champion, candidate = sliced(np.arange(100) >= 40), sliced(np.arange(100) != 97)
    order = np.random.default_rng(0).permutation(100)
    shuffled = Answers(
        candidate.item_ids[order],
        candidate.labels[order],
        candidate.predictions[order],
        {"site": candidate.slices["site"][order]},
    )
    decision = decide(candidate, champion, "accuracy", 0.0)
    one, other = (demand_of_slices(decision, first, champion, "not_lower") for first in (candidate, shuffled))
    assert one == other


def test_demand_of_slices_refuses_predictions_without_slices():
    decision = decide(answers(90), answers(60), "accuracy", 0.0)
    with pytest.raises(InputError, match="slices=not_worse must find slices in the candidate's predictions, got none"):
        demand_of_slices(decision, answers(90), answers(60), "not_worse")


def test_describe_version_lists_scores_and_the_worst_pairs():
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    metrics = {f"{split}/{name}": 0.9 for split in ("val", "test") for name in names}
    metrics |= {f"{key}_ci_{end}": value for key in list(metrics) for end, value in (("low", 0.8), ("high", 0.95))}
    text = describe_version("a title", metrics, answers(93), "first champion")
    assert "| val   | 0.9000 (0.8000 to 0.9500) |" in text
    assert "| dog   | cat          | 7 of 50 |" in text
    assert "Decision: first champion." in text
    assert '"dataframe_records"' in text
    assert "No test image was confused." in describe_version("a title", metrics, answers(100), "first champion")


def test_decide_counts_few_images_one_by_one():
    # 5 images gained and none lost: Tango's interval lies above 0, the exact test of 5 signs gives 2 / 2**5.
    decision = decide(answers(65), answers(60), "accuracy", 0.0)
    assert decision.difference.interval[0] > 0
    assert not decision.promote
    assert decision.reason.endswith("above the margin 0, but the two differ on only 5 images: exact test p 0.062")
    assert decide(answers(66), answers(60), "accuracy", 0.0).promote


def test_decide_on_one_image_per_class_needs_as_many_as_mcnemar():
    # 100 classes of one image each: balanced accuracy is accuracy, and has its test.
    names = np.array([f"c{i:03d}" for i in range(100)])
    sides = [Answers(names, names, np.where(np.arange(100) < n, names, "none")) for n in (64, 60)]
    balanced, plain = (decide(*sides, metric, 0.0) for metric in ("balanced_accuracy", "accuracy"))
    assert not balanced.promote
    assert balanced.difference.interval == pytest.approx(plain.difference.interval)
    assert balanced.difference.p_value == pytest.approx(plain.difference.p_value)


def test_decide_asks_more_of_every_further_look_at_a_test_split():
    decisions = [decide(answers(67), answers(60), "accuracy", 0.0, look) for look in (1, 2, 3)]
    assert [decision.promote for decision in decisions] == [True, True, False]
    assert "95 % interval" in decisions[0].reason
    assert "98.33 % interval" in decisions[1].reason
    assert "(decision 2 on this test split)" in decisions[1].reason


def test_level_of_look_never_spends_more_than_five_percent_a_side():
    levels = [level_of_look(look) for look in range(1, 10_000)]
    assert levels[0] == 0.05
    assert sum(levels) / 2 <= 0.05


def test_decide_over_folds_needs_interval_and_corrected_test():
    rng, folds = np.random.default_rng(0), np.arange(200)[None] % 5
    ids, labels = np.array([f"{i:03d}" for i in range(200)]), np.where(np.arange(200) % 2, "a", "b")

    def over_folds(accuracy):
        return FoldAnswers(ids, labels, rng.random((1, 200)) < accuracy, folds)

    good, poor = over_folds(0.95), over_folds(0.6)
    assert decide_over_folds(good, poor, "accuracy", 0.0).promote
    assert not decide_over_folds(good, poor, "accuracy", 0.5).promote
    back = decide_over_folds(poor, good, "balanced_accuracy", 0.0, look=2)
    assert not back.promote
    assert "cross-validated balanced accuracy differs by" in back.reason
    assert "(decision 2 on these images)" in back.reason
    other = FoldAnswers(ids, labels, good.correct, folds[:, ::-1])
    with pytest.raises(InputError, match="on the same folds, got different images or folds"):
        decide_over_folds(good, other, "accuracy", 0.0)
