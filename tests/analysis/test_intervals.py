import pandas as pd
import pytest

from analysis.intervals import score_of_seeds


@pytest.mark.parametrize(
    ("metric", "values", "low", "high"),
    [
        ("val/accuracy", [0.99, 1.0], 0, 1.0),
        ("test/ece", [0.001, 0.01], 0.0, 1),
        ("test/nll", [0.5, 3.0], 0.0, float("inf")),
    ],
)
def test_no_interval_reaches_where_its_metric_cannot(metric, values, low, high):
    found = score_of_seeds(pd.DataFrame({metric: values}), metric, held_out=0.0).over_seeds
    assert low <= found[0] < min(values)
    assert max(values) <= found[1] <= high
