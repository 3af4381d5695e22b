"""Stage `robustness`: classifiers on corrupted test images, one nested run per classifier."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow import __version__
from resnet_mlflow.config import EXECUTION_ONLY, RobustnessConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.resizing import resize_shorter
from resnet_mlflow.robustness.figures import COLOURS, picture_grid_figure, severity_curves_figure, tier_bars_figure
from resnet_mlflow.robustness.selection import (
    CLEAN,
    CorruptedSet,
    build_cells,
    parse_corruptions,
    parse_severities,
    parse_tiers,
)
from resnet_mlflow.robustness.summary import Reference, TriedClassifier
from resnet_mlflow.robustness.sweep import ImagesUnderTest, corrupted_side
from resnet_mlflow.robustness.table import Metrics, build_table, to_markdown
from resnet_mlflow.stages.classifiers import RunClassifier
from resnet_mlflow.stages.crews import Crew, crew_of
from resnet_mlflow.stages.parents import parent_run
from resnet_mlflow.stages.preparation import digest_of
from resnet_mlflow.stages.robustness_runs import Trial, log_trial, try_classifier
from resnet_mlflow.stages.robustness_sources import (
    choose_runs,
    group_classifiers,
    load_classifiers,
    load_reference,
)
from resnet_mlflow.stages.robustness_sweeps import Sweep, choose_split
from resnet_mlflow.stages.robustness_workers import share_out
from resnet_mlflow.statistics import accuracy_interval
from resnet_mlflow.terminal import say
from resnet_mlflow.tracking import StageRun, connect

logger = logging.getLogger(__name__)

Tried = tuple[TriedClassifier, Metrics]


@dataclass(frozen=True)
class Plan:
    """The plan of a test: classifiers and corrupted test sets.

    Attributes:
        config: The given configuration.
        cells: The corrupted test sets.
        tiers: Severity of each tier.
        classifiers: The tested classifiers.
        names: Name of each classifier in tables, by the id of its run.
        split: The test images, or a sample of them.
        reference: Reference for errors; None if there is none, or if it is among the classifiers.
    """

    config: RobustnessConfig
    cells: tuple[CorruptedSet, ...]
    tiers: Mapping[str, int]
    classifiers: Sequence[RunClassifier]
    names: Mapping[str, str]
    split: ImageSplit
    reference: Reference | None


def run_robustness(config: RobustnessConfig, names: Mapping[str, str] | None = None, crew: Crew | None = None) -> bool:
    """Test classifiers under corruption; finished cells are not run again. Return True.

    Args:
        config: Classifiers and corruptions.
        names: Names of classifiers in tables, by the ids of their runs; seeds of one method share a name.
        crew: Existing workers.

    Raises:
        InputError: If a parameter breaks its rule, a classifier is not available, or the same test is already running.
    """
    tiers = parse_tiers(config.tiers)
    cells = build_cells(parse_corruptions(config.corruptions), parse_severities(config.severities, tiers))
    connect()
    plan = _plan(config, cells, tiers, names or {})
    sweeps = [Sweep.of(group, plan.split, config) for group in group_classifiers(plan.classifiers)]
    first = plan.classifiers[0]
    n = len(plan.classifiers)
    title = f"robustness {n} classifier{'s' if n > 1 else ''} {first.inputs.dataset.short_name}"
    kept = ("dataset", "dataset_digest", "n_skipped_images", "duplicates_across_splits")
    tags = {name: first.inputs.tags[name] for name in kept} | {
        "classifiers": n,
        "n_cells": len(cells),
        "n_images": len(plan.split),
        "seed": config.seed,
    }
    with parent_run("robustness", config, title, tags, _key(plan)) as run:
        with nullcontext(crew) if crew else crew_of(config, run.run_id) as workers:
            if workers:
                share_out(workers, run.run_id, config, cells, sweeps)
        tried = _try_all(plan, sweeps)
        markdown = _log_comparison(run, plan, sweeps[0].images, tried)
    say(markdown)
    return True


def _plan(
    config: RobustnessConfig, cells: tuple[CorruptedSet, ...], tiers: Mapping[str, int], names: Mapping[str, str]
) -> Plan:
    run_ids = choose_runs(config)
    classifiers = load_classifiers(run_ids, config)
    split, reference = choose_split(classifiers[0], config), None
    if config.reference_run and config.reference_run not in run_ids:
        digest = classifiers[0].inputs.dataset.digest
        reference = load_reference(config.reference_run, cells, split.item_ids, digest)
    titles = {run_id: names.get(run_id) or short_name(one) for run_id, one in zip(run_ids, classifiers, strict=True)}
    return Plan(config, cells, tiers, classifiers, _distinct(titles, classifiers), split, reference)


def short_name(classifier: RunClassifier) -> str:
    """Return a run's name without the parts common to all rows of a table, and without its seed."""
    name = classifier.name.removesuffix(f" s{classifier.run.data.tags.get('seed', '')}")
    # Earlier runs also have stage and dataset in their names.
    return name.removeprefix("fit_head ").removesuffix(f" {classifier.inputs.dataset.short_name}")


