import logging
import subprocess
import sys

import pytest

from resnet_mlflow import terminal
from resnet_mlflow.study.pace import Pace

SCRIPT = """
import logging
from resnet_mlflow import terminal
terminal.start_logging()
ours, theirs = logging.getLogger("resnet_mlflow.stages"), logging.getLogger("fontTools.subset")
theirs.info("noise")
ours.info("cell 1")
with terminal.within_larger_task():
    ours.info("epoch 1")
    ours.warning("an image is damaged")
    terminal.say("a part's table")
ours.debug("details")
terminal.say("the table")
"""


@pytest.mark.parametrize(
    ("verbose", "err", "out"),
    [
        ("0", "cell 1\nan image is damaged\n", "the table\n"),
        ("1", "cell 1\nepoch 1\nan image is damaged\ndetails\n", "a part's table\nthe table\n"),
    ],
)
def test_parts_are_quiet_unless_everything_is_asked_for(verbose, err, out, monkeypatch):
    monkeypatch.setenv(terminal.VERBOSE, verbose)
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert (ran.stderr, ran.stdout) == (err, out)


def test_bars_stay_out_of_log_files(capfd):
    with terminal.progress(3, "epochs", "training") as bar:
        bar.update()
    assert capfd.readouterr().err == ""
    assert logging.getLogger("resnet_mlflow").level == logging.NOTSET


def test_pace_takes_the_closest_likeness():
    pace = Pace()
    for seconds in (1.0, 3.0, 2.0):
        pace.took(("svm resnet18", "svm", "1", ""), seconds)
    pace.took(("finetune all resnet18", "finetune all", "3", ""), 60.0)
    assert pace.left([("svm resnet18", "svm", "1", "")] * 2) == 4.0
    assert pace.left([("svm resnet50", "svm", "1", "")]) == 2.0
    assert pace.left([("finetune layer4 resnet50", "finetune layer4", "3", "")]) == 60.0
    assert pace.left([]) == 0.0
