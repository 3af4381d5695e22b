"""Temporary folders: gone with their process, also after a kill."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import forked
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.scratch import process_scratch, scratch_folder

PROJECT = Path(__file__).parents[1]
LEAVE = """
import os, sys, tempfile
from pathlib import Path
from resnet_mlflow.files.scratch import process_scratch, scratch_folder
with process_scratch(), scratch_folder() as folder:
    (folder / "file").write_text("x")
    Path(tempfile.mkdtemp(), "library").write_text("x")
    print("there", flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), 9)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start(how):
    command = [sys.executable, "-c", LEAVE, how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)


def test_process_scratch_removes_what_a_killed_process_left_and_nothing_else(place):
    with start("die") as killed:
        killed.wait(60)
    assert len(list(place.iterdir())) == 2
    other = place / "resnet-mlflow-of-somebody"
    other.mkdir()
    with start("wait") as living:
        assert living.stdout.readline() == "there\n"
        before = {path.name for path in place.iterdir()}
        assert len(before) == 3, "the killed process's folder is gone"
        with process_scratch() as folder:
            assert Path(tempfile.gettempdir()) == folder
            assert os.environ["TMPDIR"] == str(folder)
        assert {path.name for path in place.iterdir()} == before
        living.stdin.close()
    assert list(place.iterdir()) == [other]


def test_process_scratch_follows_no_links(place, tmp_path_factory):
    precious = tmp_path_factory.mktemp("precious")
    (precious / "file").write_text("mine")
    (place / "resnet-mlflow-evil").symlink_to(precious)
    (place / "resnet-mlflow-evil.alive").write_text("")
    (place / "resnet-mlflow-evil2.alive").symlink_to(precious / "file")
    with process_scratch():
        pass
    assert (precious / "file").read_text() == "mine"


@pytest.mark.parametrize("enter", [process_scratch, scratch_folder])
def test_scratch_is_refused_in_one_line(place, monkeypatch, enter):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    with pytest.raises(InputError, match="folder for temporary files must be writable and have free space"), enter():
        pass


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
import runpy
runpy.run_module("entrypoints.fit_head", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [20_000, 200_000])
def test_a_disk_that_is_full_is_reported_in_one_line(run_module, store, tmp_path, n_bytes):
    arguments = ("--head", "prototype", "--weights", "random", "--image_size", "16")
    assert run_module("fit_head", *arguments).returncode == 0
    ran = forked.run(["-c", FULL, str(n_bytes), *arguments], cwd=PROJECT)
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert (ran.returncode, len(lines)) == (2, 1), ran.stderr
    assert "must be writable and have free space" in lines[0]
    assert "Traceback" not in ran.stderr
