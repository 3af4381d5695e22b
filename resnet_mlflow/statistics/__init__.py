"""Confidence intervals and paired tests: how sure a score, or the difference of two, is."""

from resnet_mlflow.statistics.bootstrap import (
    ClassCounts,
    Floats,
    Ints,
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap_difference,
    resample_counts,
)
from resnet_mlflow.statistics.intervals import (
    Interval,
    SeedSummary,
    percentile_interval,
    summarize_seeds,
    t_interval,
    wilson_interval,
)
from resnet_mlflow.statistics.significance import McNemarTest, holm, mcnemar

__all__ = [
    "ClassCounts",
    "Floats",
    "Interval",
    "Ints",
    "McNemarTest",
    "PairedDifference",
    "SeedSummary",
    "bootstrap_interval",
    "holm",
    "mcnemar",
    "paired_bootstrap_difference",
    "percentile_interval",
    "resample_counts",
    "summarize_seeds",
    "t_interval",
    "wilson_interval",
]
