"""Jobs of a worker for another process: one run, or work shared by several runs, from a configuration."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from resnet_mlflow.config import ENTRY_POINTS, Config, FeatureConfig, FinetuneConfig, FitHeadConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.gathering import Shard
from resnet_mlflow.process import ask_stop, keep_freed_memory, process_name, quiet_libraries, reason_of
from resnet_mlflow.stages.crews import FINISHED_BEFORE
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.preparation import compute_cache_key, prepare
from resnet_mlflow.stages.shared_features import ROWS, hand_over
from resnet_mlflow.tracking import Place, end_attempts, find_runs, use_place
from resnet_mlflow.workers.cluster import own_share_of_cores

logger = logging.getLogger(__name__)


def answer(request: Mapping[str, Any]) -> dict[str, str]:
    """Do a requested job; return ``run_id`` and ``how``, or ``failed`` with the reason if it is not possible.

    Args:
        request: ``job``, ``kind``, ``config`` and ``place``, and further arguments of the job.
    """
    quiet_libraries()
    keep_freed_memory()
    ask_stop(False)
    start = time.perf_counter()
    try:
        config = _KINDS[request["kind"]](**request["config"])
        # Tables that a stage prints are for the user who started it; here the study started it.
        with use_place(Place(**request["place"])), redirect_stdout(StringIO()), own_share_of_cores():
            done = JOBS[request["job"]](config, request)
        return {"how": f"{time.perf_counter() - start:.1f} s", **done}
    except Exception as error:  # The others continue.
        logger.debug("traceback", exc_info=not isinstance(error, InputError))
        return {"failed": reason_of(error)}


def _check(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    try:
        found = prepare(config).dataset.digest
    except InputError as error:
        raise InputError(f"the worker {process_name()} must have the dataset, got: {error}") from None
    if found != request["digest"]:
        raise InputError(
            f"a worker must have the same dataset (digest {request['digest']}), got {found} for {config.dataset} at "
            f"{process_name()}; copy it there, or use a path that both can read"
        )
    return {}


def _features(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    ensure_features(config, prepare(config))
    return {}


def _rows(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    shard = Shard(request["split"], int(request["first"]), int(request["stop"]))
    return hand_over(config, shard, request["place"]["parent_run_id"])


def _corrupted(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    from resnet_mlflow.robustness.selection import CorruptedSet
    from resnet_mlflow.stages.robustness_workers import do_corrupted

    do_corrupted(
        config, request["run_id"], [CorruptedSet(*cell) for cell in json.loads(request["cells"])], request["cache"]
    )
    return {}


def run_cell(config: FitHeadConfig | FinetuneConfig, parent_run_id: str = "") -> tuple[str, bool]:
    """Return the id of a cell's run, which is created unless it has finished before, and whether it had.

    Args:
        config: Configuration of a head or a fine-tuning.
        parent_run_id: Parent below which another process may have tried before, see ``end_attempts``; empty if none
            has.
    """
    found = _begin("finetune" if isinstance(config, FinetuneConfig) else "fit_head", config, parent_run_id)
    if found:
        return found, True
    if isinstance(config, FinetuneConfig):
        from resnet_mlflow.stages.finetune import run_finetune

        return run_finetune(config).run_id, False
    from resnet_mlflow.stages.fit_head import run_fit_head

    return run_fit_head(config).run_id, False


def _cell(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    run_id, reused = run_cell(config, request["place"]["parent_run_id"])
    return {"run_id": run_id, **({"how": FINISHED_BEFORE} if reused else {})}


def _method(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    from resnet_mlflow.stages.longtail import run_method

    found = _begin("longtail", config, request["place"]["parent_run_id"])
    return {"run_id": found, "how": FINISHED_BEFORE} if found else {"run_id": run_method(config)}


def _comparison(config: Any, request: Mapping[str, Any]) -> dict[str, str]:
    from resnet_mlflow.stages.longtail import run_longtail

    _begin("longtail", config, request["place"]["parent_run_id"])
    return {} if run_longtail(config) else {"failed": "a method failed, see its run"}


def _begin(stage: str, config: FeatureConfig, parent_run_id: str) -> str:
    """Return the run in which the work has finished before; empty if it is still to be done."""
    key = compute_cache_key(stage, config, prepare(config))
    if parent_run_id:
        end_attempts(parent_run_id, key)
    finished = find_runs({"stage": stage, "cache_key": key})
    return str(finished[0].info.run_id) if finished else ""


JOBS: dict[str, Callable[[Any, Mapping[str, Any]], dict[str, str]]] = {
    "check": _check,
    "features": _features,
    ROWS: _rows,
    "corrupted": _corrupted,
    "cell": _cell,
    "comparison": _comparison,
    "method": _method,
}
_KINDS: dict[str, type[Config]] = {kind.__name__: kind for kind in ENTRY_POINTS.values()}
