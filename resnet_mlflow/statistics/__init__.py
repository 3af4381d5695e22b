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
from resnet_mlflow.statistics.hierarchical import (
    SeededDifference,
    hierarchical_bootstrap_difference,
    nadeau_bengio_test,
)
from resnet_mlflow.statistics.intervals import (
    Interval,
    SeedSummary,
    percentile_interval,
    summarize_seeds,
    t_interval,
    wilson_interval,
)
from resnet_mlflow.statistics.ranks import (
    WILCOXON_MIN_PAIRS,
    FriedmanTest,
    average_ranks,
    cliques,
    friedman,
    nemenyi_critical_difference,
    wilcoxon_p_value,
)
from resnet_mlflow.statistics.significance import McNemarTest, holm, mcnemar

__all__ = [
    "WILCOXON_MIN_PAIRS",
    "ClassCounts",
    "Floats",
    "FriedmanTest",
    "Interval",
    "Ints",
    "McNemarTest",
    "PairedDifference",
    "SeedSummary",
    "SeededDifference",
    "average_ranks",
    "bootstrap_interval",
    "cliques",
    "friedman",
    "hierarchical_bootstrap_difference",
    "holm",
    "mcnemar",
    "nadeau_bengio_test",
    "nemenyi_critical_difference",
    "paired_bootstrap_difference",
    "percentile_interval",
    "resample_counts",
    "summarize_seeds",
    "t_interval",
    "wilcoxon_p_value",
    "wilson_interval",
]
