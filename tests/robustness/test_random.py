import math

import pytest
import torch
from scipy import stats

from resnet_mlflow.robustness.random import ItemRandom, item_keys

N = 200_000


def drawn(item_ids: list[str | int], corruption: str = "fog", severity: int = 1) -> ItemRandom:
    return ItemRandom(item_keys(item_ids, corruption, severity))


def test_item_keys_differ_by_item_corruption_and_severity() -> None:
    keys = [item_keys(["a"], "fog", 1), item_keys(["b"], "fog", 1), item_keys(["a"], "snow", 1)]
    keys.append(item_keys(["a"], "fog", 2))

    assert len({int(key) for key in keys}) == 4


def test_item_random_gives_an_item_the_same_numbers_in_any_batch() -> None:
    alone, together = drawn(["b"]), drawn(["a", "b", "c"])
    for _ in range(3):
        assert torch.equal(alone.normal(3, 5, 5)[0], together.normal(3, 5, 5)[1])


def test_item_random_gives_new_numbers_at_every_call() -> None:
    random = drawn(["a"])

    assert (random.bits(1000) == random.bits(1000)).sum() == 0


def test_bits_are_set_half_of_the_time() -> None:
    bits = drawn([0, 1, 2, 3]).bits(N)
    shares = torch.stack([(bits >> at & 1).double().mean() for at in range(32)])

    assert (shares - 0.5).abs().max() < 5 * 0.5 / math.sqrt(4 * N)


@pytest.mark.parametrize("step", [1, 32, 224])
def test_uniform_has_independent_neighbours(step: int) -> None:
    values = drawn([7]).uniform(N)[0]
    cells = (values[step:] * 32).floor() * 32 + (values[:-step] * 32).floor()
    counts = torch.bincount(cells.long(), minlength=1024)

    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_uniform_is_independent_across_items_and_calls() -> None:
    random = drawn([0, 1])
    first, second = random.uniform(N), random.uniform(N)

    for a, b in ((first[0], first[1]), (first[0], second[0]), (first[1], second[0])):
        assert abs(stats.pearsonr(a.numpy(), b.numpy()).statistic) < 5 / math.sqrt(N)


def test_uniform_stays_in_its_range() -> None:
    values = drawn([0]).uniform(N, low=-2, high=6)

    assert -2 <= values.min() < -1.999
    assert 5.999 < values.max() < 6


def test_normal_is_standard_normal() -> None:
    values = drawn([0]).normal(N + 1)[0].double().numpy()

    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert values.std() == pytest.approx(1, abs=0.01)
    assert abs(values).max() > 4
