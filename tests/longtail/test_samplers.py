"""Which rows an epoch draws, and the resamplers' items."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.resampling import oversampled_rows, smote, undersampled_rows
from resnet_mlflow.longtail.samplers import (
    build_row_sampler,
    class_probabilities,
    draw_rows,
    progressive_probabilities,
    shuffled_stream,
)

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [900, 90, 10]))
SAMPLERS = ["none", *(name for name, rule in METHODS.items() if rule.kind in ("sampling", "resampling"))]


def shares(rows: np.ndarray) -> np.ndarray:
    return np.bincount(LABELS[rows], minlength=3) / len(rows)


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=20))
def test_class_probabilities_go_from_images_alike_to_classes_alike(counts: list[int]) -> None:
    assert_allclose(class_probabilities(counts, 1), np.array(counts) / sum(counts))
    assert_allclose(class_probabilities(counts, 0), 1 / len(counts))
    assert class_probabilities(counts, 0.5).sum() == pytest.approx(1)


def test_progressive_probabilities_of_one_epoch_are_those_of_images() -> None:
    assert progressive_probabilities([3, 1], epoch=1, n_epochs=1).tolist() == [0.75, 0.25]


def test_draw_rows_follows_the_probabilities_and_spreads_over_a_class() -> None:
    rows = draw_rows(LABELS, np.array([0.2, 0.3, 0.5]), seed=0, epoch=1, n_rows=20_000)
    assert_allclose(shares(rows), [0.2, 0.3, 0.5], atol=0.02)
    of_tail = np.bincount(rows)[LABELS == 2]
    assert_allclose(of_tail / of_tail.sum(), 0.1, atol=0.02)


@settings(max_examples=30)
@given(n_kept=st.integers(1, 50), n_rows=st.integers(1, 200), epoch=st.integers(1, 9))
def test_shuffled_stream_repeats_rows_equally_often(n_kept: int, n_rows: int, epoch: int) -> None:
    kept = np.arange(100, 100 + n_kept)
    times = np.bincount(shuffled_stream(kept, n_rows, seed=0, epoch=epoch) - 100, minlength=n_kept)
    assert times.sum() == n_rows
    assert times.max() - times.min() <= 1


@pytest.mark.parametrize("method", SAMPLERS)
def test_row_samplers_give_as_many_rows_by_seed_and_epoch_alone(method: str) -> None:
    rows, again, other = (build_row_sampler((method,), LABELS, 3, 10, seed) for seed in (0, 0, 1))
    assert len(rows(1)) == len(rows(7)) == len(LABELS)
    again(3)
    assert_array_equal(rows(2), again(2))
    assert not np.array_equal(rows(1), rows(2))
    assert not np.array_equal(rows(1), other(1))


def test_row_samplers_draw_classes_as_they_say() -> None:
    def last(method: str) -> np.ndarray:
        return shares(build_row_sampler((method,), LABELS, 3, n_epochs=4, seed=0)(4))

    assert_array_equal(last("none"), [0.9, 0.09, 0.01])
    for method in ("resample_balanced", "resample_progressive", "oversample", "undersample"):
        assert_allclose(last(method), 1 / 3, atol=0.05)
    roots = np.sqrt([900, 90, 10])
    assert_allclose(last("resample_sqrt"), roots / roots.sum(), atol=0.05)


def test_resampled_rows_keep_every_item_or_as_many_as_the_smallest_class() -> None:
    over, under = (resample(LABELS, seed=0) for resample in (oversampled_rows, undersampled_rows))
    assert np.bincount(LABELS[over]).tolist() == [900] * 3
    assert set(over) == set(range(1000))
    assert np.bincount(LABELS[under]).tolist() == [10] * 3
    assert len(set(under)) == 30
    assert set(under) != set(undersampled_rows(LABELS, seed=1))


def test_resampled_rows_of_balanced_labels_are_all_in_order() -> None:
    for resample in (oversampled_rows, undersampled_rows):
        assert resample(np.array([1, 0, 1, 0]), seed=0).tolist() == [0, 1, 2, 3]


def test_row_samplers_refuse_what_makes_items_and_what_is_unknown() -> None:
    with pytest.raises(InputError, match=r"^rows must be drawn from existing items, got 'smote', which creates new"):
        build_row_sampler(("smote",), LABELS, 3, 10, seed=0)
    with pytest.raises(
        InputError, match=r"^method must be one of none, .* got 'oversampel'; did you mean 'oversample'"
    ):
        build_row_sampler(("oversampel",), LABELS, 3, 10, seed=0)


@pytest.mark.parametrize("n_tail", [1, 2, 3, 8])
def test_smote_makes_items_between_those_of_a_class(n_tail: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [20, n_tail])
    features = (rng.normal(size=(len(labels), 3)) + 50 * labels[:, np.newaxis]).astype(np.float32)
    made, of_class = smote(features, labels, seed=0)
    assert np.bincount(of_class).tolist() == [20, 20]
    assert made.dtype == np.float32
    tail = features[labels == 1]
    assert (made[of_class == 1] >= tail.min(axis=0) - 1e-4).all()
    assert (made[of_class == 1] <= tail.max(axis=0) + 1e-4).all()
    assert_array_equal(made[: len(features)], features)


def test_smote_leaves_balanced_items_as_they_are() -> None:
    features, labels = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    assert smote(features, labels, seed=0)[0] is features
