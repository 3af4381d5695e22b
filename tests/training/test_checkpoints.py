import logging
import os
import subprocess
from pathlib import Path

import forked
import pytest
import torch
from torch import nn

from resnet_mlflow.errors import InputError
from resnet_mlflow.training.checkpoints import load_checkpoint, load_trained_state, save_checkpoint, trained_state

PAYLOAD = {"fingerprint": "f", "history": [{"epoch": 1}], "weights": torch.arange(5.0)}


def test_load_checkpoint_returns_what_was_saved(tmp_path):
    path = tmp_path / "deeper" / "c.pt"
    save_checkpoint(path, PAYLOAD)
    loaded = load_checkpoint(path, "f")
    assert loaded["history"] == [{"epoch": 1}]
    assert torch.equal(loaded["weights"], torch.arange(5.0))
    assert [entry.name for entry in path.parent.iterdir()] == ["c.pt"]


def test_load_checkpoint_is_none_without_a_file(tmp_path, caplog):
    assert load_checkpoint(tmp_path / "c.pt", "f") is None
    assert not caplog.records


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_load_checkpoint_names_a_damaged_file(tmp_path, caplog, damage):
    path = tmp_path / "c.pt"
    save_checkpoint(path, PAYLOAD)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes({"truncated": content[:-100], "flipped": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, "f") is None
    assert f"{path} is damaged" in caplog.text


def test_load_checkpoint_refuses_another_fingerprint(tmp_path, caplog):
    save_checkpoint(tmp_path / "c.pt", PAYLOAD)
    assert load_checkpoint(tmp_path / "c.pt", "g") is None
    assert "another configuration" in caplog.text


def test_save_checkpoint_failing_keeps_the_previous_one(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, PAYLOAD)
    beside = path.with_name("c.pt.partial")
    beside.mkdir()  # stands for a place that cannot be written, which root would not notice
    with pytest.raises(InputError, match=r"checkpoints must be writable, got .*c\.pt .*; free space"):
        save_checkpoint(path, PAYLOAD)
    assert load_checkpoint(path, "f") is not None


def test_save_checkpoint_names_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be writable"):
        save_checkpoint(tmp_path / "file" / "c.pt", PAYLOAD)


def test_save_checkpoint_names_a_full_disk(tmp_path):
    (tmp_path / "c.pt.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"must be writable, got .*; free space"):
        save_checkpoint(tmp_path / "c.pt", PAYLOAD)
    assert not list(tmp_path.iterdir())


def test_trained_state_holds_trained_parameters_and_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    state = trained_state(model)
    assert sorted(state) == ["1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"]
    with torch.no_grad():
        model[1].weight.fill_(7)
    assert state["1.weight"].tolist() == [1, 1]
    load_trained_state(model, state)
    assert model[1].weight.tolist() == [1, 1]


def test_load_trained_state_refuses_unknown_names():
    with pytest.raises(InputError, match=r"must match its network, got unknown 'zebra'"):
        load_trained_state(nn.Linear(2, 2), {"zebra": torch.ones(1)})


STOPPED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import torch
from resnet_mlflow.process import listen_for_stop, raise_if_stopped, reason_of
from resnet_mlflow.training import checkpoints

class Stopping:
    def __init__(self, file):
        self.file, self.stopped = file, False
    def write(self, content):
        if not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGTERM)
        return self.file.write(content)

listen_for_stop()
save = torch.save
torch.save = lambda payload, file: save(payload, Stopping(file))
try:
    checkpoints.save_checkpoint(Path(sys.argv[1]), {"weights": torch.zeros(1000)})
except KeyboardInterrupt:
    sys.exit("the signal came through, which this test does not need")
except Exception as error:  # what torch makes of it
    try:
        reason_of(error)
    except KeyboardInterrupt:
        try:
            raise_if_stopped()
        except KeyboardInterrupt:
            sys.exit(130)
sys.exit("went on")
"""


def test_a_stop_while_a_checkpoint_is_written_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    # torch.save turns the exception of the signal into a RuntimeError of its own.
    ran = subprocess.run(
        [forked.python(), "-c", STOPPED_WHILE_WRITING, str(tmp_path / "last.ckpt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 130, ran.stderr
    assert not (tmp_path / "last.ckpt").exists()


class Exploding:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("content", [Exploding(), {"fingerprint": "f", "x": Exploding()}, [1, 2], torch.zeros(3)])
def test_load_checkpoint_runs_nothing_that_a_file_holds(tmp_path, monkeypatch, caplog, content):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "c.pt", content)
    assert load_checkpoint(tmp_path / "c.pt", "f") is None
    assert "contains something else; ignoring it" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
