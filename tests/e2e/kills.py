"""Kills at random points of every stage: the same command then completes, with equal scores, and nothing is left.

``python tests/e2e/kills.py --kills 60`` is the whole; ``--new-stores 30`` kills in the first second of a new store.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "tests"))
import forked  # noqa: E402 - this file is a script too

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SMALL = ("--image_size", "16", "--weights", "random", "--precision", "fp32")
TRAINING = (*SMALL, "--train_layers", "layer4", "--epochs", "2", "--augmentation", "crop")
STAGES: dict[str, tuple[str, ...]] = {
    "extract": SMALL,
    "fit_head": (*SMALL, "--head", "linear"),
    "tuning": (*SMALL, "--head", "knn", "--n_trials", "6"),
    "finetune": TRAINING,
    "longtail": (*SMALL, "--imbalance_factor", "20", "--methods", "reweight_sqrt,tau_norm", "--seeds", "0"),
    "main": ("--study", "study.yaml", "--report_dir", ""),
    "promote": (),
    "robustness": ("--filter", "tags.stage = 'fit_head'", "--corruptions", "contrast", "--severities", "1"),
    "predict": ("--model", "models:/digits-classifier@champion", "--images", "images", "--output", "out.csv"),
}
SCRIPTS = {"tuning": "fit_head"}
STUDY = {
    "name": "small",
    "features": {"image_size": 16, "weights": "random", "precision": "fp32"},
    "backbones": ["resnet18"],
    "heads": {"prototype": None, "linear": None},
}
# Scores; times differ.
COMPARED = ("val/", "test/", "robustness/")


@dataclass
class Place:
    """A folder with a store, a cache and a folder for temporary files, each of which is looked at afterwards."""

    root: Path
    cache: str = ""

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return others | {
            "MLFLOW_TRACKING_URI": self.uri,
            "RESNET_MLFLOW_CACHE": self.cache or str(self.root / "cache"),
            "TMPDIR": str(self.root / "tmp"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
        }

    def start(self, stage: str) -> forked.Process:
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        (self.root / "study.yaml").write_text(yaml.safe_dump(STUDY))
        command = ["-m", f"entrypoints.{SCRIPTS.get(stage, stage)}", *STAGES[stage]]
        return forked.Process(command, cwd=self.root, env=self.environment)

    def run(self, stage: str) -> tuple[int, str, float]:
        """Run a stage to its end; gives the exit code, what it said and how long it took."""
        begun = time.monotonic()
        process = self.start(stage)
        said = process.communicate(timeout=600)[1]
        return process.returncode, said, time.monotonic() - begun

    def runs(self) -> list[mlflow.entities.Run]:
        client = mlflow.MlflowClient(tracking_uri=self.uri)
        experiments = [found.experiment_id for found in client.search_experiments()]
        return list(client.search_runs(experiments, max_results=1000))

    def scores(self) -> dict[str, dict[str, float]]:
        """The scores of finished runs by name."""
        return {
            run.info.run_name: {name: v for name, v in run.data.metrics.items() if name.startswith(COMPARED)}
            for run in self.runs()
            if run.info.status == "FINISHED" and run.data.tags.get("stage") != "trial"
        }

    def files(self) -> set[str]:
        """What lies in the cache, and the names of temporary files."""
        cache = {str(path.relative_to(self.root)) for path in (self.root / "cache").rglob("*") if path.is_file()}
        temporary = {str(path.relative_to(self.root)) for path in (self.root / "tmp").iterdir()}
        partial = {str(path.relative_to(self.root)) for path in self.root.glob(".*partial*")}
        # Locks are kept on purpose; the names of others are those of runs, or of studies in this store.
        return {name for name in cache if not name.endswith((".lock", ".writing"))} | temporary | partial


def copied(place: Place, root: Path) -> Place:
    """The same store, cache and files in another folder: paths in a store are absolute, hence the same name."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(place.root, root, symlinks=True)
    return Place(root)


def prepare(root: Path) -> Place:
    """A place with a fitted head, a champion and a folder of images: what later stages need."""
    place = Place(root)
    from PIL import Image

    (root / "images").mkdir(parents=True)
    for number in range(40):
        Image.new("RGB", (16, 16), (number, 2 * number, 3 * number)).save(root / "images" / f"{number}.png")
    for stage in ("fit_head", "promote"):
        code, said, _ = place.run(stage)
        assert code == 0, said
    return place


