"""Near twins: found whatever was done to the copy, and nothing else taken for one."""

import numpy as np
import pytest
from PIL import Image
from synthetic_pictures import grey_copies, textures

from benchmarks.planting import CHANGES, plant_twins
from resnet_mlflow.audit.neighbours import nearest
from resnet_mlflow.audit.signatures import ORIENTATIONS, oriented, oriented_signatures, signatures
from resnet_mlflow.audit.twins import copies, find_twins, twin_groups

N_IMAGES, N_EACH = 300, 8


@pytest.fixture(scope="module")
def planted():
    """Grey copies of pictures with twins behind them, the rows of the originals, and what was done."""
    images = textures(N_IMAGES, seed=0)
    originals = np.arange(N_EACH * len(CHANGES)) * 3
    twins, changes = plant_twins(images, originals, seed=1)
    return grey_copies(np.concatenate([images, twins])), originals, changes


def test_find_twins_finds_every_change_and_nothing_else(planted):
    thumbs, originals, changes = planted
    found = find_twins(thumbs)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    expected = {(int(row), N_IMAGES + place) for place, row in enumerate(originals)}
    missed = [changes[second - N_IMAGES] for _, second in expected - pairs]
    assert pairs <= expected
    assert len(missed) <= 1, missed


def test_find_twins_says_what_was_done(planted):
    thumbs, _, changes = planted
    found = find_twins(thumbs)
    text = dict(zip(found.second.tolist(), found.change, strict=True))
    for place, change in enumerate(changes):
        words = text.get(N_IMAGES + place, "")
        assert ("flipped" in words) == (change == "flipped"), (change, words)
        assert change != "cropped" or not words or "cropped to 8" in words, words


@pytest.mark.parametrize("orientation", range(len(ORIENTATIONS)))
def test_find_twins_sees_every_orientation(orientation):
    thumbs = grey_copies(textures(40, seed=2))
    turned = oriented(thumbs[:1].astype(np.float32), orientation).astype(np.uint8)
    found = find_twins(np.concatenate([thumbs, turned]))
    assert (found.first.tolist(), found.second.tolist()) == ([0], [40])
    assert found.score[0] > 0.999
    of_turned, of_first = signatures(turned), signatures(thumbs[:1])
    np.testing.assert_allclose(oriented_signatures(of_first, orientation), of_turned, atol=1e-5)


def test_find_twins_of_features_alone_are_compared_too(planted):
    thumbs, originals, _ = planted
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(thumbs), 16)).astype(np.float32)
    features[N_IMAGES:] = features[originals]
    assert len(find_twins(thumbs, features)) >= len(originals) - 1


def test_find_twins_leaves_flat_and_unusable_images_alone():
    flat = np.full((6, 32, 32), 200, np.uint8)
    flat[1::2] += 3
    assert len(find_twins(flat)) == 0
    thumbs = grey_copies(textures(10, seed=3))
    twice = np.concatenate([thumbs, thumbs])
    assert len(find_twins(twice)) == 10
    assert len(find_twins(twice, usable=np.arange(20) < 10)) == 0


def test_find_twins_do_not_take_one_family_for_one_picture():
    """Pictures that all look alike, as scans of one form do, are twins only where they are nearer than their kind."""
    form = textures(1, seed=4)[0].astype(np.float64)
    marks = textures(60, seed=5).astype(np.float64) - 128
    scans = np.clip(form + 0.25 * marks, 0, 255).astype(np.uint8)
    twin = np.asarray(Image.fromarray(scans[7]).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    found = find_twins(grey_copies(np.concatenate([scans, twin[None]])))
    assert (found.first.tolist(), found.second.tolist()) == ([7], [60])


def test_twin_groups_and_copies():
    first, second = copies(np.array(["a", "b", "a", "c", "a"]))
    assert (first.tolist(), second.tolist()) == ([0, 0], [2, 4])
    groups = twin_groups(5, np.array([0, 2]), np.array([2, 3]))
    assert groups[0] == groups[2] == groups[3]
    assert len({groups[0], groups[1], groups[4]}) == 3


def test_nearest_finds_what_a_search_of_all_finds():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 24))
    base = centres[rng.integers(0, 40, 6000)] + 0.4 * rng.normal(size=(6000, 24))
    base = (base / np.linalg.norm(base, axis=1, keepdims=True)).astype(np.float32)
    rows, products = nearest(base, base[:200], 5)
    exact = np.argsort(-(base[:200] @ base.T), axis=1)[:, :5]
    assert np.mean([len(set(own) & set(all_)) for own, all_ in zip(rows, exact, strict=True)]) > 4.8
    assert (np.diff(products, axis=1) <= 0).all()
    assert rows[:, 0].tolist() == list(range(200))


def test_nearest_of_few_vectors_has_as_many_as_there_are():
    base = np.eye(3, dtype=np.float32)
    rows, _ = nearest(base, base, 5)
    assert sorted(rows[0].tolist()) == [-1, -1, 0, 1, 2]
