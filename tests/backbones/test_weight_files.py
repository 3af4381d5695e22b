import argparse
import datetime
import gzip
import io
import pickle
import random
import sys
import tarfile
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weight_files import read_weights_file, tensors_in
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.errors import InputError


def pickled_model(path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)


def pickled_model_of_old(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False)


def object_beside(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(2)}, "rng": random.Random(0)}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": {"conv1.weight": np.zeros(3)}}))


def torch_script(path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but people have such files
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 8, 8)), str(path))


def onnx(path: Path) -> None:
    # The first fields of a file that torch.onnx wrote: ir_version 10, producer_name and producer_version.
    path.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x062.15.0:\xb4\x83\x05\n\x0f" + bytes(2000))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("resnet50.pth", b"numbers")


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("resnet50.pth")
        info.size = 7
        archive.addfile(info, io.BytesIO(b"numbers"))


def numpy_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{"conv1.weight": np.zeros(3)})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102530333\n"
NO_TENSORS = "a weights file must contain named tensors, got"
OTHERS = "a weights file must contain only tensors, got other objects in .*: "


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin", ""])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (pickled_model, OTHERS + "a whole pickled torch.nn.modules.container.Sequential, which would run code"),
        (pickled_model_of_old, OTHERS + "a whole pickled torch.nn.modules.linear.Linear, which would run code"),
        (object_beside, OTHERS + "random.Random besides the tensors"),
        (plain_pickle, f"{NO_TENSORS} a pickle not written by torch.save in"),
        (torch_script, f"{NO_TENSORS} a TorchScript program in .*; save torch.jit.load"),
        (onnx, f"{NO_TENSORS} an ONNX graph in .*; export"),
        (
            lambda path: path.write_bytes(LFS),
            f"{NO_TENSORS} a Git LFS pointer instead of the file itself in .*; run git lfs pull",
        ),
        (lambda path: path.write_text("\n <!DOCTYPE html><html>"), f"{NO_TENSORS} a web page in .*; download the file"),
        (lambda path: path.write_text("<?xml version='1.0'?><Error>"), f"{NO_TENSORS} a web page in"),
        (lambda path: path.write_text('{"message": "Not Found"}'), f'{NO_TENSORS} a text that begins \'{{"message"'),
        (lambda path: path.write_bytes(gzip.compress(b"x")), f"{NO_TENSORS} a gzip archive in .*; unpack it"),
        (zipped, f"{NO_TENSORS} a zip archive not written by torch.save in"),
        (tar, f"{NO_TENSORS} a tar archive in .*; unpack it"),
        (numpy_archive, f"{NO_TENSORS} an archive of NumPy arrays in"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), f"{NO_TENSORS} an HDF5 file, as Keras"),
        (lambda path: path.write_bytes(b""), "a weights file must be complete, got the empty"),
        (lambda path: path.write_bytes(bytes(999)), "a weights file must be complete"),
        (lambda path: torch.save({"epoch": 3}, path), f"{NO_TENSORS} none in"),
        (lambda path: torch.save(torch.zeros(3), path), f"{NO_TENSORS} something else in"),
        (
            lambda path: torch.save({"vit.w": torch.zeros(3)}, path),
            f"{NO_TENSORS} something else in .*: vit.w, ... are",
        ),
        (lambda path: path.mkdir(), "weights must be a file, got the folder"),
        (lambda path: None, "weights must be an existing file, got .*; check the path"),
    ],
)
def test_wrong_files_get_a_true_sentence(
    write: Callable[[Path], object], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    write(path)
    with pytest.raises(InputError, match=f"^{message}") as caught:
        build_backbone("resnet18", resolve_weights("resnet18", str(path), 0))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_of_other_kinds_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(LFS)
    with pytest.raises(InputError, match="a Git LFS pointer"):
        resolve_weights("resnet18", str(tmp_path / "mine.pth"), 0)


class Spy:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("content", [Spy(), {"state_dict": {"a": torch.zeros(1)}, "hook": Spy()}, [Spy()]])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_executed(content: object, zipped: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "mine.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"other objects in .*: .*builtins\.exec|other objects in .*: .*exec"):
        read_weights_file(tmp_path / "mine.pth")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_plain_containers_beside_the_tensors_are_read(new: bool, tmp_path: Path) -> None:
    content = {
        "args": argparse.Namespace(lr=0.1, output=Path("out"), nested=argparse.Namespace(a=[1])),
        "more": SimpleNamespace(a=1, when=datetime.datetime(2024, 1, 2, 3), took=datetime.timedelta(seconds=3)),
        "history": defaultdict(list, {"loss": [0.1]}),
        "last": deque([1, 2], maxlen=3),
        "place": PurePosixPath("a/b"),
        "score": np.float64(0.3),
        "rng": np.random.default_rng(0).random(3),
        "numpy_rng": np.random.RandomState(0).get_state(),
        "dtype": np.dtype("f4"),
        "classes": {"a", "b"},
        "fixed": frozenset({1}),
        "size": torch.Size([1, 2]),
        "state_dict": OrderedDict({"weight": torch.arange(3.0)}),
    }
    torch.save(content, tmp_path / "mine.ckpt", _use_new_zipfile_serialization=new)
    tensors = tensors_in(read_weights_file(tmp_path / "mine.ckpt"))
    assert list(tensors) == ["state_dict/weight"]
    assert torch.equal(tensors["state_dict/weight"], torch.arange(3.0))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize(
    ("module", "name"),
    [("pytorch_lightning.utilities.parsing", "AttributeDict"), ("fastcore.foundation", "L")],
)
def test_containers_of_packages_that_are_not_here_are_read_by_name(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(name, (dict,) if name == "AttributeDict" else (), {"__module__": module})
    parts = module.split(".")
    with monkeypatch.context() as here:
        for end in range(len(parts)):
            here.setitem(sys.modules, ".".join(parts[: end + 1]), ModuleType(module))
        setattr(sys.modules[module], name, kind)
        stored = kind({"lr": 0.1}) if name == "AttributeDict" else kind()
        if name == "L":
            stored.items = [{"lr": 0.1}]
        torch.save({"hyper_parameters": stored, "a": torch.zeros(1)}, tmp_path / "mine.ckpt")
    assert list(tensors_in(read_weights_file(tmp_path / "mine.ckpt"))) == ["a"]


def test_a_file_of_the_old_format_is_read(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.resnet18(weights=None).state_dict()
    torch.save({"state_dict": own}, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    loaded = build_backbone("resnet18", ResolvedWeights("", "", path=tmp_path / "old.tar")).state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in loaded.items())


def test_loaded_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(own, tmp_path / "mine.pth")
    loaded = build_backbone("resnet18", ResolvedWeights("", "", path=tmp_path / "mine.pth")).state_dict()
    (tmp_path / "mine.pth").write_bytes(b"")
    assert all(torch.equal(tensor, own[key]) for key, tensor in loaded.items())


def test_a_changed_file_has_a_new_digest(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"abc")
    first = resolve_weights("resnet18", str(path), 0)
    path.write_bytes(b"abd")
    assert resolve_weights("resnet18", str(path), 0).digest != first.digest
