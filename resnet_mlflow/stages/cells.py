"""The cells of a study: run one after the other in this process, or in parallel by workers."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from resnet_mlflow.config import FeatureConfig, FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import raise_if_stopped, reason_of
from resnet_mlflow.stages.crews import FINISHED_BEFORE, Crew
from resnet_mlflow.stages.jobs import run_cell
from resnet_mlflow.stages.longtail import run_longtail
from resnet_mlflow.stages.preparation import prepare
from resnet_mlflow.study import Cell
from resnet_mlflow.study.pace import Pace
from resnet_mlflow.study.table import CellResult
from resnet_mlflow.terminal import in_words, left_in_words, progress, within_larger_task
from resnet_mlflow.tracking import get_run
from resnet_mlflow.workers.parts import Part

logger = logging.getLogger(__name__)

# The last line of a terminal.
CELLS_DONE = "{n_fmt}/{total_fmt} cells done, running: {desc}"
Tail = tuple[str, LongtailConfig]


@dataclass
class Done:
    """Results of a study's cells, in the study's order, and reasons for failures."""

    results: list[CellResult] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def of(self, cells: Sequence[Cell]) -> list[CellResult]:
        """Return the results of some cells, in their order."""
        found = {result.cell: result for result in self.results}
        return [found[cell] for cell in cells if cell in found]


def do_cells(cells: Sequence[Cell], tails: Sequence[Tail], crew: Crew | None) -> Done:
    """Run cells and long-tail comparisons and return their results; finished work is not repeated.

    Args:
        cells: Heads and fine-tunings.
        tails: Comparisons with their names.
        crew: Workers for them; None means this process, one after the other.
    """
    works = [_Work(cell.name, cell.config, cell) for cell in cells] + [_Work(*tail) for tail in tails]
    done = Done()
    if crew is None:
        _do_here(works, done)
    else:
        _share_out(works, crew, done)
    return done


@dataclass(frozen=True)
class _Work:
    name: str
    config: FitHeadConfig | FinetuneConfig | LongtailConfig
    cell: Cell | None = None  # None for a comparison

    @property
    def is_sample(self) -> bool:
        """Return whether it is one of several few-shot samples."""
        return getattr(self.config, "shots", 0) > 0

    @property
    def likeness(self) -> tuple[str, ...]:
        """Return keys of work with similar duration: same method and backbone, same method, same length."""
        method = self.name if self.cell is None else self.cell.method
        return (f"{method} {self.config.backbone}", method, str(_length(self.config)), "")


def _do_here(works: Sequence[_Work], done: Done) -> None:
    pace = Pace()
    with progress(len(works), "cells", form=CELLS_DONE) as bar:
        for position, work in enumerate(works, start=1):
            raise_if_stopped()
            bar.set_description_str(work.name)
            _do_and_tell(work, f"[{position}/{len(works)}]", works[position:], pace, done)
            bar.update()


def _do_and_tell(work: _Work, place: str, rest: Sequence[_Work], pace: Pace, done: Done) -> None:
    start = time.perf_counter()
    try:
        with within_larger_task():
            how = _do(work, done)
    except Exception as error:  # One failing cell must not stop the others; Ctrl-C passes.
        logger.debug("traceback", exc_info=not isinstance(error, InputError))
        _tell(done, f"{place} {work.name}", work.name, {"failed": reason_of(error)})
        return
    line = f"{place} {work.name}"
    if not how:
        seconds = time.perf_counter() - start
        pace.took(work.likeness, seconds)
        line += _scores(work, done)
        how = in_words(seconds) + left_in_words(pace.left(other.likeness for other in rest))
    # There are many few-shot samples: the last one logs a line for all.
    more = bool(rest) and work.is_sample and rest[0].likeness == work.likeness
    _tell(done, line, work.name, {"how": how}, logging.DEBUG if more else logging.INFO)


def _scores(work: _Work, done: Done) -> str:
    """Return the latest accuracies: of a classifier, or means over few-shot samples."""
    if work.cell is None or not done.results:
        return ""
    last, own = done.results[-1], done.results[-1:]
    if work.is_sample:
        likes = (work.cell.method, work.config.backbone)
        own = [one for one in done.results if (one.cell.method, one.cell.config.backbone) == likes]
    splits = [(split, f"{split}/accuracy") for split in ("val", "test")] + [("over folds", "cv_accuracy")]
    means = [(split, fmean(one.metrics[name] for one in own)) for split, name in splits if name in last.metrics]
    scores = ", ".join(f"{split} {mean:.4f}" for split, mean in means)
    over = f", mean of {len(own)} samples" if len(own) > 1 else ""
    return f": {scores}{over}" if scores else ""


def _do(work: _Work, done: Done) -> str:
    """Do the work, and return how it was done unless it was run now."""
    if isinstance(work.config, LongtailConfig):
        if not run_longtail(work.config):
            raise InputError("a method failed, see its run")
        return ""
    assert work.cell is not None
    run_id, reused = run_cell(work.config)
    done.results.append(_result(work.cell, run_id, reused))
    return FINISHED_BEFORE if reused else ""


def _share_out(works: Sequence[_Work], crew: Crew, done: Done) -> None:
    """Let workers do everything, with the features of a backbone before anything fitted on them."""
    first = works[0].config
    crew.check(first, prepare(first).dataset.digest)
    features: dict[str, Part] = {}
    parts: dict[str, Part] = {}
    by_part: dict[str, list[_Work]] = {}
    for work in works:
        made = _features_part(work.config, crew)
        if made is not None and made.key not in features:
            prepare(work.config)  # Warns about missing weights; workers leave that to this process.
            features[made.key] = made
        after = () if made is None else (made.key,)
        part = crew.part("comparison" if work.cell is None else "cell", work.config, after, _length(work.config))
        parts[part.key] = part
        by_part.setdefault(part.key, []).append(work)
    position, start = 0, time.perf_counter()
    for key, answer in crew.do([*features.values(), *parts.values()]):
        for work in by_part.get(key, ()):
            position += 1
            line, reused = f"[{position}/{len(works)}] {work.name}", answer.get("how") == FINISHED_BEFORE
            if work.cell is not None and "failed" not in answer:
                done.results.append(_result(work.cell, answer["run_id"], reused))
            if "failed" not in answer and not reused:
                left = (time.perf_counter() - start) / position * (len(works) - position)
                line += _scores(work, done)
                answer = {**answer, "how": answer["how"] + left_in_words(left)}
            _tell(done, line, work.name, answer)


def _length(config: FitHeadConfig | FinetuneConfig | LongtailConfig) -> int:
    """Return the relative length of a piece of work: 3 for training on images, 2 for many fits, 1 for one."""
    if _is_on_images(config):
        return 3
    return 2 if isinstance(config, LongtailConfig) or config.n_trials or getattr(config, "folds", 0) else 1


def _is_on_images(config: FeatureConfig) -> bool:
    return getattr(config, "train_layers", "fc") != "fc" or getattr(config, "augmentation", "none") != "none"


def _features_part(config: FeatureConfig, crew: Crew) -> Part | None:
    """Return the part that computes the features for a configuration; None if it works on images."""
    return None if _is_on_images(config) else crew.features(config)


def _result(cell: Cell, run_id: str, reused: bool) -> CellResult:
    run = get_run(run_id)
    return CellResult(cell, run.data.tags["weights"], dict(run.data.metrics), run_id, reused)


def _tell(done: Done, line: str, name: str, answer: dict[str, str], level: int = logging.INFO) -> None:
    if "failed" in answer:
        done.failures[name] = answer["failed"]
        logger.error("%s FAILED: %s", line, answer["failed"])
    else:
        logger.log(level, "%s (%s)", line, answer["how"])
