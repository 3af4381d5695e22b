"""Bulk writing of runs to a SQLite store, equal to what MLflow itself would write one by one."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import mlflow
import sqlalchemy
from mlflow.store.tracking.dbmodels import models

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.heads import HEADS

FIRST_START_MS = 1_700_000_000_000
BATCH = 1000


@dataclass(frozen=True)
class Record:
    """A run to write to the store."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    status: str = "FINISHED"


def write_records(uri: str, experiment: str, records: Iterable[Record]) -> list[str]:
    """Write runs to an experiment, which is created if missing, and return their ids; starts are 1 s apart."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    run_ids: list[str] = []
    with sqlalchemy.create_engine(uri).begin() as connection:
        # Written at once: MLflow's own API needs a request per hundred values.
        remaining = iter(records)
        while batch := list(itertools.islice(remaining, BATCH)):
            ids = [uuid4().hex for _ in batch]
            for model, rows in _rows(batch, ids, int(experiment_id), len(run_ids)):
                if rows:
                    connection.execute(sqlalchemy.insert(model), rows)
            run_ids += ids
    return run_ids


def _rows(batch: list[Record], ids: list[str], experiment_id: int, n_before: int) -> Iterator[tuple[type, list[dict]]]:
    pairs = list(zip(ids, batch, strict=True))
    starts = {run_id: FIRST_START_MS + 1000 * (n_before + i) for i, run_id in enumerate(ids)}
    yield models.SqlRun, [
        {
            "run_uuid": run_id, "name": record.name, "source_type": "LOCAL", "user_id": "bench",
            "status": record.status, "start_time": starts[run_id], "end_time": starts[run_id] + 500,
            "lifecycle_stage": "active", "artifact_uri": f"mlruns/{run_id}", "experiment_id": experiment_id,
        }
        for run_id, record in pairs
    ]  # fmt: skip
    for model, texts in ((models.SqlParam, "params"), (models.SqlTag, "tags")):
        yield (
            model,
            [
                {"run_uuid": run_id, "key": key, "value": value}
                for run_id, record in pairs
                for key, value in getattr(record, texts).items()
            ],
        )
    metrics = [
        {"run_uuid": run_id, "key": key, "value": value, "timestamp": starts[run_id], "step": 0, "is_nan": False}
        for run_id, record in pairs
        for key, value in record.metrics.items()
    ]
    yield models.SqlMetric, metrics
    yield models.SqlLatestMetric, metrics


def fit_head_records(n_runs: int) -> Iterator[Record]:
    """Yield runs of ``fit_head`` with as many parameters, tags and metrics as real ones have."""
    scores = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "top5_accuracy")
    ends = ("", "_ci_low", "_ci_high")
    metrics = [f"{split}/{score}{end}" for split in ("val", "test") for score in scores for end in ends]
    defaults = {name: str(field.default) for name, field in FitHeadConfig.model_fields.items()}
    cells = itertools.product(range(n_runs), BACKBONES, HEADS)
    for i, (seed, backbone, head) in enumerate(itertools.islice(cells, n_runs)):
        own = {"backbone": backbone, "head": head, "seed": str(seed)}
        tags = {"stage": "fit_head", "dataset": "digits", "dataset_digest": "d" * 32, "weights": "random-seed0"}
        tags |= own | {"version": "0.1.0", "features_key": backbone, "image_size": "32", "worker": "host:1"}
        values = dict.fromkeys(metrics, i * 7 % 1000 / 1000) | {"time/fit_s": 0.1}
        yield Record(f"fit_head {head} {backbone} digits s{seed}", tags, defaults | own, values)
