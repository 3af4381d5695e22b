import pytest
import yaml

from resnet_mlflow.tuning.edges import searched_numbers
from resnet_mlflow.tuning.search_space import load_space


@pytest.mark.parametrize(
    ("method", "chosen", "edges"),
    [
        ("svm", {"kernel": "rbf", "C": 990.0, "gamma": "scale"}, {"C": "high"}),
        ("svm", {"kernel": "rbf", "C": 9.0, "gamma": 10.0}, {"C": "", "gamma": "high"}),
        ("knn", {"k": 1, "weights": "uniform"}, {"k": ""}),  # there is nothing below one neighbour
        ("knn", {"k": 200, "weights": "softmax", "T": 0.02}, {"k": "high", "T": "low"}),
        ("mlp", {"hidden": 1024, "dropout": 0.0}, {"hidden": "high", "dropout": ""}),
        ("mlp", {"dropout": 0.79, "learning_rate": 1e-4}, {"dropout": "high", "learning_rate": "low"}),
        ("mlp", {"hidden": 300, "weight_decay": 0.0}, {"hidden": "", "weight_decay": ""}),
        ("linear", {"C": 3e5, "preprocessing": "l2"}, {"C": ""}),  # best of some self-supervised backbones
        ("prototype", {"metric": "cosine"}, {}),
        ("finetune", {"learning_rate": 0.03, "weight_decay": 1e-4}, {"learning_rate": "high", "weight_decay": ""}),
    ],
)  # fmt: skip
def test_searched_numbers_know_the_ends_that_could_be_moved(method, chosen, edges):
    found = searched_numbers(load_space("", method, {}), method, chosen, on_grid=False)
    assert {one.name: one.edge for one in found} == edges


def test_a_grid_has_its_edge_at_its_ends_alone(tmp_path):
    space = load_space("linear-dinov2", "linear", {})
    last, before = ({"C": points["C"]} for points in space.grid()[:-3:-1])
    assert [searched_numbers(space, "linear", c, on_grid=True)[0].edge for c in (last, before)] == ["high", ""]
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"knn": {"k": [1, 5]}}))
    # Of two values each is an end; neither says that the space should be wider.
    assert searched_numbers(load_space(str(path), "knn", {}), "knn", {"k": 5}, on_grid=True) == []


def test_what_is_given_is_not_searched():
    assert searched_numbers(load_space("", "svm", {"C": 1000.0}), "svm", {"C": 1000.0}, on_grid=False) == []