def _distinct(names: Mapping[str, str], classifiers: Sequence[RunClassifier]) -> dict[str, str]:
    """Return the names, with the run's id added if a name would have the same seed twice."""
    seeds = {one.run.info.run_id: one.run.data.tags.get("seed") for one in classifiers}
    pairs = [(name, seeds[run_id]) for run_id, name in names.items()]
    twice = {name for name, seed in pairs if pairs.count((name, seed)) > 1}
    return {run_id: f"{name} {run_id[:8]}" if name in twice else name for run_id, name in names.items()}


def _key(plan: Plan) -> str:
    config = plan.config.model_dump(exclude=set(EXECUTION_ONLY) | {"filter", "model", "runs"})
    return digest_of({"stage": "robustness", "config": config, "runs": sorted(plan.names), "version": __version__})


def _try_all(plan: Plan, sweeps: Sequence[Sweep]) -> list[Tried]:
    """Return all classifiers' results, each logged in its run once its group is done."""
    tried: list[Tried] = []
    reference = plan.reference
    # The reference for the others comes first.
    for sweep in sorted(sweeps, key=lambda sweep: not _holds(sweep, plan.config.reference_run)):
        members = sweep.group.classifiers
        rows = f"{len(plan.split):,} images, {len(members)} classifier{'s' if len(members) > 1 else ''}"
        logger.info("%s at %d px: %s", sweep.group.first.config.backbone, sweep.images.image_size, rows)
        results = sweep.run(plan.cells)
        own = {
            run_id: try_classifier(one, plan.names[run_id], sweep, results[run_id], plan.tiers)
            for one in members
            for run_id in [one.run.info.run_id]
        }
        if plan.config.reference_run in own:
            reference = own[plan.config.reference_run].reference
        for one in members:
            mine = own[one.run.info.run_id]
            log_trial(Trial(plan.config, sweep, one, mine, reference))
            tried.append((mine, mine.summary(reference)))
    return tried


def _holds(sweep: Sweep, run_id: str) -> bool:
    return any(one.run.info.run_id == run_id for one in sweep.group.classifiers)


def _log_comparison(run: StageRun, plan: Plan, images: ImagesUnderTest, tried: list[Tried]) -> str:
    table = build_table(tried)
    dataset = plan.classifiers[0].inputs.dataset
    markdown = to_markdown(table, f"Robustness on {dataset.short_name}", tried[0][0], _remarks(plan, images, tried))
    ordered = sorted(tried, key=lambda one: -one[1]["robustness/mean/accuracy"])
    picture, changed = example_pictures(images)
    path = dataset.relative_paths(images.split.select([0]))[0]
    with run.artifacts() as folder:
        (folder / "comparison.md").write_text(markdown)
        table.to_csv(folder / "comparison.csv", index=False)
        (folder / "figures").mkdir()
        for name, figure in (
            ("tiers", tier_bars_figure(ordered)),
            ("severity_curves", severity_curves_figure([one for one, _ in ordered[: len(COLOURS)]])),
            ("pictures", picture_grid_figure(picture, plan.cells, plan.tiers, changed, path)),
        ):
            figure.savefig(folder / "figures" / f"{name}.png")
    run.log_table(table, "comparison.json")
    run.log_note("\n\n".join([markdown, *plan.classifiers[0].inputs.remarks]))
    return markdown


def _remarks(plan: Plan, images: ImagesUnderTest, tried: list[Tried]) -> list[str]:
    where = f"{images.corruption_size} px" if images.corruption_size else "their own size"
    tables = " and ".join(map(str, images.resolutions))
    remarks = [f"Images are corrupted at {where}, with the constants for {tables} px."]
    n_all = len(plan.classifiers[0].inputs.dataset.splits["test"])
    if plan.config.max_images and len(plan.split) < n_all:
        share = tried[0][0].accuracy(CLEAN)
        low, high = accuracy_interval(round(share * n_all), n_all)
        remarks.append(
            f"A stratified sample of {len(plan.split):,} of {n_all:,} images: with all of them the clean interval "
            f"would be ± {(high - low) / 2:.3f}."
        )
    if plan.config.reference_run:
        remarks.append(f"Reference: run {plan.config.reference_run}.")
    return remarks


def example_pictures(images: ImagesUnderTest) -> tuple[NDArray[np.uint8], Callable[[CorruptedSet], NDArray[np.uint8]]]:
    """Return the first test image at the size of corruption, and a function that returns it under a cell."""
    pixels = images.split.read_image(0)[None]
    side = corrupted_side(min(pixels.shape[1:3]), images.corruption_size)

    def changed(cell: CorruptedSet) -> NDArray[np.uint8]:
        change = images.corrupting(cell)
        result: NDArray[np.uint8] = (pixels if change is None else change(pixels, np.array([0])))[0]
        return result

    return resize_shorter(pixels, side)[0], changed
