import hashlib
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_mlflow.backbones import weights as weights_module
from resnet_mlflow.backbones.recipes import request_of
from resnet_mlflow.backbones.weights import (
    checkpoint_folder,
    default_name,
    resolve_weights,
)
from resnet_mlflow.errors import InputError
from resnet_mlflow.files.digests import file_sha256
from resnet_mlflow.registry.backbones import BACKBONES


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))
    checkpoint_folder().mkdir(parents=True)
    return tmp_path / "torch-home"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of this machine refuses: what a machine without a network sees, whatever this one has.
    monkeypatch.setattr(weights_module, "_torchvision_url", lambda name: f"http://127.0.0.1:9/{name}")


def cached_weights(monkeypatch: pytest.MonkeyPatch, content: bytes, folder: Path | None = None) -> str:
    """Put a file where torchvision would, and make it the resnet18 file of the table; return its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    row = replace(BACKBONES["resnet18"], weights={"IMAGENET1K_V1": f"resnet18-{digest[:8]}.pth"})
    monkeypatch.setitem(BACKBONES._rows, "resnet18", row)
    ((folder or checkpoint_folder()) / f"resnet18-{digest[:8]}.pth").write_bytes(content)
    return digest


def test_weights_of_backbones_are_those_torchvision_names() -> None:
    import torchvision

    for name, row in BACKBONES.items():
        known = torchvision.models.get_model_weights(name)
        assert row.weights_class == known.__name__
        assert row.weights == {weight.name: weight.url.rpartition("/")[2] for weight in known}
        assert all(weights_module._torchvision_url(row.weights[weight.name]) == weight.url for weight in known)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_default_name_and_n_features_are_torchvisions(backbone: str) -> None:
    import torch
    import torchvision

    assert default_name(backbone) == torchvision.models.get_model_weights(backbone).DEFAULT.name
    with torch.device("meta"):
        assert torchvision.models.get_model(backbone).fc.in_features == BACKBONES[backbone].n_features


@pytest.mark.parametrize("asked", ["imagenet", "auto", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_resolve_weights_finds_the_cached_file(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = cached_weights(monkeypatch, b"the numbers")

    resolved = resolve_weights("resnet18", asked, 0)

    assert resolved.label == "ResNet18_Weights.IMAGENET1K_V1"
    assert resolved.digest == digest[:16]
    assert resolved.path is not None
    assert resolved.path.read_bytes() == b"the numbers"
    assert not resolved.fell_back


def test_resolve_weights_fetches_a_missing_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digest = cached_weights(monkeypatch, b"from afar", folder=tmp_path)
    monkeypatch.setattr(weights_module, "_torchvision_url", lambda name: (tmp_path / name).as_uri())

    resolved = resolve_weights("resnet18", "imagenet", 0)

    assert resolved.digest == digest[:16]
    assert [file.read_bytes() for file in checkpoint_folder().iterdir()] == [b"from afar"]


def test_resolve_weights_keeps_nothing_of_a_damaged_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached_weights(monkeypatch, b"from afar", folder=tmp_path)
    file = tmp_path / BACKBONES["resnet18"].weights["IMAGENET1K_V1"]
    file.write_bytes(b"from af")
    monkeypatch.setattr(weights_module, "_torchvision_url", lambda name: (tmp_path / name).as_uri())

    with pytest.raises(InputError, match="damaged download of resnet18-"):
        resolve_weights("resnet18", "imagenet", 0)
    assert list(checkpoint_folder().iterdir()) == []


def test_resolve_weights_refuses_a_damaged_cached_file(monkeypatch: pytest.MonkeyPatch) -> None:
    cached_weights(monkeypatch, b"the numbers")
    (checkpoint_folder() / BACKBONES["resnet18"].weights["IMAGENET1K_V1"]).write_bytes(b"the num")

    with pytest.raises(InputError, match=r"got a damaged resnet18-.*\.pth \(SHA-256 starts with"):
        resolve_weights("resnet18", "imagenet", 0)


@pytest.mark.usefixtures("no_network")
def test_resolve_weights_imagenet_without_network_fails_in_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(
        InputError,
        match=r"ResNet50_Weights.IMAGENET1K_V2 must be in .* or downloadable, got "
        ".*refused",
    ):
        resolve_weights("resnet50", "imagenet", 0)
    assert time.monotonic() - started < 10


def test_open_within_gives_up_on_a_silent_host() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises((TimeoutError, OSError), match=r"within|timed out"):
            weights_module._open_within(f"http://127.0.0.1:{silent.getsockname()[1]}/x", 0.3)


@pytest.mark.usefixtures("no_network")
def test_resolve_weights_auto_falls_back_to_random_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        resolved = resolve_weights("resnet34", "auto", 3)

    assert resolved.fell_back
    assert (resolved.label, resolved.seed, resolved.path) == ("random-standardized-seed3", 3, None)
    assert "using random weights instead (seed 3)" in caplog.text


def test_resolve_weights_tries_a_missing_file_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def address(name: str) -> str:
        attempts.append(name)
        return f"http://127.0.0.1:9/{name}"

    monkeypatch.setattr(weights_module, "_torchvision_url", address)
    for _ in range(3):
        resolve_weights("resnet101", "auto", 0)
    assert len(attempts) == 1


def test_resolve_weights_random_is_distinguished_by_its_seed() -> None:
    first, second = resolve_weights("resnet18", "random", 0), resolve_weights("resnet18", "random", 1)

    assert (first.label, second.label) == ("random-standardized-seed0", "random-standardized-seed1")
    # Its numbers are this project's own: no version of a library changes them.
    assert first.digest == first.label
    assert not first.fell_back


def test_resolve_weights_keeps_the_recipe_of_earlier_versions_by_name() -> None:
    earlier = resolve_weights("resnet18", "random:library", 3)
    assert (earlier.label, earlier.recipe) == ("random-seed3", "library")
    assert earlier.digest.startswith("random-seed3-torch2.")
    assert resolve_weights("resnet18", "random:standardized", 3) == resolve_weights("resnet18", "random", 3)
    for label in (earlier.label, "random-standardized-seed3"):
        assert resolve_weights("resnet18", request_of(label), 3).label == label


def test_resolve_weights_refuses_recipes_that_there_are_not() -> None:
    with pytest.raises(
        InputError, match=r"random weights must be one of random:standardized, random:library, got .*did"
    ):
        resolve_weights("resnet18", "random:standardised", 0)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_resolve_weights_digests_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"abc")

    resolved = resolve_weights("resnet18", str(path), 0)

    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (resolved.label, resolved.digest) == ("file:ba7816bf8f01", "ba7816bf8f01cfea")
    assert resolved.path == path


@pytest.mark.parametrize("address", ["runs:/0123abcd", "models:/birds/1", "models:/birds@champion"])
def test_resolve_weights_takes_artifacts_of_the_project(tmp_path: Path, address: str) -> None:
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(b"abc")
    asked = []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        return path

    assert resolve_weights("resnet18", address, 0, fetch).label == f"{address}#ba7816bf8f01"
    assert asked == [address]


@pytest.mark.parametrize(
    ("backbone", "asked", "message"),
    [
        ("resnet81", "random", "backbone must be one of resnet18, .*, got 'resnet81'; did you mean 'resnet18'"),
        ("resnet18", "imagnet", "weights of resnet18 must be one of .*, got 'imagnet'; did you mean 'imagenet'"),
        ("resnet18", "IMAGENET1K_V2", "weights of resnet18 must be one of auto, imagenet, IMAGENET1K_V1, random"),
        ("resnet18", "/nowhere/mine.pth", "weights must be an existing file, got /nowhere/mine.pth; check the path"),
        ("resnet18", "mine.tar", "weights must be an existing file, got mine.tar"),
        ("resnet18", "/", "weights must be a file, got the folder /; pass the file in it"),
        ("resnet18", "runs:/0123", "weights runs:/0123 need a tracking server"),
    ],
)
def test_resolve_weights_refuses_what_it_does_not_know(backbone: str, asked: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_weights(backbone, asked, 0)
    assert "\n" not in str(caught.value)


def test_weights_features_and_store_import_without_torch() -> None:
    code = (
        "import sys, resnet_mlflow.backbones.weights, resnet_mlflow.features.identity, resnet_mlflow.features.store;"
        "assert not {'torch', 'torchvision', 'sklearn', 'lightning_fabric'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
