import numpy as np
import pytest

from resnet_mlflow.statistics import expected_largest, images_for_luck, luck_of_the_best


@pytest.mark.parametrize(("n", "largest"), [(1, 0.0), (2, 0.5642), (5, 1.1630), (10, 1.5388), (100, 2.5076)])
def test_expected_largest_meets_the_table_of_normal_order_statistics(n, largest):
    # Harter (1961), Expected values of normal order statistics.
    assert expected_largest(n) == pytest.approx(largest, abs=0.03)


def test_luck_of_the_best_is_what_a_draw_gives():
    rng = np.random.default_rng(0)
    best = rng.binomial(500, 0.8, size=(4000, 30)).max(axis=1) / 500
    assert luck_of_the_best(30, 500, 0.8) == pytest.approx(best.mean() - 0.8, abs=0.002)


def test_images_for_luck_is_where_luck_has_come_down():
    wanted = images_for_luck(0.02, 100, 1000, 0.9)
    assert luck_of_the_best(100, wanted, 0.9) == pytest.approx(0.02, abs=1e-4)
