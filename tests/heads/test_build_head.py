"""Heads by name, and parameters from YAML."""

import subprocess
import sys
from typing import Any

import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head, describe_params, head_class, parse_head_params
from resnet_mlflow.registry.heads import HEADS


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("svm", {"C": 9, "kernel": "rbf", "gamma": "scale"}),
        ("knn", {"k": 3, "metric": "euclidean", "weights": "uniform", "T": 0.07}),
        ("mlp", {"hidden": 512, "dropout": 0.5, "learning_rate": 1e-3, "epochs": 50, "seed": 7}),
        ("prototype", {"metric": "euclidean", "preprocessing": "none"}),
        ("linear", {"solver": "lbfgs", "C": 1, "max_iter": 1000, "seed": 7}),
    ],
)
def test_build_head_gives_the_protocols_defaults(name: str, defaults: dict[str, Any]) -> None:
    params = build_head(name, {}, seed=7).get_params()
    assert {key: params[key] for key in defaults} == defaults


@pytest.mark.parametrize("name", HEADS)
def test_constraints_cover_every_parameter(name: str) -> None:
    assert set(head_class(name)._parameter_constraints) == set(head_class(name)().get_params())


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("svn", {}, r"^head must be one of svm, knn, mlp, prototype, linear, got 'svn'; did you mean 'svm'\?$"),
        (
            "svm",
            {"C": -1},
            r"^C of svm must be a float in the range \(0\.0, inf\), got -1; valid parameters: .*kernel: linear",
        ),
        (
            "svm",
            {"kernal": "rbf"},
            r"got 'kernal'; did you mean 'kernel'\?; valid parameters: .*C: a float in the range",
        ),
        ("svm", {"kernel": "cosine"}, r"kernel of svm must be linear \| poly \| rbf \| sigmoid, got 'cosine'"),
        ("svm", {"C": True}, "got True"),
        ("knn", {"k": 2.5}, r"k of knn must be an int in the range \[1, inf\), got 2.5"),
        ("knn", {"k": 0}, "got 0"),
        ("mlp", {"dropout": 1.0}, r"dropout of mlp must be a float in the range \[0\.0, 1\.0\), got 1.0"),
        ("mlp", {"seed": 3}, "got 'seed'"),
        ("mlp", {"class_weight": "even"}, "class_weight of mlp must be balanced or a mapping of labels to weights or"),
        ("linear", {"solver": "newton"}, r"solver of linear must be lbfgs \| sgd, got 'newton'"),
        ("linear", {"C": float("nan")}, "C of linear must be"),
        ("prototype", {"C": 1}, "head_params of prototype must be among its parameters, got 'C'; valid parameters:"),
    ],
)
def test_build_head_refuses_in_one_line(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_head(name, params, seed=0)
    assert "\n" not in str(caught.value)


def test_describe_params_leaves_the_seed_out() -> None:
    assert "seed" not in describe_params(head_class("mlp"))
    assert describe_params(head_class("svm"))["gamma"] == "auto | scale or a float in the range (0.0, inf)"


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("{}", {}),
        ("{C: 1, kernel: linear}", {"C": 1, "kernel": "linear"}),
        ("C: 1e-2", {"C": 0.01}),
        ("{C: 1E3, gamma: .5e+1}", {"C": 1000.0, "gamma": 5.0}),
        ("class_weight: {0: 1e-1, cat: 2}", {"class_weight": {0: 0.1, "cat": 2}}),
        ("kernel: e5", {"kernel": "e5"}),
        ("class_weight: null", {"class_weight": None}),
    ],
)
def test_parse_head_params_reads_yaml(text: str, params: dict[str, Any]) -> None:
    assert parse_head_params(text) == params


@pytest.mark.parametrize("text", ["[1, 2]", "rbf", "3", "{C: 1", "a: b: c", "!!python/object:os.system {}"])
def test_parse_head_params_refuses_other_text_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="head_params must be") as caught:
        parse_head_params(text)
    assert "\n" not in str(caught.value)


WITHOUT_TORCH = """
import sys
import numpy as np
from resnet_mlflow.heads import build_head
X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
y = np.arange(60) % 3
for name in ("svm", "knn", "prototype", "linear"):
    build_head(name, {}, seed=0).fit(X, y).calibrate(X, y).predict_proba(X)
loaded = {"torch", "torchvision", "captum", "matplotlib", "mlflow"} & set(sys.modules)
assert not loaded, loaded
"""


def test_heads_that_need_no_gradients_import_no_torch() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True)
