"""Confidence intervals and paired tests: how sure a score, or the difference of two, is."""

from resnet_mlflow.statistics.balanced import (
    ClassCounts,
    balanced_accuracy_interval,
    effective_items,
    macro_f1_interval,
)
from resnet_mlflow.statistics.best import Needed, Pair, best_set, needed
from resnet_mlflow.statistics.crossed import (
    Moments,
    crossed_moments,
    difference_p_value,
    difference_reach,
    item_weights,
    nadeau_bengio_test,
    score_reach,
    seed_reach,
)
from resnet_mlflow.statistics.intervals import (
    Floats,
    Interval,
    Ints,
    SeedSummary,
    accuracy_interval,
    proportion_limits,
    summarize_seeds,
    t_interval,
    wilson_interval,
)
from resnet_mlflow.statistics.over_seeds import (
    UNKNOWN,
    SeededDifference,
    SeededScore,
    difference_over_seeds,
    score_over_seeds,
)
from resnet_mlflow.statistics.paired import tango_interval
from resnet_mlflow.statistics.ranks import (
    WILCOXON_MIN_PAIRS,
    FriedmanTest,
    average_ranks,
    cliques,
    friedman,
    nemenyi_critical_difference,
    wilcoxon_p_value,
)
from resnet_mlflow.statistics.significance import EXACT_BELOW, McNemarTest, holm, mcnemar, paired_p_value

__all__ = [
    "EXACT_BELOW",
    "UNKNOWN",
    "WILCOXON_MIN_PAIRS",
    "ClassCounts",
    "Floats",
    "FriedmanTest",
    "Interval",
    "Ints",
    "McNemarTest",
    "Moments",
    "Needed",
    "Pair",
    "SeedSummary",
    "SeededDifference",
    "SeededScore",
    "accuracy_interval",
    "average_ranks",
    "balanced_accuracy_interval",
    "best_set",
    "cliques",
    "crossed_moments",
    "difference_over_seeds",
    "difference_p_value",
    "difference_reach",
    "effective_items",
    "friedman",
    "holm",
    "item_weights",
    "macro_f1_interval",
    "mcnemar",
    "nadeau_bengio_test",
    "needed",
    "nemenyi_critical_difference",
    "paired_p_value",
    "proportion_limits",
    "score_over_seeds",
    "score_reach",
    "seed_reach",
    "summarize_seeds",
    "t_interval",
    "tango_interval",
    "wilcoxon_p_value",
    "wilson_interval",
]
