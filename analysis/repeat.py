"""A repeated run: whether its numbers agree, and to how many digits."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.commands import command_of, typed_config
from analysis.resampling import refuse_divided
from analysis.sameness import (
    MOST_DIGITS,
    STATED_DIGITS,
    Sameness,
    SplitDifference,
    classify,
    compare_predictions,
    expected,
    shared_digits,
)
from resnet_mlflow.backbones.recipes import RANDOM, request_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.tracking import Predictions, create_repeat, get_run, load_predictions, reach_store, store_uri

# Other stages skip work that has already finished, or have no predictions.
STAGES = ("fit_head", "finetune")
SPLITS = ("val", "test")
# Times and speeds are properties of the machine, not of the method.
COMPARED = ("val/", "test/", "train/")
TELLING = (
    "version",
    "mlflow.source.git.commit",
    "git_dirty",
    "environment",
    "processor",
    "precision",
    "dataset_digest",
    "features_key",
)
PROJECT = Path(__file__).parents[1]


FOUND = {
    Sameness.BIT: "bit-identical",
    Sameness.DIGITS: "equal to {digits} digits",
    Sameness.DIFFERS: "differs",
}
PROMISED = {
    Sameness.BIT: "bit-identical (fp32, one machine)",
    Sameness.DIGITS: f"equal to {STATED_DIGITS} digits (fp32, any machine)",
    Sameness.DIFFERS: "nothing (bf16 or int8, or trained by gradient descent on another machine)",
}


@dataclass(frozen=True)
class Repetition:
    """A run and its repetition.

    Attributes:
        first: Id of the run.
        second: Id of its repetition.
        metrics: Both values of every compared metric; ``None`` if one run lacks it.
        splits: Differences between predictions, by split.
        expected: The degree of agreement that their precision and machines promise.
        remarks: Possible explanations of differences.
    """

    first: str
    second: str
    metrics: Mapping[str, tuple[float | None, float | None]]
    splits: Mapping[str, SplitDifference]
    expected: Sameness
    remarks: tuple[str, ...] = ()

    @property
    def found(self) -> Sameness:
        """Return the degree of agreement that was found."""
        return classify(self.metrics, self.splits)[0]

    @property
    def same(self) -> bool:
        """Return whether the run was reproduced: bit-identical, or to the stated digits if no more is promised."""
        return self.found is Sameness.BIT or (self.found is Sameness.DIGITS and self.expected < Sameness.BIT)

    def to_markdown(self) -> str:
        """Return the degree of agreement, what agrees and what does not, as Markdown."""
        digits = classify(self.metrics, self.splits)[1]
        differing = {name: pair for name, pair in self.metrics.items() if shared_digits([pair]) < MOST_DIGITS}
        lines = [f"# Run {self.first}, repeated as {self.second}", ""]
        lines.append(f"{len(self.metrics) - len(differing)} of {len(self.metrics)} metrics are bit-identical.")
        rows = [[name, *map(str, pair), str(shared_digits([pair]))] for name, pair in differing.items()]
        lines += ["", *markdown_table(["metric", "then", "now", "equal digits"], rows)] if rows else []
        rows_shown = [[split, *_row(difference)] for split, difference in self.splits.items()]
        lines += ["", *markdown_table(["predictions", "images that changed", "largest change of a score"], rows_shown)]
        lines += ["", *(f"- {remark}" for remark in self.remarks)] if self.remarks and self.found < Sameness.BIT else []
        verdict = "The run was reproduced." if self.same else "The run was NOT reproduced."
        classes = f"Found: {FOUND[self.found].format(digits=digits)}. Promised: {PROMISED[self.expected]}."
        return "\n".join([*lines, "", f"{classes} {verdict}"])


def _row(difference: SplitDifference) -> list[str]:
    changed = f"{difference.n_changed} of {difference.n_items}"
    return [changed, "other items" if math.isnan(difference.score) else f"{difference.score:.2g}"]


def repeat(run_id: str) -> Repetition:
    """Run a run's entry point again with the same parameters, as a new run, and return the comparison of the two.

    Raises:
        InputError: If there is no such run, it cannot be repeated, or its repetition failed.
    """
    reach_store()
    run = get_run(run_id)
    stage = run.data.tags.get("stage", "")
    if stage not in STAGES or run.info.status != "FINISHED":
        raise InputError(
            f"a run must be a FINISHED one of {' or '.join(STAGES)} to be repeated, got run {run_id} "
            f"({stage or 'no stage of ours'}, {run.info.status}); other stages skip finished work: run their command "
            f"(see explain) on another store"
        )
    refuse_divided(run, "repeat", "run its command (see explain) on another store")
    command = command_of(stage, typed_config(run_id) | _recipe_of_then(run))
    then = {split: _predictions(run_id, split) for split in SPLITS}
    again = create_repeat(run)
    environment = os.environ | {"MLFLOW_RUN_ID": again, "MLFLOW_TRACKING_URI": store_uri()}
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        environment.pop(name, None)
    environment["MLFLOW_EXPERIMENT_ID"] = run.info.experiment_id
    # In the current folder, where relative paths have the same meaning; a checkout need not be installed.
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *command], env=environment, check=False)
    if done.returncode != 0:
        raise InputError(f"the repetition must finish to be compared, got exit code {done.returncode}, run {again}")
    return compare_repeated(run, get_run(again), then, {split: _predictions(again, split) for split in SPLITS})


def _recipe_of_then(run: Run) -> dict[str, str]:
    """Return the weights to use if the run had random ones of a recipe that has since changed."""
    request = request_of(run.data.tags.get("weights", ""))
    return {} if request in ("", RANDOM) else {"weights": request}


def compare_repeated(
    first: Run, second: Run, then: Mapping[str, Predictions], now: Mapping[str, Predictions]
) -> Repetition:
    """Return the comparison of a run and its repetition.

    Args:
        first: The run.
        second: Its repetition.
        then: Predictions of the run, by split.
        now: Predictions of its repetition, by split.
    """
    splits = {split: compare_predictions(then[split], now[split]) for split in then}
    precisions = [run.data.tags.get("precision") for run in (first, second)]
    promised = expected(precisions, one_machine=_one_machine(first, second), descends=_descends(first))
    run_ids = first.info.run_id, second.info.run_id
    return Repetition(*run_ids, _metrics(first, second), splits, promised, _remarks(first, second))


def _descends(run: Run) -> bool:
    """Return whether a run trained something by gradient descent: a fine-tuning, or a head with epochs."""
    params = run.data.params
    return "train_layers" in run.data.tags or ("head.epochs" in params and params.get("head.solver", "sgd") == "sgd")


def _predictions(run_id: str, split: str) -> Predictions:
    try:
        return load_predictions(run_id, "val" if split == "val" else "test")
    except (InputError, MlflowException, OSError) as error:
        raise InputError(
            f"a run must have predictions to be repeated, got run {run_id} without evaluation/{split}/"
            f"predictions.parquet ({str(error).splitlines()[0][:200]}); choose another"
        ) from None


def _metrics(first: Run, second: Run) -> dict[str, tuple[float | None, float | None]]:
    then, now = first.data.metrics, second.data.metrics
    names = [name for name in sorted(then | now) if name.startswith(COMPARED)]
    return {name: (then.get(name), now.get(name)) for name in names}


def _one_machine(first: Run, second: Run) -> bool:
    """Return whether two runs had the same machine and threads; earlier versions recorded only the machine."""
    tags = [run.data.tags for run in (first, second)]
    hosts = {own.get("worker", "").split(":")[0] for own in tags}
    return len(hosts) == 1 and len({own["processor"] for own in tags if "processor" in own}) < 2


def _remarks(first: Run, second: Run) -> tuple[str, ...]:
    """Return possible reasons for differences: other code, packages, machine, data or arithmetic."""
    then, now = first.data.tags, second.data.tags
    remarks = [f"{tag}: {then.get(tag)} then, {now.get(tag)} now" for tag in TELLING if then.get(tag) != now.get(tag)]
    hosts = [run.data.tags.get("worker", "").split(":")[0] for run in (first, second)]
    if hosts[0] != hosts[1]:
        remarks.append(f"machine: {hosts[0]} then, {hosts[1]} now")
    remarks += [
        f"{precision} results are not reproducible, because processors round differently; fp32 results are "
        "(precision=fp32)"
        for precision in ("bf16", "int8")
        if precision in (then.get("precision"), now.get("precision"))
    ]
    return tuple(remarks)
