"""URLs of runs in MLflow's web pages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

DEFAULT_UI_URL = "http://127.0.0.1:5000"


def ui_url_of(tracking_uri: str, given: str = "") -> str:
    """Return the URL of MLflow's pages: as given, of the tracking server, or where ``make ui`` serves them.

    Example:
        >>> ui_url_of("http://mlflow.lab:8080/"), ui_url_of("sqlite:///mlflow.db")
        ('http://mlflow.lab:8080', 'http://127.0.0.1:5000')
    """
    url = given or (tracking_uri if tracking_uri.startswith("http") else DEFAULT_UI_URL)
    return url.rstrip("/")


@dataclass(frozen=True)
class RunLinks:
    """URLs of the pages that show runs.

    Attributes:
        ui_url: URL of MLflow's pages.
        experiment_of: Experiment id by run id.
    """

    ui_url: str
    experiment_of: Mapping[str, str]

    def url(self, run_ids: Sequence[str]) -> str:
        """Return the page of a run, or the comparison of several; empty if a run is unknown.

        Example:
            >>> RunLinks("http://127.0.0.1:5000", {"1f": "2"}).url(["1f"])
            'http://127.0.0.1:5000/#/experiments/2/runs/1f'
        """
        if not run_ids or any(run_id not in self.experiment_of for run_id in run_ids):
            return ""
        if len(run_ids) == 1:
            return f"{self.ui_url}/#/experiments/{self.experiment_of[run_ids[0]]}/runs/{run_ids[0]}"
        experiments = sorted({self.experiment_of[run_id] for run_id in run_ids})
        return f"{self.ui_url}/#/compare-runs?runs={_as_json(run_ids)}&experiments={_as_json(experiments)}"


def _as_json(values: Sequence[str]) -> str:
    return quote(json.dumps(list(values), separators=(",", ":")))
