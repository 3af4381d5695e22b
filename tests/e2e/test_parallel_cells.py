"""Studies whose cells are done by workers: the same runs and scores as by one process, whatever happens to workers."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import forked
import mlflow
import psutil
import pytest
import yaml
from mlflow_server import free_port, start_server, stop_server
from processes import start

PROJECT = Path(__file__).parents[2]
FEATURES = {"image_size": 16, "weights": "random", "precision": "fp32"}
STUDY = {
    "name": "small",
    "features": FEATURES,
    "seeds": [0, 1],
    "backbones": ["resnet18"],
    "heads": {"prototype": None, "linear": None},
    "tuning": {"knn": {"n_trials": 2}},
    "finetune": {"fc": {"train_layers": "fc", "epochs": 2}},
    "longtail": {"factor20": {"imbalance_factor": 20, "methods": "tau_norm"}},
    "few_shot": {"heads": ["prototype"], "shots": [1], "samples": 2},
    "robustness": {"quick": {"corruptions": "contrast", "severities": "3"}},
}
NOT_SCORES = ("time/", "throughput/", "system/")


def write_study(folder, **changes):
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return ("main", "--study", str(folder / "small.yaml"))


def tree():
    """Return status and scores of all runs by their stages and names, and those of their parents."""
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list", max_results=5000)
    names = {run.info.run_id: f"{run.data.tags.get('stage')} {run.info.run_name}" for run in runs}

    def path(run):
        parent = run.data.tags.get("mlflow.parentRunId")
        above = next((path(other) for other in runs if other.info.run_id == parent), ())
        return (*above, names[run.info.run_id])

    found = [
        (path(run), run.info.status, {k: v for k, v in run.data.metrics.items() if not k.startswith(NOT_SCORES)})
        for run in runs
    ]
    return sorted(found, key=lambda entry: (entry[:2], sorted(entry[2].items())))


@pytest.mark.slow
def test_workers_give_the_runs_and_scores_of_one_process(use_store, empty_store, run_module, tmp_path):
    arguments = write_study(tmp_path)
    found = {}
    for n_workers in (0, 2):
        folder = tmp_path / str(n_workers)
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        with use_store(folder) as uri:
            environment = {"MLFLOW_TRACKING_URI": uri, "RESNET_MLFLOW_CACHE": str(folder / "cache")}
            ran = run_module(*arguments, "--workers", str(n_workers), **environment)
            assert ran.returncode == 0, ran.stderr
            assert "[11/11]" in ran.stderr
            # Features are made by a cell that needs them, or before all cells.
            found[n_workers] = [entry for entry in tree() if not entry[0][-1].startswith("extract")]
    assert found[0] == found[2]
    assert {status for _, status, _ in found[2]} == {"FINISHED"}


@pytest.mark.slow
def test_a_comparison_by_workers_tells_each_thing_once(store, run_module, cache_dir):
    ran = run_module("longtail", "--methods", "tau_norm", "--head_params", "{epochs: 2}", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("no ImageNet weights") == 1
    scores = re.findall(r"\[\d/6\] (\S+ s\d): test balanced accuracy 0\.\d{4} \([\d.]+ s\)", ran.stderr)
    assert sorted(scores) == sorted(f"{method} s{seed}" for method in ("none", "tau_norm") for seed in range(3))


def start_study(arguments, **environment):
    return start("main", *arguments[1:], "--report_dir", "", **environment)


def workers_of(process):
    """Return the processes that do cells for a study."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def ends(process, workers):
    """Wait for a study that was stopped, and for its workers."""
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(worker.is_running() and worker.status() != "zombie" for worker in workers):
        assert time.monotonic() < deadline, "workers end with the study"
        time.sleep(0.2)


def check_cells(n_cells):
    """Check that every cell is there once, and that nothing counts as running."""
    runs = tree()
    finished = [path for path, status, _ in runs if status == "FINISHED"]
    assert len(finished) == len(set(finished)), "no cell is doubled"
    assert len([path for path in finished if path[-1].startswith("fit_head")]) == n_cells, "no cell is lost"
    assert {status for _, status, _ in runs} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_no_cell_is_lost_or_doubled_where_workers_and_the_study_are_killed(store, run_module, tmp_path, cache_dir):
    heads = {"prototype": None, "knn": {"k": 5}}
    few = {"heads": ["prototype"], "shots": [1, 2], "samples": 5}
    arguments = write_study(tmp_path, heads=heads, few_shot=few, tuning={}, finetune={}, longtail={}, robustness={})
    rng = random.Random(0)
    process = start_study((*arguments, "--workers", "3"))
    n_killed = 0
    for line in process.stderr:
        alive = workers_of(process)
        if line.startswith("[") and n_killed < 4 and alive:
            rng.choice(alive).kill()
            n_killed += 1
        elif n_killed == 4:
            break
    process.kill()
    ends(process, alive)
    ran = run_module(*arguments, "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    assert "finished before" in ran.stderr
    check_cells(14)


@pytest.mark.slow
def test_ctrl_c_ends_workers_in_order(store, tmp_path, cache_dir):
    arguments = write_study(tmp_path, tuning={"knn": {"n_trials": 100}}, longtail={}, robustness={})
    process = start_study((*arguments, "--workers", "2"))
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    workers = workers_of(process)
    process.send_signal(signal.SIGINT)
    ends(process, workers)
    assert process.returncode == 130
    assert {status for _, status, _ in tree()} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_a_study_that_runs_elsewhere_is_refused(store, tmp_path, cache_dir):
    tuning = {"knn": {"n_trials": 500}}
    arguments = write_study(
        tmp_path, heads={"prototype": None}, longtail={}, few_shot=None, finetune={}, tuning=tuning, robustness={}
    )
    process = start_study(arguments)
    for line in process.stderr:
        if line.startswith("[1/"):
            break
    command = [sys.executable, "-m", "entrypoints.main", *arguments[1:], "--report_dir", ""]
    if os.geteuid() == 0 and shutil.which("unshare"):
        # With a name of its own, a process number says nothing about processes here; only heartbeats do.
        command = ["unshare", "--uts", "sh", "-c", 'hostname another-host && exec "$@"', "sh", *command]
    second = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=200, check=False)
    during, goes_on = tree(), process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    assert second.returncode == 2, second.stderr
    (line,) = [line for line in second.stderr.splitlines() if line.startswith("error: ")]
    assert f"only one study small may run at a time, got {socket.gethostname()}:{process.pid} since 20" in line
    assert goes_on, "the first one was not disturbed"
    assert {status for path, status, _ in during if len(path) == 1} == {"RUNNING"}, "nobody ended it"
    assert len([path for path, _, _ in during if len(path) == 1]) == 1


