"""Stage `main`: a study, as one parent run with a nested run per cell."""

import logging
import time

from resnet_mlflow import __version__
from resnet_mlflow.config import MainConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import default_cache_dir
from resnet_mlflow.files.paths import writable_folder
from resnet_mlflow.process import reason_of
from resnet_mlflow.stages.cells import do_cells
from resnet_mlflow.stages.crews import Crew, crew_of
from resnet_mlflow.stages.parents import parent_run
from resnet_mlflow.stages.preparation import compute_cache_key, digest_of, prepare
from resnet_mlflow.study import (
    Study,
    audit_config,
    cells,
    cells_under_test,
    comparisons,
    few_shot_cells,
    load_study,
    robustness_config,
)
from resnet_mlflow.study.folds_table import build_folds_table, folds_markdown
from resnet_mlflow.study.table import CellResult, build_table, to_markdown
from resnet_mlflow.terminal import in_words, within_larger_task
from resnet_mlflow.tracking import StageRun, connect, find_runs

logger = logging.getLogger(__name__)


def run_main(config: MainConfig) -> bool:
    """Run a study's cells, except finished ones, and return whether every cell is finished now.

    Raises:
        InputError: If the study is invalid, or is running in another process.
    """
    given = {name: value for name in ("dataset", "cache_dir") if (value := getattr(config, name))}
    study = load_study(config.study, config.set)
    study = study.model_copy(update={"features": study.features | given})
    connect()
    writable_folder(default_cache_dir(str(study.features.get("cache_dir", ""))), "cache_dir")
    key = digest_of({"study": study.model_dump(mode="json"), "version": __version__})
    tags = {"dataset": prepare(next(cells(study)).config).dataset.short_name}
    with parent_run("study", config, f"study {study.name}", tags, key) as run:
        run.log_json(study.model_dump(mode="json"), "study.json")
        todo, few, tails = list(cells(study)), list(few_shot_cells(study)), list(comparisons(study))
        # First, so that cells can report their score without the twins that it finds.
        unaudited = _audit(study)
        with crew_of(config, run.run_id) as crew:
            done = do_cells([*todo, *few], tails, crew)
            # Few-shot seeds are samples of images, not the study's seeds: they are compared in separate tables.
            results = done.of(todo)
            failures = unaudited | done.failures | _test_robustness(study, results, crew)
        if study.folds:
            table = build_folds_table(results)
            markdown = folds_markdown(table, study, failures)
        else:
            table = build_table(results, study.seeds)
            markdown = to_markdown(table, study, failures)
        with run.artifacts() as folder:
            (folder / "comparison.md").write_text(markdown)
            table.to_csv(folder / "comparison.csv", index=False)
        run.log_note(markdown)
        n_parts = len(todo) + len(few) + len(tails) + len(study.robustness) + (study.audit is not None)
        _log_summary(run, results, n_parts, len(failures))
        if failures:
            run.failure = f"{len(failures)} of {n_parts} cells failed"
    print(markdown)
    print(f"Report of the runs: artifacts comparison.md and comparison.csv of run {run.run_id} (study {study.name}).")
    return not failures


def _log_summary(run: StageRun, results: list[CellResult], n_parts: int, n_failed: int) -> None:
    """Log the values for lists of studies: numbers of cells and failures, and the best by validation."""
    metrics = {"study/n_cells": float(n_parts), "study/n_failed": float(n_failed)}
    score = "cv_accuracy" if any("cv_accuracy" in result.metrics for result in results) else "val/accuracy"
    judged = [result for result in results if score in result.metrics]
    if judged:
        best = max(judged, key=lambda result: result.metrics[score])
        metrics["study/best_val_accuracy"] = best.metrics[score]
        run.set_tags({"best_cell": best.cell.name, "best_run": best.run_id})
    run.log_metrics(metrics)


def _audit(study: Study) -> dict[str, str]:
    """Audit the study's dataset, if requested and not done before; return the reason for a failure."""
    config = audit_config(study)
    if config is None:
        return {}
    from resnet_mlflow.stages.audit import run_audit

    try:
        if not find_runs({"stage": "audit", "cache_key": compute_cache_key("audit", config, prepare(config))}):
            start = time.perf_counter()
            with within_larger_task():
                run_audit(config)
            logger.info("audit (%s)", in_words(time.perf_counter() - start))
    except Exception as error:  # As for cells.
        logger.error("audit FAILED: %s", reason_of(error))
        logger.debug("traceback", exc_info=not isinstance(error, InputError))
        return {"audit": reason_of(error)}
    return {}


def _test_robustness(study: Study, results: list[CellResult], crew: Crew | None) -> dict[str, str]:
    """Test the finished cells under corruption, as the study requests; return reasons for failures by name."""
    run_ids = {result.cell: result.run_id for result in results}
    if not study.robustness:
        return {}
    from resnet_mlflow.stages.robustness import run_robustness  # torch takes seconds to import

    failures: dict[str, str] = {}
    for name in study.robustness:
        names = {
            run_ids[cell]: f"{cell.method} {cell.config.backbone}"
            for cell in cells_under_test(study, name)
            if cell in run_ids
        }
        start = time.perf_counter()
        try:
            if names:
                with within_larger_task():
                    run_robustness(robustness_config(study, name, list(names)), names, crew)
                took = in_words(time.perf_counter() - start)
                logger.info("robustness %s: %d classifiers (%s)", name, len(names), took)
        except Exception as error:  # As for cells.
            failures[f"robustness {name}"] = reason_of(error)
            logger.error("robustness %s FAILED: %s", name, failures[f"robustness {name}"])
            logger.debug("traceback", exc_info=not isinstance(error, InputError))
    return failures
