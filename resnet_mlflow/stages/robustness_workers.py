"""Cells of a robustness test for workers: each is a corruption for all classifiers of one backbone."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.process import machine
from resnet_mlflow.robustness.results import ResultStore, cell_key
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.stages.crews import Crew
from resnet_mlflow.stages.robustness_sources import group_classifiers, load_classifiers
from resnet_mlflow.stages.robustness_sweeps import Sweep, choose_split
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import download, send_file
from resnet_mlflow.workers.parts import Part

# Name in ``jobs.JOBS``.
CORRUPTED = "corrupted"
_FOLDER = "results"


def share_out(
    crew: Crew, run_id: str, config: RobustnessConfig, cells: Sequence[CorruptedSet], sweeps: Sequence[Sweep]
) -> None:
    """Let workers do the cells without results; these are in this machine's cache afterwards.

    Args:
        crew: The workers.
        run_id: Run of the test; workers on other machines pass results through its artifacts.
        config: Configuration of the test.
        cells: The corrupted test sets.
        sweeps: The classifiers, by backbone.

    Raises:
        InputError: If a worker fails.
    """
    first = sweeps[0].group.first
    crew.check(first.config, first.inputs.dataset.digest)
    by_part: dict[str, tuple[Sweep, list[CorruptedSet]]] = {}
    parts: list[Part] = []
    for sweep in sweeps:
        for name in dict.fromkeys(cell.corruption for cell in (CLEAN, *cells)):
            missing = [cell for cell in (CLEAN, *cells) if cell.corruption == name and not sweep.is_done(cell)]
            if missing:
                part = crew.part(CORRUPTED, _of(sweep, config), more=_request(run_id, sweep, missing))
                by_part[part.key] = sweep, missing
                parts.append(part)
    with progress(sum(len(missing) for _, missing in by_part.values()), "cells") as bar:
        for key, answer in crew.do(parts):
            if "failed" in answer:
                raise InputError(answer["failed"])
            sweep, missing = by_part[key]
            _take(run_id, sweep, missing)
            bar.update(len(missing))


def _of(sweep: Sweep, config: RobustnessConfig) -> RobustnessConfig:
    ids = ",".join(one.run.info.run_id for one in sweep.group.classifiers)
    return config.model_copy(update={"runs": ids, "model": "", "filter": "", "reference_run": ""})


def _request(run_id: str, sweep: Sweep, missing: Sequence[CorruptedSet]) -> dict[str, str]:
    return {"run_id": run_id, "cells": json.dumps(missing), "cache": _cache_of(sweep)}


def _cache_of(sweep: Sweep) -> str:
    return f"{machine()}:{sweep.group.first.inputs.cache_dir}"


def _take(run_id: str, sweep: Sweep, cells: Iterable[CorruptedSet]) -> None:
    """Store results sent by a worker with another cache."""
    store = ResultStore(sweep.group.first.inputs.cache_dir)
    for cell in cells:
        key = cell_key(sweep.identity(cell))
        for one in sweep.group.classifiers:
            classifier = one.run.info.run_id
            if store.get(key, classifier) is None:
                with scratch_folder() as folder:
                    file = download(run_id, f"{_FOLDER}/{key}/{classifier}.npz", folder)
                    store.take(file, key, classifier, len(sweep.images.split), len(one.class_names))


def do_corrupted(config: RobustnessConfig, run_id: str, cells: Sequence[CorruptedSet], cache: str) -> None:
    """As a worker, do cells for the classifiers of one backbone, and send results to a process with another cache.

    Args:
        config: Names the classifiers.
        run_id: Run of the test.
        cells: Cells to do.
        cache: Result cache of the process that runs the test.
    """
    sweep = _loaded(run_id, config.model_dump_json())
    sweep.fill(cells)
    if cache == _cache_of(sweep):
        return
    store = ResultStore(sweep.group.first.inputs.cache_dir)
    for cell in cells:
        key = cell_key(sweep.identity(cell))
        for one in sweep.group.classifiers:
            send_file(run_id, store.path(key, one.run.info.run_id), f"{_FOLDER}/{key}")


@lru_cache(maxsize=1)
def _loaded(run_id: str, config: str) -> Sweep:
    """Return the classifiers and network that a configuration names; all parts of one backbone in a test share them.

    Args:
        run_id: Run of the test.
        config: Configuration of the test as JSON.
    """
    values = RobustnessConfig.model_validate_json(config)
    classifiers = load_classifiers(values.runs.split(","), values)
    (group,) = group_classifiers(classifiers)
    return Sweep.of(group, choose_split(classifiers[0], values), values)
