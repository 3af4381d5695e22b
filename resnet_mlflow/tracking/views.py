"""Saved views of MLflow's run list, under *Views*, so that runs can be compared without opening them.

MLflow 3.17 stores a saved view as an experiment tag; versions without this feature do not show the tag.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TAG_PREFIX = "mlflow.sharedViewState."
# Milliseconds since 1970; a constant, so that an experiment's tags are the same wherever they are created.
SAVED_AT_MS = 1_767_225_600_000
# In pixels; longer text is cut off at the page's width.
WIDTHS: Mapping[str, int] = {"tags.`accuracy`": 310, "tags.`best_cell`": 240}
# The page's own settings if nothing has been changed.
UNCHANGED: Mapping[str, object] = {
    "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
    "columnOrder": [], "columnWidths": {}, "runsHiddenMode": "FIRST_10_RUNS", "viewMaximized": False,
    "runListHidden": False, "isAccordionReordered": False, "useGroupedValuesInCharts": True, "hideEmptyCharts": True,
    "groupBy": None, "groupsExpanded": {},
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}  # fmt: skip


@dataclass(frozen=True)
class SavedView:
    """A list of runs, best first.

    Attributes:
        key: Name in the page's address.
        title: Name in the menu.
        filter_string: Filter for runs in MLflow's syntax.
        metric: Metric that orders them.
        metrics: Metrics shown.
        tags: Tags shown.
        params: Parameters shown; empty for runs without them.
    """

    key: str
    title: str
    filter_string: str
    metric: str
    metrics: Sequence[str]
    tags: Sequence[str]
    params: Sequence[str] = ()


SCORE = "val/accuracy"
# Few-shot runs and runs over folds have their own lists.
FULL = "tags.protocol = 'full'"
SAVED_VIEWS = (
    SavedView(
        "heads", "Heads by validation accuracy", f"tags.stage = 'fit_head' and {FULL}", SCORE, (SCORE,),
        ("accuracy", "head", "backbone", "weights", "seed"), ("n_trials",),
    ),
    SavedView(
        "finetuned", "Fine-tunings by validation accuracy", f"tags.stage = 'finetune' and {FULL}", SCORE, (SCORE,),
        ("accuracy", "train_layers", "backbone", "weights", "seed"), ("n_trials",),
    ),
    SavedView(
        "fewshot", "Few-shot runs by validation accuracy", "tags.protocol = 'few-shot'", SCORE, (SCORE,),
        ("accuracy", "head", "backbone", "weights", "seed"), ("shots",),
    ),
    SavedView(
        "longtail", "Long-tail methods by validation balanced accuracy", "tags.stage = 'longtail'",
        "val/balanced_accuracy", ("val/balanced_accuracy", "test/accuracy_few"),
        ("method", "head", "train_layers", "backbone", "seed"), ("imbalance_factor",),
    ),
    SavedView(
        "studies", "Studies by their best validation accuracy", "tags.stage = 'study'", "study/best_val_accuracy",
        ("study/best_val_accuracy", "study/n_cells", "study/n_failed"), ("best_cell", "dataset"),
    ),
)  # fmt: skip


def view_tags() -> dict[str, str]:
    """Return the saved views as tags of an experiment."""
    return {f"{TAG_PREFIX}{view.key}": _tag_value(view) for view in SAVED_VIEWS}


def _tag_value(view: SavedView) -> str:
    kinds = {"metrics": view.metrics, "tags": view.tags, "params": view.params}
    columns = [f"{kind}.`{name}`" for kind, names in kinds.items() for name in names]
    state = {
        **UNCHANGED,
        "searchFilter": view.filter_string,
        "orderByKey": f"metrics.`{view.metric}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": WIDTHS,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode())).decode()
    return json.dumps(
        {"name": view.title, "createdAt": SAVED_AT_MS, "updatedAt": SAVED_AT_MS, "state": f"deflate;{packed}"}
    )
