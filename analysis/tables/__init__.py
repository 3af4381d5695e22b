"""The comparison tables by name: each a function from the runs of one dataset to the answer to one question."""

from collections.abc import Callable

import pandas as pd

from analysis.table import Table
from analysis.tables.backbones import backbones
from analysis.tables.heads import heads

TABLES: dict[str, Callable[[pd.DataFrame], Table | None]] = {
    "backbones": backbones,
    "heads": heads,
}
