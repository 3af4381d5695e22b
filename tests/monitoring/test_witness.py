"""The kernel two-sample test: its level where nothing has changed, and what it finds."""

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu

from resnet_mlflow.monitoring.kernel import Space, fit_space, squared_distances, witness_test

PLAIN = Space(np.zeros(6, np.float32), np.eye(6, dtype=np.float32), 1 / 12)


def compared(own, other, space=PLAIN):
    placed, theirs = space.place(own), space.place(other)
    kernel = space.kernel
    return witness_test(kernel(placed, placed), kernel(theirs, placed), kernel(theirs, theirs))


def test_witness_test_keeps_its_level():
    rng = np.random.default_rng(0)
    p_values = np.array([compared(rng.normal(size=(80, 6)), rng.normal(size=(20, 6))).p_value for _ in range(400)])
    for level in (0.01, 0.05, 0.2):
        assert (p_values <= level).sum() <= binom.ppf(0.999, 400, level)
    assert np.median(p_values) > 0.3


@pytest.mark.parametrize(
    "changed",
    [lambda x: x + 0.8, lambda x: 2.5 * x, lambda x: np.where(np.arange(6) == 2, x + 3, x)],
    ids=["shifted", "wider", "one direction"],
)
def test_witness_test_finds_a_change(changed):
    rng = np.random.default_rng(1)
    found = compared(rng.normal(size=(200, 6)), changed(rng.normal(size=(60, 6))))
    assert found.p_value < 1e-4
    assert found.ahead > 0.7
    assert found.other.mean() > found.own.mean()


def test_witness_test_is_surer_of_more_images_than_permutations_could_be():
    rng = np.random.default_rng(2)
    own, other = rng.normal(size=(400, 6)), rng.normal(size=(200, 6)) + 1
    p_values = [compared(own, other[:n]).p_value for n in (10, 40, 200)]
    assert p_values[0] > p_values[1] > p_values[2]
    assert p_values[2] < 1e-20


def test_space_gives_every_direction_the_same_weight():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(4000, 3)) @ np.array([[2.0, 1, 0], [0, 1, 1], [0, 0, 0.5]]) + 7
    space = fit_space(features)
    np.testing.assert_allclose(np.cov(space.place(features).T), np.eye(3), atol=0.1)
    placed = space.place(features[:500])
    assert np.median(squared_distances(placed, placed)) * space.gamma == pytest.approx(1, rel=0.15)


def test_squared_distances_by_hand():
    left, right = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0]])
    assert squared_distances(left, right).tolist() == [[25.0], [0.0]]


@pytest.mark.parametrize(("n_batch", "n_own"), [(9, 10), (9, 140), (20, 40)])
def test_ranks_of_large_batches_are_no_surer_than_exact_ones(n_batch, n_own):
    """Beyond 8 images scipy takes the normal distribution, whose tail is heavier than that of ranks."""
    compared = []
    for shift in np.linspace(0, n_own, 40).astype(int):
        # The batch stands among the reference from rank `shift` on: from no difference to all of it above.
        own, batch = np.arange(n_own, dtype=float), shift - 0.5 + np.arange(n_batch)
        found = [mannwhitneyu(batch, own, alternative="greater", method=how).pvalue for how in ("exact", "auto")]
        compared.append(found)
    exact, taken = np.array(compared).T
    small = exact < 0.005
    assert small.sum() > 5
    assert (taken[small] >= exact[small]).all()
    assert exact.min() < 2e-5
