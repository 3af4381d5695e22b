"""Stored heads: ours come back, and whatever else lies in a file is neither built nor called."""

import functools
import importlib
import json
import os
import pickle
import pkgutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

import resnet_mlflow
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import HEADS, build_head
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.storage import head_types, read_head
from resnet_mlflow.longtail.adjusted import adjust

X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
Y = np.arange(60) % 3
VARIANTS = [
    ("svm", {}),
    ("svm", {"kernel": "linear", "loss": "squared_hinge"}),
    ("svm", {"class_weight": {0: 1.0, 1: 2.0, 2: 1}}),
    ("knn", {}),
    ("mlp", {"epochs": 1}),
    ("prototype", {"metric": "cosine"}),
    ("linear", {}),
]


def fitted(name="prototype", **params):
    return build_head(name, params, seed=0).fit(X, Y, X[:9], Y[:9])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.skops"


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_read_head_returns_what_was_stored(path, name, params):
    head = fitted(name, **params).calibrate(X, Y)
    for stored in (head, adjust(head, [0.0, 1.0, 2.0])):
        skops.io.dump(stored, path)
        np.testing.assert_array_equal(read_head(path).predict_proba(X), stored.predict_proba(X))


def test_head_types_are_the_heads_of_the_package_and_nothing_else():
    for module in pkgutil.walk_packages(resnet_mlflow.__path__, "resnet_mlflow."):
        if module.name.startswith(("resnet_mlflow.heads", "resnet_mlflow.longtail")):
            importlib.import_module(module.name)

    def below(kind):
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    concrete = {kind for kind in below(HeadBase) if "_logits" in vars(kind) or "logits" in vars(kind)} - {HeadBase}
    ours = {
        f"{kind.__module__}.{kind.__qualname__}" for kind in concrete if kind.__module__.startswith("resnet_mlflow")
    }
    assert ours == set(head_types())
    assert len(HEADS) == len(head_types()) - 1


class Planted:
    """A type that is not this project's; its attributes are what a bomb needs."""

    def __init__(self, part):
        self.part = part


def in_a_head(part):
    head = fitted()
    head.planted = part
    return head


BOMBS = {
    "a foreign type": lambda: Planted(1),
    "a foreign type in a head": lambda: in_a_head(Planted(1)),
    "a call of the system": lambda: functools.partial(os.system, "touch exploded"),
    "a call of the system in a head": lambda: in_a_head(functools.partial(os.system, "touch exploded")),
    "a function of ours": lambda: in_a_head(read_head),
    "a type of ours that is no head": lambda: in_a_head(InputError),
    "a method": lambda: in_a_head(fitted().predict),
    "an estimator that our heads do not use": lambda: in_a_head(FunctionTransformer(np.exp)),
    "an estimator in the place of a head": lambda: LogisticRegression().fit(X, Y),
    "a function of numpy": lambda: in_a_head(np.exp),
    "raw bytes": lambda: in_a_head(b"text"),
    "a random generator": lambda: in_a_head(np.random.default_rng(0)),
    "an array in the place of a head": lambda: X,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_read_head_builds_nothing_but_heads(path, monkeypatch, kind):
    monkeypatch.chdir(path.parent)
    skops.io.dump(BOMBS[kind](), path)
    with pytest.raises(InputError, match=r"own types, got") as refused:
        read_head(path)
    assert "\n" not in str(refused.value)
    assert list(path.parent.iterdir()) == [path]


class Exploding:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def rewritten(path, change):
    """Store a head whose schema is changed."""
    skops.io.dump(fitted(), path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = change(json.loads(content.pop("schema.json")))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr("schema.json", schema if isinstance(schema, str) else json.dumps(schema))


def deep(schema):
    return json.dumps(schema)[:-1] + ', "deep": ' + "[" * 5000 + "]" * 5000 + "}"


def test_read_head_refuses_files_that_are_none(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    contents = [b"", b"no zip", pickle.dumps(Exploding()), b"PK\x05\x06" + 18 * b"\0"]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="own types"):
            read_head(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="own types"):
        read_head(path)
    path.rmdir()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match="own types"):
        read_head(path)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema | {"protocol": 0, "__loader__": "FunctionNode"},
        lambda schema: schema | {"protocol": 10**6},
        lambda schema: schema | {"__class__": "os.system"},
        lambda schema: schema | {"__class__": None, "__module__": None},
        lambda schema: {},
        lambda schema: [],
        lambda schema: "null",
        deep,
        lambda schema: schema | {"many": [0] * 200_000},
    ],
)
def test_read_head_refuses_changed_schemas(path, change):
    rewritten(path, change)
    with pytest.raises(InputError, match="own types") as refused:
        read_head(path)
    assert len(str(refused.value)) < 500


def test_read_head_refuses_a_small_file_that_grows(path):
    head = fitted("knn")
    head.planted = np.zeros(2**20)
    skops.io.dump(head, path, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"got \d+ bytes packed into"):
        read_head(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head: setattr(head, "n_features_in_", 10**12),
        lambda head: setattr(head, "n_features_in_", "8"),
        lambda head: setattr(head, "classes_", np.arange(2)),
        lambda head: setattr(head, "temperature_", "hot"),
        lambda head: setattr(head, "temperature_", 0.0),
        lambda head: vars(head).update(preprocessing="standardize", scale_=np.zeros(3)),
        lambda head: delattr(head, "classes_"),
        lambda head: head.__dict__.clear(),
    ],
)
def test_read_head_refuses_a_head_that_cannot_answer(path, spoil):
    head = fitted()
    spoil(head)
    skops.io.dump(head, path)
    with pytest.raises(InputError, match="own types, got a damaged one"):
        read_head(path)