@contextmanager
def cluster(*prefix):
    """A Dask scheduler on loopback and one worker, started with a prefix; gives the scheduler's address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": PROJECT}
    command = [forked.python(), "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
    scheduler = subprocess.Popen(command, **quiet)
    python = sys.executable if prefix else forked.python()  # one that is forked is where the first one is
    command = [python, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*prefix, *command, "--no-nanny"], **quiet)
    try:
        yield address
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(timeout=60)


def run_on(run_module, arguments, address, **environment):
    """Run an entry point on a cluster, once its worker is there."""
    for _ in range(30):
        ran = run_module(*arguments, "--scheduler", address, **environment)
        if "scheduler must" not in ran.stderr:
            break
        time.sleep(1)
    return ran


@pytest.mark.slow
def test_a_scheduler_that_is_there_is_used(store, run_module, tmp_path, cache_dir):
    arguments = write_study(tmp_path, longtail={}, tuning={}, robustness={})
    with cluster() as address:
        ran = run_on(run_module, arguments, address)
    assert ran.returncode == 0, ran.stderr
    runs = tree()
    assert {status for _, status, _ in runs} == {"FINISHED"}
    assert len([path for path, _, _ in runs if path[-1].startswith("fit_head")]) == 6
    assert {path[0].partition(" ")[2] for path, _, _ in runs} == {"study small"}


ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname another-host && exec "$@"', "sh")
needs_another_host = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="another host name takes root and unshare"
)


@pytest.mark.slow
@needs_another_host
def test_a_worker_elsewhere_extracts_and_tests_without_a_folder_in_common(run_module, store, tmp_path):
    given = tuple(part for name, value in FEATURES.items() for part in (f"--{name}", str(value)))
    alone = run_module("extract", *given, RESNET_MLFLOW_CACHE=str(tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    port = free_port()
    server = start_server(tmp_path, port, store=f"sqlite:///{tmp_path}/team.db")
    with cluster(*ELSEWHERE, "env", f"RESNET_MLFLOW_CACHE={tmp_path / 'theirs'}") as address:
        mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
        ours = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "RESNET_MLFLOW_CACHE": str(tmp_path / "ours")}
        try:
            ran = [run_on(run_module, ("extract", *given), address, **ours)]
            ran.append(run_module("fit_head", *given, "--head", "prototype", **ours))
            (fitted,) = mlflow.search_runs(filter_string="tags.stage = 'fit_head'", search_all_experiments=True).run_id
            test = ("--runs", fitted, "--corruptions", "contrast", "--severities", "3")
            ran.append(run_module("robustness", *test, "--scheduler", address, **ours))
            assert [one.returncode for one in ran] == [0, 0, 0], "".join(one.stderr for one in ran)
            (tested,) = mlflow.search_runs(
                filter_string="tags.classifier_run != ''", search_all_experiments=True, output_format="list"
            )
        finally:
            stop_server(server)
    assert 0 < tested.data.metrics["robustness/mean/accuracy"] < tested.data.metrics["robustness/clean/accuracy"]
    assert len(list(tmp_path.glob("theirs/robustness/*/*.npz"))) == 2, "the worker made them"
    assert len(list(tmp_path.glob("ours/robustness/*/*.npz"))) == 2, "and sent them"
    (made,) = tmp_path.glob("alone/features/*/train.features.npy")
    (brought,) = tmp_path.glob("ours/features/*/train.features.npy")
    assert made.read_bytes() == brought.read_bytes()


@pytest.mark.slow
@needs_another_host
def test_a_worker_that_cannot_reach_the_store_is_refused(store, run_module, tmp_path, cache_dir):
    with cluster(*ELSEWHERE) as address:
        ran = run_on(run_module, write_study(tmp_path), address)
    assert ran.returncode == 2, ran.stderr
    assert "a worker on another host needs a tracking store that it can reach, got sqlite:" in ran.stderr
    assert "at another-host:" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "-1"), "workers must be at least 0, got '-1'"),
        (("--scheduler", "here"), "must be an address such as tcp://host:8786"),
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), "workers must be 0 if a scheduler is given"),
        (("--scheduler", "tcp://127.0.0.1:1"), "scheduler must answer within"),
    ],
)
def test_workers_that_cannot_be_had_get_one_line(store, run_module, tmp_path, arguments, message):
    ran = run_module(*write_study(tmp_path), *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
