import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_mlflow.data.datasets import build_dataset, split_of_arrays
from resnet_mlflow.data.folds import divide, draw_folds, fold_of_dataset, pool_names, pool_of
from resnet_mlflow.errors import InputError


@given(counts=st.lists(st.integers(6, 30), min_size=2, max_size=6), folds=st.integers(2, 6), seed=st.integers(0, 9))
@settings(deadline=None)
def test_draw_folds_deals_every_class_evenly(counts, folds, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    fold_of = draw_folds(labels, folds, seed)
    for label, count in enumerate(counts):
        held = np.bincount(fold_of[labels == label], minlength=folds)
        assert held.sum() == count
        assert held.max() - held.min() <= 1


@given(seed=st.integers(0, 20), folds=st.integers(2, 4))
@settings(deadline=None)
def test_draw_folds_never_parts_a_group(seed, folds):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 150)
    labels = groups % 3
    fold_of = draw_folds(labels, folds, seed, groups=groups)
    assert all(len(set(fold_of[groups == group])) == 1 for group in set(groups))
    assert set(fold_of) == set(range(folds))
    for fold in range(folds):
        assert set(labels[fold_of != fold]) == {0, 1, 2}


def test_draw_folds_follows_the_seed():
    labels = np.repeat([0, 1, 2], 20)
    first, again, other = (draw_folds(labels, 4, seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "message"),
    [
        (
            [0] * 9 + [1] * 3,
            None,
            5,
            "at most the images of the smallest class, got 5 for 3 in class 'owl'; lower folds",
        ),
        ([0] * 9 + [1] * 4, [*range(9), 9, 9, 9, 10], 3, "at most the groups of images .* got 3 for 2 in class 'owl'"),
        ([0] * 9 + [1] * 2, None, 2, "at least 2 images outside each fold, .* got 1 in class 'owl'; add images"),
        ([0] * 9, None, 2, "got 2 for 0 in class 'owl'"),
    ],
)
def test_draw_folds_refuses_classes_too_small(labels, groups, folds, message):
    given_groups = None if groups is None else np.array(groups)
    with pytest.raises(InputError, match=message):
        draw_folds(np.array(labels), folds, 0, ["crow", "owl"], given_groups)


def dataset(**n_images):
    """A dataset of two classes, every image another one; splits of so many images."""
    rng, splits = np.random.default_rng(0), {}
    for name, n in n_images.items():
        splits[name] = split_of_arrays(rng.integers(0, 256, (n, 4, 4), dtype=np.uint8), np.arange(n) % 2)
    return build_dataset(name="x", class_names=["a", "b"], splits=splits, default_image_size=32, source="here")


def test_pool_leaves_a_given_test_split_alone():
    assert pool_names(dataset(all=20)) == ("train", "test")
    assert pool_names(dataset(train=20, test=6)) == ("train",)
    assert pool_names(dataset(train=20, val=6, test=6)) == ("train", "val")
    assert len(pool_of(dataset(train=20, val=6, test=6))) == 26


def test_folds_of_a_dataset_hold_every_image_of_the_pool_out_once():
    whole = dataset(train=20, val=6, test=6)
    division = divide(whole, 3, seed=0)
    folds = [fold_of_dataset(whole, division, fold) for fold in range(3)]
    held = np.concatenate([one.splits["test"].item_ids for one in folds])
    assert sorted(held) == sorted(pool_of(whole).item_ids)
    for one in folds:
        assert set(one.splits) == {"train", "test"}
        assert not set(one.splits["train"].item_ids) & set(one.splits["test"].item_ids)
        assert len(one.splits["train"]) + len(one.splits["test"]) == 26
        assert (one.digest, one.name) == (whole.digest, whole.name)


def test_copies_of_an_image_lie_in_one_fold():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 4, 4), dtype=np.uint8)
    images[12:18] = images[:6]
    split = split_of_arrays(images, np.arange(24) % 2)
    twins = build_dataset(name="x", class_names=["a", "b"], splits={"all": split}, default_image_size=32, source="here")
    pool, division = pool_of(twins), divide(twins, 4, seed=0)
    groups = pool.groups
    assert len(set(groups)) == 18
    assert all(len(set(division[groups == group])) == 1 for group in groups)
