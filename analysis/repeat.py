"""A run, run again: are its numbers the same?"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.commands import command_of, typed_config
from resnet_mlflow.errors import InputError
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.tracking import create_repeat, get_run, load_predictions, reach_store, store_uri

# Other stages skip what has finished before, or have no predictions.
STAGES = ("fit_head", "finetune")
SPLITS = ("val", "test")
# Times and speeds are of the machine, not of the method.
COMPARED = ("val/", "test/", "train/")
PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Repetition:
    """A run and its repetition.

    Attributes:
        first: Id of the run.
        second: Id of its repetition.
        metrics: Both values of every metric that was compared; ``None`` where one run lacks it.
        digests: Digests of both runs' predictions and scores, by split.
        remarks: What may explain differences.
    """

    first: str
    second: str
    metrics: Mapping[str, tuple[float | None, float | None]]
    digests: Mapping[str, tuple[str, str]]
    remarks: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Return whether all metrics and predictions are equal, to the bit."""
        return all(one == other for one, other in [*self.metrics.values(), *self.digests.values()])

    def to_markdown(self) -> str:
        """Return what is equal and what is not."""
        differing = {name: pair for name, pair in self.metrics.items() if pair[0] != pair[1]}
        lines = [f"# Run {self.first}, repeated as {self.second}", ""]
        lines.append(f"{len(self.metrics) - len(differing)} of {len(self.metrics)} metrics are equal to the bit.")
        rows = [[name, str(first), str(second)] for name, (first, second) in differing.items()]
        lines += ["", *markdown_table(["metric", "then", "now"], rows)] if rows else []
        told = [[split, *pair, "same" if pair[0] == pair[1] else "differ"] for split, pair in self.digests.items()]
        lines += ["", *markdown_table(["predictions", "then", "now", ""], told)]
        lines += ["", *(f"- {remark}" for remark in self.remarks)] if self.remarks and not self.same else []
        return "\n".join([*lines, "", "The run repeats." if self.same else "The run does NOT repeat."])


def repeat(run_id: str) -> Repetition:
    """Run a run's entry point again with the same parameters, as a run beside it, and return how the two compare.

    Raises:
        InputError: If there is no such run, it cannot be repeated, or its repetition failed.
    """
    reach_store()
    run = get_run(run_id)
    stage = run.data.tags.get("stage", "")
    if stage not in STAGES or run.info.status != "FINISHED":
        raise InputError(
            f"a run must be a FINISHED one of {' or '.join(STAGES)} to be repeated, got run {run_id} "
            f"({stage or 'no stage of ours'}, {run.info.status}); other stages skip what has finished: run their "
            "command (see explain) on another store"
        )
    command = command_of(stage, typed_config(run_id))
    then = {split: predictions_digest(run_id, split) for split in SPLITS}
    again = create_repeat(run)
    environment = os.environ | {"MLFLOW_RUN_ID": again, "MLFLOW_TRACKING_URI": store_uri()}
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        environment.pop(name, None)
    environment["MLFLOW_EXPERIMENT_ID"] = run.info.experiment_id
    # Here, where relative paths mean what they meant; a checkout need not be installed.
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *command], env=environment, check=False)
    if done.returncode != 0:
        raise InputError(f"the repetition must end well to be compared, got exit code {done.returncode}, run {again}")
    other = get_run(again)
    digests = {split: (digest, predictions_digest(again, split)) for split, digest in then.items()}
    return Repetition(run_id, again, _metrics(run, other), digests, _remarks(run, other))


def predictions_digest(run_id: str, split: str) -> str:
    """Return 16 hexadecimal digits of a run's items, predictions and scores, whatever their order.

    Raises:
        InputError: If the run has no predictions of the split.
    """
    try:
        stored = load_predictions(run_id, "val" if split == "val" else "test")
    except (InputError, MlflowException, OSError) as error:
        raise InputError(
            f"a run must have predictions to be repeated, got run {run_id} without evaluation/{split}/"
            f"predictions.parquet ({str(error).splitlines()[0][:200]}); choose another"
        ) from None
    order = stored.item_ids.argsort(kind="stable")
    digest = hashlib.blake2b(digest_size=8)
    for part in (stored.item_ids, stored.predictions):
        digest.update("\n".join(part[order].tolist()).encode())
    digest.update(stored.scores[order].tobytes())
    return digest.hexdigest()


def _metrics(first: Run, second: Run) -> dict[str, tuple[float | None, float | None]]:
    then, now = first.data.metrics, second.data.metrics
    names = [name for name in sorted(then | now) if name.startswith(COMPARED)]
    return {name: (then.get(name), now.get(name)) for name in names}


def _remarks(first: Run, second: Run) -> tuple[str, ...]:
    """Return why the two may differ: other code, packages, machine, data or arithmetic."""
    tags = ("version", "mlflow.source.git.commit", "git_dirty", "environment", "dataset_digest", "features_key")
    then, now = first.data.tags, second.data.tags
    remarks = [f"{tag}: {then.get(tag)} then, {now.get(tag)} now" for tag in tags if then.get(tag) != now.get(tag)]
    hosts = [run.data.tags.get("worker", "").split(":")[0] for run in (first, second)]
    if hosts[0] != hosts[1]:
        remarks.append(f"machine: {hosts[0]} then, {hosts[1]} now; to the bit only the same machine repeats")
    if then.get("precision") != "fp32":
        remarks.append(f"precision {then.get('precision')}: to the bit only fp32 repeats")
    return tuple(remarks)
