"""Fine-tuning by several processes of torchrun: one run, the numbers of one process, and checkpoints of either."""

import os
import subprocess
import sys
from pathlib import Path

import forked
import mlflow
import numpy as np
import psutil
import pytest

PROJECT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
SMALL = ("--image_size", "16", "--weights", "random", "--precision", "fp32", "--epochs", "4")
# All of BatchNorm is frozen: the head alone is trained, on images that are cropped anew in each epoch.
FROZEN = (*SMALL, "--train_layers", "fc", "--augmentation", "crop", "--learning_rate", "0.01")


def history(run, metric):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return [value for _, value in sorted((point.step, point.value) for point in points)]


def finetune_runs():
    return mlflow.search_runs(search_all_experiments=True, output_format="list", order_by=["start_time"])


def start_ranks(*arguments, python):
    return subprocess.Popen(
        [python, *TORCHRUN, "entrypoints.finetune", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_ranks_that_are_killed_are_continued_by_one_process_with_equal_numbers(store, run_module, tmp_path):
    ranks = start_ranks(*FROZEN, python=sys.executable)  # whose children are its own, to be killed
    for line in ranks.stderr:
        if line.startswith("epoch 2:"):
            break
    for process in [*psutil.Process(ranks.pid).children(recursive=True), ranks]:
        process.kill()
    ranks.communicate()
    continued = run_module("finetune", *FROZEN)
    assert continued.returncode == 0, continued.stderr
    assert run_module("finetune", *FROZEN, RESNET_MLFLOW_CACHE=str(tmp_path / "other")).returncode == 0
    by_both, alone = finetune_runs()
    assert (by_both.info.status, alone.info.status) == ("FINISHED", "FINISHED")
    for metric in ("train/loss", "train/learning_rate", "val/accuracy", "val/loss", "test/accuracy", "test/nll"):
        np.testing.assert_allclose(history(by_both, metric), history(alone, metric), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_ranks_train_batchnorm_each_on_its_share_and_log_one_run(store):
    ranks = start_ranks(
        *SMALL, "--train_layers", "layer4", "--epochs", "2", "--batch_size", "64", python=forked.python()
    )
    said = ranks.communicate(timeout=300)[1]
    assert ranks.returncode == 0, said
    (run,) = finetune_runs()
    assert run.info.status == "FINISHED"
    assert history(run, "train/loss")[1] < history(run, "train/loss")[0]
    assert run.data.metrics["test/accuracy"] > 0.6
