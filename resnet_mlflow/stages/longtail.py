"""Stage `longtail`: long-tail methods, with one nested run per method and seed."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.longtail.figures import class_accuracy_figure, class_counts_figure, group_bars_figure
from resnet_mlflow.longtail.groups import group_classes
from resnet_mlflow.longtail.markdown import to_markdown
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.selection import method_parts, select_methods
from resnet_mlflow.longtail.table import MethodRun, build_table
from resnet_mlflow.process import reason_of
from resnet_mlflow.stages.crews import Crew, crew_of
from resnet_mlflow.stages.longtail_kinds import sources
from resnet_mlflow.stages.longtail_runs import (
    MethodTask,
    comparison_name,
    comparison_tags,
    find_finished,
    narrow,
    parse_prior,
    thresholds,
)
from resnet_mlflow.stages.parents import parent_run
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, prepare
from resnet_mlflow.terminal import in_words, left_in_words, say, within_larger_task
from resnet_mlflow.tracking import StageRun, connect, get_run

logger = logging.getLogger(__name__)


@dataclass
class Comparison:
    """Results of a comparison's runs so far."""

    runs: list[MethodRun] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def run_longtail(config: LongtailConfig) -> bool:
    """Run every method with every seed, except finished ones, and return whether all are finished.

    Raises:
        InputError: If a parameter breaks its rule, or the same comparison is running in another process.
    """
    methods = choose_methods(config)
    build_head(config.head, parse_head_params(config.head_params), config.seed)  # Refuses wrong parameters early.
    connect()
    inputs = prepare(config)
    if config.folds:
        from resnet_mlflow.stages.longtail_folds import cross_validate_methods

        return cross_validate_methods(config, inputs, methods)
    return _run_comparison(config, inputs, methods)


def choose_methods(config: LongtailConfig) -> list[str]:
    """Return the methods in a configuration, ``none`` first.

    Raises:
        InputError: If one is unknown, or does not apply to the head or to training on images.
    """
    methods = select_methods(config.methods, config.head)
    if config.train_layers == "fc":
        return methods
    off = [name for name in methods if not all(METHODS[part].on_images for part in method_parts(name))]
    named = {name.strip() for name in config.methods.split(",")}
    if refused := [name for name in off if name in named]:
        raise InputError(
            f"methods must work on images if train_layers is {config.train_layers}, got {refused[0]!r}, which makes "
            f"new features; pass train_layers=fc"
        )
    return [name for name in methods if name not in off]


def _run_comparison(config: LongtailConfig, inputs: Inputs, methods: Sequence[str]) -> bool:
    key = compute_cache_key("longtail", config, inputs)
    tags = comparison_tags(config, inputs, methods)
    with parent_run("longtail", config, comparison_name(config), tags, key) as run:
        with crew_of(config, run.run_id) as crew:
            refused = None if crew is None else _by_workers(crew, config, inputs, methods)
        comparison = _run_all(run, config, inputs, methods, refused or {}, by_workers=refused is not None)
        markdown = _log_comparison(run, config, inputs, comparison)
        if comparison.failures:
            n_all = len(methods) * len(config.all_seeds)
            run.failure = f"{len(comparison.failures)} of {n_all} runs failed"
    say(markdown)
    return not comparison.failures


def _by_workers(
    crew: Crew, config: LongtailConfig, inputs: Inputs, methods: Sequence[str]
) -> dict[tuple[str, int], str]:
    """Let workers run all methods and seeds; return the reasons for failures, by method and seed."""
    crew.check(config, inputs.dataset.digest)
    features = [crew.features(config)] if config.train_layers == "fc" else []
    after = tuple(part.key for part in features)
    named = {}
    for seed in config.all_seeds:
        for method in methods:
            part = crew.part("method", narrow(config, method, seed), after)
            named[part.key] = (method, seed, part)
    refused = {}
    for position, (key, answer) in enumerate(crew.do([*features, *(part for *_, part in named.values())])):
        if key not in named:
            continue
        method, seed, _ = named[key]
        name = f"[{position + 1 - len(features)}/{len(named)}] {method} s{seed}"
        if "failed" in answer:
            refused[method, seed] = answer["failed"]
            logger.error("%s FAILED: %s", name, answer["failed"])
        else:
            _log_score(name, get_run(answer["run_id"]).data.metrics, answer["how"])
    return refused


