"""Heads as graphs for other runtimes: what they say of features is what the heads say."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from resnet_mlflow.errors import InputError
from resnet_mlflow.exporting import onnx_files, openvino_files
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.heads.knn import KNNHead
from resnet_mlflow.longtail.adjusted import adjust

NAMES = ("svm", "knn", "mlp", "prototype", "linear")
SETTINGS = [
    *((name, {}) for name in NAMES),
    ("prototype", {"metric": "cosine", "preprocessing": "cl2n"}),
    ("knn", {"metric": "cosine", "weights": "softmax", "k": 9}),
    ("knn", {"weights": "softmax", "k": 500, "preprocessing": "l2"}),
    ("svm", {"kernel": "linear"}),
    ("svm", {"kernel": "poly", "preprocessing": "standardize", "coef0": 1.0, "degree": 2}),
    ("svm", {"kernel": "sigmoid", "preprocessing": "standardize", "gamma": 0.01}),
    ("svm", {"kernel": "linear", "loss": "squared_hinge", "preprocessing": "l2"}),
]


def features_of(n_classes: int, n_items: int = 120, n_features: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Features far from zero and near to each other, as backbones give them, and labels with some overlap."""
    rng = np.random.default_rng(n_classes)
    labels = np.arange(n_items) % n_classes
    centres = rng.normal(0, 0.5, (n_classes, n_features))
    return (5 + centres[labels] + rng.normal(0, 0.6, (n_items, n_features))).astype(np.float32), labels


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=str)
def test_graph_says_what_the_head_says(name, params, n_classes):
    X, y = features_of(n_classes)
    X_new = features_of(n_classes, 200)[0][120:]
    head = build_head(name, params, 0).fit(X, y).calibrate(X_new, np.arange(120, 200) % n_classes)
    for one in (head, adjust(head, np.linspace(0, 1, n_classes), 0.5)):
        with torch.inference_mode():
            logits, leads = (part.numpy() for part in one.to_graph()(torch.from_numpy(X_new)))
        expected_logits, expected_leads = one.logits_and_leads(X_new)
        assert logits.argmax(axis=1).tolist() == expected_logits.argmax(axis=1).tolist()
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(leads, expected_leads, rtol=1e-4, atol=2e-4)


class SideBySide(torch.nn.Module):
    """Graphs of several heads as one, which takes one export."""

    def __init__(self, graphs):
        super().__init__()
        self.graphs = torch.nn.ModuleList(graphs)

    def forward(self, features):
        return tuple(part for graph in self.graphs for part in graph(features))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_files_of_all_heads_give_their_predictions_and_scores(n_classes, tmp_path):
    X, y = features_of(n_classes)
    X_new = features_of(n_classes, 200)[0][120:]
    heads = [build_head(name, params, 0).fit(X, y) for name, params in SETTINGS]
    heads += [adjust(build_head(name, {}, 1).fit(X[9:], y[9:]), np.linspace(0, 1, n_classes), 0.5) for name in NAMES]
    names = [f"{part}{number}" for number in range(len(heads)) for part in ("logits", "leads")]
    path = tmp_path / "heads.onnx"
    onnx_files.write_module(SideBySide(head.to_graph() for head in heads).eval(), torch.zeros(2, 24), path, names)
    for save, load in ((onnx_files.save, onnx_files.load), (openvino_files.save, openvino_files.load)):
        save(path, tmp_path, {})
        found = load(tmp_path)(X_new)
        for number, head in enumerate(heads):
            logits = found[f"logits{number}"]
            assert logits.argmax(axis=1).tolist() == head.predict(X_new).tolist(), head
            np.testing.assert_allclose(softmax(logits, axis=1), head.predict_proba(X_new), atol=1e-4, err_msg=str(head))


def test_files_of_neighbours_take_equal_distances_in_the_order_of_training(tmp_path):
    X = np.repeat(np.array([[0.0, 1.0], [2.0, 1.0]], dtype=np.float32), 4, axis=0)
    head = KNNHead(k=3).fit(X, [0, 1, 1, 0, 1, 0, 0, 1])
    points = np.array([[0.1, 1.0], [1.9, 1.0], [1.0, 1.0]], dtype=np.float32)
    path = tmp_path / "head.onnx"
    onnx_files.write_module(head.to_graph().eval(), torch.zeros(2, 2), path, ("logits", "leads"))
    for save, load in ((onnx_files.save, onnx_files.load), (openvino_files.save, openvino_files.load)):
        save(path, tmp_path, {})
        np.testing.assert_allclose(load(tmp_path)(points)["logits"], head.logits(points), atol=1e-6)


class GraphlessHead(HeadBase):
    """A head of somebody who wrote no graph for it."""


def test_a_head_without_a_graph_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"only heads with a graph can be exported, got GraphlessHead; give it"):
        GraphlessHead().to_graph()
