"""Scores by slice, the worst slice, and whether slices differ."""

import numpy as np
import pytest

from resnet_mlflow.evaluation.slices import score_slices
from resnet_mlflow.statistics import accuracy_interval


def test_score_slices_gives_each_its_score_and_interval() -> None:
    right = np.array([1] * 40 + [1] * 10 + [0] * 10 + [0])
    found = score_slices(right, {"site": ["north"] * 40 + ["south"] * 20 + ["west"], "light": ["day", *[""] * 60]})
    assert found is not None
    by_name = {one.name: one for one in found.scores}
    assert {name: (one.n, one.accuracy) for name, one in by_name.items()} == {
        "site=north": (40, 1.0),
        "site=south": (20, 0.5),
        "site=west": (1, 0.0),
        "light=day": (1, 1.0),
    }
    assert (by_name["site=south"].low, by_name["site=south"].high) == accuracy_interval(10, 20)
    # One image that is wrong is no sign of a bad site.
    assert found.worst.name == "site=south"
    # Two columns are tested: Holm doubles the smaller p value.
    assert found.p_values == {"site": pytest.approx(2e-4, abs=1e-4), "light": 1.0}
    frame = found.frame()
    assert list(frame) == ["column", "value", "n", "accuracy", "low", "high", "p_value"]
    assert len(frame) == 4


def test_score_slices_without_slices_is_nothing() -> None:
    assert score_slices([True, False], {}) is None
    assert score_slices([True, False], {"site": ["", ""]}) is None