def kill_once(stage: str, base: Place, work: Path, moment: float, how: signal.Signals, undisturbed: dict) -> str:
    """Kill a stage at a share of its time and run it again; gives what is wrong, empty where nothing is."""
    fresh = stage in ("extract", "fit_head", "tuning", "finetune", "longtail", "main")
    shutil.rmtree(work, ignore_errors=True)
    if fresh:
        work.mkdir(parents=True)
        place = Place(work)
    else:
        place = copied(base, work)
    process = place.start(stage)
    time.sleep(moment * undisturbed[stage]["seconds"])
    process.send_signal(how)
    process.communicate(timeout=120)
    code, said, _ = place.run(stage)
    if code != 0:
        return f"exit code {code}: {said[-600:]}"
    wrong = []
    if place.scores() != undisturbed[stage]["scores"]:
        wrong.append(f"scores {place.scores()} instead of {undisturbed[stage]['scores']}")
    running = [run.info.run_name for run in place.runs() if run.info.status == "RUNNING"]
    if running:
        wrong.append(f"still RUNNING: {running}")
    left = {n for n in place.files() if not _is_like(n, undisturbed[stage]["files"])}
    if left:
        wrong.append(f"left behind: {sorted(left)}")
    return "; ".join(wrong)


def _is_like(name: str, known: set[str]) -> bool:
    return name in known or name.endswith(".journal") or name.startswith("cache/robustness/")


def reference(stage: str, base: Place, work: Path) -> dict:
    """What a stage comes to that nobody disturbs."""
    shutil.rmtree(work, ignore_errors=True)
    if stage in ("promote", "robustness", "predict"):
        place = copied(base, work)
    else:
        work.mkdir(parents=True)
        place = Place(work)
    code, said, seconds = place.run(stage)
    assert code == 0, said
    return {"seconds": seconds, "scores": place.scores(), "files": place.files()}


def kills(n_kills: int, seed: int, root: Path) -> list[str]:
    """Kill stages in turn; gives what went wrong, one line a kill."""
    rng = random.Random(seed)
    work = root / "work"
    base_at_work = prepare(work)
    base = Place(root / "base")
    shutil.move(base_at_work.root, base.root)
    stages = list(STAGES)[: n_kills if n_kills < len(STAGES) else None]
    undisturbed = {stage: reference(stage, base, work) for stage in stages}
    wrong = []
    for number in range(n_kills):
        stage, how = stages[number % len(stages)], SIGNALS[number // len(stages) % len(SIGNALS)]
        moment = rng.uniform(0.1, 1.0)
        found = kill_once(stage, base, work, moment, how, undisturbed)
        text = f"{number + 1}/{n_kills} {stage} {how.name} at {moment:.2f}: {found or 'completed, equal, nothing left'}"
        print(text, flush=True)
        wrong += [text] if found else []
    return wrong


def new_stores(n_kills: int, seed: int, root: Path) -> list[str]:
    """Kill a process in the first second in which it makes a store; gives what went wrong, one line a kill."""
    rng = random.Random(seed)
    wrong = []
    for number in range(n_kills):
        shutil.rmtree(root / "new", ignore_errors=True)
        place = Place(root / "new", str(root / "shared"))  # Features are made once.
        place.root.mkdir(parents=True)
        how = SIGNALS[number % len(SIGNALS)]
        process = place.start("extract")
        while process.poll() is None and not any(place.root.glob("*mlflow.db*")) and not any(place.root.glob(".*db*")):
            time.sleep(0.001)
        moment = rng.uniform(0, 1.0)
        time.sleep(moment)
        process.send_signal(how)
        process.communicate(timeout=120)
        code, said, _ = place.run("extract")
        running = [run for run in place.runs() if run.info.status == "RUNNING"] if code == 0 else []
        left = [path.name for path in place.root.iterdir() if "partial" in path.name or "half" in path.name]
        left += [path.name for path in (place.root / "tmp").iterdir()]
        text = f"{number + 1}/{n_kills} new store, {how.name} after {moment:.2f} s: exit code {code}, left {left}"
        print(text, flush=True)
        if code or running or left:
            wrong.append(f"{text} {said[-300:]}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--new-stores", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = kills(given.kills, given.seed, Path(folder)) if given.kills else []
        wrong += new_stores(given.new_stores, given.seed, Path(folder)) if given.new_stores else []
    n = given.kills + given.new_stores
    print(json.dumps({"kills": n, "right": n - len(wrong), "wrong": wrong}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
