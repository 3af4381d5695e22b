"""The comparison tables by name: each a function from the runs of one dataset to the answer to one question."""

from collections.abc import Callable

import pandas as pd

from analysis.cells import split_by_dataset
from analysis.table import Table
from analysis.tables.ablation import ablation
from analysis.tables.backbones import backbones
from analysis.tables.cost import cost
from analysis.tables.datasets import datasets
from analysis.tables.few_shot import few_shots
from analysis.tables.heads import heads
from analysis.tables.longtail import longtail
from analysis.tables.robustness import robustness_families, robustness_tiers, tail_robustness
from analysis.tables.strategies import strategies
from analysis.tables.tuning import tuning

TABLES: dict[str, Callable[[pd.DataFrame], Table | None]] = {
    "backbones": backbones,
    "heads": heads,
    "strategies": strategies,
    "ablation": ablation,
    "longtail": longtail,
    "robustness_tiers": robustness_tiers,
    "robustness_families": robustness_families,
    "tail_robustness": tail_robustness,
    "cost": cost,
    "few_shot": few_shots,
    "tuning": tuning,
    "datasets": datasets,
}
# Tables over several dataset digests; all others refuse to mix them.
OVER_DATASETS = frozenset({"datasets"})


def build_all(name: str, frame: pd.DataFrame) -> list[Table]:
    """Return a table for each dataset digest of the runs, leaving out those without runs for it.

    Args:
        name: One of ``TABLES``.
        frame: Runs, of any number of datasets.
    """
    build = TABLES[name]
    frames = [frame] if name in OVER_DATASETS else split_by_dataset(frame).values()
    return [table for own in frames if (table := build(own)) is not None]
