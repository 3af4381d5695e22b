"""Saved views of MLflow's run list: under *Views*, so that runs can be compared without opening one.

MLflow 3.17 keeps a saved view as an experiment tag; versions that do not know it show the tag to nobody.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TAG_PREFIX = "mlflow.sharedViewState."
# Milliseconds since 1970; a constant, so that an experiment's tags are the same wherever they are made.
SAVED_AT_MS = 1_767_225_600_000
# What the page writes itself where nobody has changed anything.
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
        key: Names it in the page's address.
        title: Names it in the menu.
        filter_string: Which runs, in MLflow's language.
        metric: What they are ordered by.
        metrics: Metrics shown.
        tags: Tags shown.
    """

    key: str
    title: str
    filter_string: str
    metric: str
    metrics: Sequence[str]
    tags: Sequence[str]


SAVED_VIEWS = (
    SavedView(
        "heads", "Heads by validation accuracy", "tags.stage = 'fit_head' and tags.protocol = 'full'", "val/accuracy",
        ("val/accuracy", "test/accuracy"), ("head", "backbone", "weights", "seed"),
    ),
    SavedView(
        "finetuned", "Fine-tunings by validation accuracy", "tags.stage = 'finetune'", "val/accuracy",
        ("val/accuracy", "test/accuracy"), ("train_layers", "backbone", "weights", "seed"),
    ),
    SavedView(
        "longtail", "Long-tail methods by validation balanced accuracy", "tags.stage = 'longtail'",
        "val/balanced_accuracy", ("val/balanced_accuracy", "test/accuracy_few"), ("method", "backbone", "seed"),
    ),
)  # fmt: skip


def view_tags() -> dict[str, str]:
    """Return the saved views as tags of an experiment."""
    return {f"{TAG_PREFIX}{view.key}": _tag_value(view) for view in SAVED_VIEWS}


def _tag_value(view: SavedView) -> str:
    columns = [*(f"metrics.`{name}`" for name in view.metrics), *(f"tags.`{name}`" for name in view.tags)]
    state = {
        **UNCHANGED,
        "searchFilter": view.filter_string,
        "orderByKey": f"metrics.`{view.metric}`",
        "orderByAsc": False,
        "selectedColumns": columns,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode())).decode()
    return json.dumps(
        {"name": view.title, "createdAt": SAVED_AT_MS, "updatedAt": SAVED_AT_MS, "state": f"deflate;{packed}"}
    )