def run_method(config: LongtailConfig) -> str:
    """Return the id of the run of one method with one seed, which is created unless it has finished before.

    Args:
        config: Configuration narrowed to the method and the seed.
    """
    inputs = prepare(config)
    (source,) = sources(config, inputs)
    task = MethodTask(config, inputs, source.train_counts)
    return (find_finished(task) or source.run(task)).run_id


def _run_all(
    run: StageRun,
    config: LongtailConfig,
    inputs: Inputs,
    methods: Sequence[str],
    refused: Mapping[tuple[str, int], str],
    *,
    by_workers: bool,
) -> Comparison:
    comparison, n_all = Comparison(), len(methods) * len(config.all_seeds)
    for seed, source in zip(config.all_seeds, sources(config, inputs), strict=True):
        parse_prior(config.test_prior, source.train_counts)  # Refused before the first method runs.
        source.track(run)
        for method in methods:
            position = len(comparison.runs) + len(comparison.failures) + 1
            if (method, seed) in refused:
                comparison.failures[f"{method} s{seed}"] = refused[method, seed]
                continue
            task = MethodTask(narrow(config, method, seed), inputs, source.train_counts)
            with within_larger_task() if by_workers else nullcontext():  # their scores have been logged
                _run_task(task, source.run, comparison, f"[{position}/{n_all}] {method} s{seed}", n_all - position)
    return comparison


def _run_task(
    task: MethodTask, execute: Callable[[MethodTask], MethodRun], comparison: Comparison, name: str, n_left: int
) -> None:
    start = time.perf_counter()
    try:
        finished = find_finished(task)
        with within_larger_task():
            result = finished or execute(task)
    except Exception as error:  # One failing method must not stop the others; Ctrl-C passes.
        reason = reason_of(error)
        comparison.failures[f"{task.method} s{task.config.seed}"] = reason
        logger.error("%s FAILED: %s", name, reason)
        logger.debug("traceback", exc_info=not isinstance(error, InputError))
        return
    comparison.runs.append(result)
    seconds = time.perf_counter() - start
    how = "finished before" if finished else in_words(seconds) + left_in_words(n_left * seconds)
    _log_score(name, result.metrics, how)


def _log_score(name: str, metrics: Mapping[str, float], how: str) -> None:
    logger.info("%s: test balanced accuracy %.4f (%s)", name, metrics["test/balanced_accuracy"], how)


def _log_comparison(run: StageRun, config: LongtailConfig, inputs: Inputs, comparison: Comparison) -> str:
    if not comparison.runs:
        return "No run finished:\n\n" + "\n".join(f"- {name}: {why}" for name, why in comparison.failures.items())
    first, names = comparison.runs[0], inputs.dataset.class_names
    many, few = thresholds(config, first.train_counts)
    groups = group_classes(first.train_counts, many, few)
    sizes = {name: len(labels) for name, labels in groups.items()}
    table = build_table(comparison.runs, config.all_seeds, _held_out(config, inputs))
    markdown = to_markdown(table, _heading(config, inputs, first), sizes, config.all_seeds, comparison.failures)
    with run.artifacts() as folder:
        (folder / "comparison.md").write_text(markdown)
        table.to_csv(folder / "comparison.csv", index=False)
        (folder / "figures").mkdir()
        for name, figure in (
            ("class_counts", class_counts_figure(first.train_counts, names, groups)),
            ("class_accuracy", class_accuracy_figure(comparison.runs, names)),
            ("group_accuracy", group_bars_figure(comparison.runs, sizes)),
        ):
            figure.savefig(folder / "figures" / f"{name}.png")
    run.log_table(table, "comparison.json")
    run.log_note("\n\n".join([markdown, *inputs.remarks]))
    return markdown


def _held_out(config: LongtailConfig, inputs: Inputs) -> float:
    """Return the ratio of the images that each seed draws for validation to those left for training."""
    return 0.0 if "val" in inputs.dataset.splits else config.val_fraction / (1 - config.val_fraction)


def _heading(config: LongtailConfig, inputs: Inputs, first: MethodRun) -> str:
    counts = first.train_counts
    profile = "natural" if config.profile == "natural" else f"{config.profile}, factor {config.imbalance_factor:g}"
    return (
        f"Long tail on {inputs.dataset.short_name} ({profile}): {counts.sum():,} training images, "
        f"{counts.max():,} to {counts.min():,} per class; {config.backbone} ({inputs.weights.label})"
    )
