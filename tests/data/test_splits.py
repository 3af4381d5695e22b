import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_mlflow.data.splits import draw_shots, split_validation
from resnet_mlflow.errors import InputError


def test_split_validation_takes_the_fraction_of_each_class():
    labels = np.repeat([0, 1], [10, 20])
    train, val = split_validation(labels, val_fraction=0.2, seed=0)
    assert np.bincount(labels[val]).tolist() == [2, 4]
    assert np.bincount(labels[train]).tolist() == [8, 16]


@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=8),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31 - 1),
)
def test_split_validation_parts_all_rows_and_keeps_every_class_in_both(counts, fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val = split_validation(labels, fraction, seed)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert set(labels[train]) == set(labels[val]) == set(range(len(counts)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()


def test_split_validation_follows_the_seed():
    labels = np.repeat([0, 1, 2], 20)
    first, again, other = (split_validation(labels, 0.3, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("labels", "class_names", "message"),
    [
        ([0, 0, 1], None, "at least 2 images to split, got 1 in class '1'"),
        ([0, 0, 1], ["crow", "owl"], "got 1 in class 'owl'; add images or remove the class"),
        ([0, 0, 0], ["crow", "owl"], "got 0 in class 'owl'"),
        ([0, 1], ["crow", "owl", "wren"], "at least as many images as classes to split, got 2 for 3"),
        ([], ["crow", "owl"], "got 0 for 2"),
    ],
)
def test_split_validation_refuses_classes_too_small(labels, class_names, message):
    with pytest.raises(InputError, match=message):
        split_validation(np.array(labels, dtype=np.int64), 0.2, 0, class_names)


def test_draw_shots_is_stratified_seeded_and_nested():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    few, more = draw_shots(labels, 2, seed=0), draw_shots(labels, 8, seed=0)
    assert np.bincount(labels[few]).tolist() == [2, 2, 2]
    assert np.bincount(labels[more]).tolist() == [8, 8, 8]
    assert set(few) < set(more)
    assert draw_shots(labels, 8, seed=0).tolist() == more.tolist()
    assert draw_shots(labels, 8, seed=1).tolist() != more.tolist()


def test_draw_shots_refuses_more_than_a_class_has():
    with pytest.raises(InputError, match="every class must have at least 3 images to draw 3 shots, got 2 in class 'b'"):
        draw_shots(np.array([0, 0, 0, 1, 1]), 3, seed=0, class_names=["a", "b"])
