"""Class sizes of the profiles, and which images stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.profiles import draw_long_tail, long_tail_counts


@pytest.mark.parametrize(
    ("n_max", "n_classes", "totals"),
    [(5000, 10, [20431, 13996, 12406, 11203]), (500, 100, [19573, 12608, 10847, 9502])],
    ids=["cifar10", "cifar100"],
)
def test_long_tail_counts_gives_the_published_totals(n_max: int, n_classes: int, totals: list[int]) -> None:
    assert [sum(long_tail_counts(n_max, n_classes, factor)) for factor in (10, 50, 100, 200)] == totals


def test_long_tail_counts_of_cifar10_at_100() -> None:
    expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tail_counts(5000, 10, 100) == expected


def test_long_tail_counts_loses_nothing_to_rounding() -> None:
    # 500 * 500 ** -1 is one image on paper, and 0.999... in floating point.
    assert [long_tail_counts(n, 4, n, profile)[-1] for n in range(1, 400) for profile in ("exp", "step", "pareto")] == [
        1
    ] * (399 * 3)


def test_long_tail_counts_of_a_step_has_two_sizes() -> None:
    assert long_tail_counts(100, 5, 8, "step") == [100, 100, 12, 12, 12]


def test_long_tail_counts_of_pareto_by_hand() -> None:
    # F = 64: the sixth root is 2, so that places 0, 1/2 and 1 divide by 1, 1.5 ** 6 = 11.39 and 2 ** 6.
    assert long_tail_counts(640, 3, 64, "pareto") == [640, 56, 10]


@given(
    n_max=st.integers(1, 10_000),
    n_classes=st.integers(2, 200),
    share=st.floats(0, 1),
    profile=st.sampled_from(["exp", "step", "pareto"]),
)
def test_long_tail_counts_fall_from_the_largest_to_the_factor(
    n_max: int, n_classes: int, share: float, profile: str
) -> None:
    factor = 1 + share * (n_max - 1)
    counts = np.array(long_tail_counts(n_max, n_classes, factor, profile))
    assert (np.diff(counts) <= 0).all()
    assert counts[0] == n_max
    assert counts[-1] == pytest.approx(n_max / factor, abs=1)
    assert counts[-1] >= 1


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (0.01, r"^imbalance_factor must be in \[1, 500\] \(the largest class has 500 images\), got 0.01; write 100"),
        (501, r"got 501; write"),
        (float("nan"), "got nan"),
    ],
)
def test_long_tail_counts_refuses_factors(factor: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        long_tail_counts(500, 10, factor)


def test_long_tail_counts_refuses_other_names_and_one_class() -> None:
    with pytest.raises(InputError, match=r"profile must be one of exp, step, pareto, got 'expo'; did you mean 'exp'\?"):
        long_tail_counts(500, 10, 10, "expo")
    with pytest.raises(InputError, match="n_classes must be at least 2, got 1"):
        long_tail_counts(500, 1, 10)


def balanced(n_classes: int = 4, size: int = 50) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(n_classes), size))


def test_draw_long_tail_keeps_the_profiles_counts_sorted() -> None:
    labels = balanced()
    rows = draw_long_tail(labels, "exp", 10)
    assert_array_equal(np.bincount(labels[rows]), long_tail_counts(50, 4, 10))
    assert_array_equal(rows, np.unique(rows))


def test_draw_long_tail_depends_on_the_seed_and_nests() -> None:
    labels = balanced()
    first, again, other = (draw_long_tail(labels, "exp", 10, seed=seed) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert set(first) != set(other)
    assert set(draw_long_tail(labels, "exp", 20)) < set(first)


def test_draw_long_tail_shuffles_which_class_has_which_size() -> None:
    labels = balanced(n_classes=10)
    drawn = [np.bincount(labels[draw_long_tail(labels, "exp", 10, "shuffled", seed)]) for seed in (0, 1)]
    assert sorted(drawn[0]) == sorted(drawn[1]) == sorted(long_tail_counts(50, 10, 10))
    assert drawn[0].tolist() != drawn[1].tolist()


def test_draw_long_tail_keeps_natural_data() -> None:
    assert_array_equal(draw_long_tail(np.array([2, 0, 1, 0]), "natural", 1), np.arange(4))


def test_draw_long_tail_allows_for_sizes_that_differ_a_little() -> None:
    labels = np.repeat([0, 1, 2], [97, 100, 98])
    assert np.bincount(labels[draw_long_tail(labels, "exp", 4)]).tolist() == long_tail_counts(97, 3, 4)


@pytest.mark.parametrize(
    ("labels", "profile", "factor", "order", "message"),
    [
        (
            [0, 0, 2, 2],
            "natural",
            1,
            "dataset",
            "every class must keep at least one image in a long tail, got none of 'b'",
        ),
        ([0, 1, 2], "longtail", 1, "dataset", "profile must be one of exp, step, pareto, natural, got 'longtail'"),
        ([0, 1, 2], "exp", 1, "random", "class_order must be one of dataset, shuffled, got 'random'"),
        ([0, 1, 2], "exp", 2, "dataset", r"imbalance_factor must be in \[1, 1\]"),
        ([0] + [1] * 9 + [2] * 9, "exp", 2, "dataset", "got 1 of 9 in class 'a'; pass profile=natural"),
    ],
)
def test_draw_long_tail_refuses(labels: list[int], profile: str, factor: float, order: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_long_tail(np.array(labels), profile, factor, order, class_names=["a", "b", "c"])
