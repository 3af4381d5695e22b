"""Costs of mistakes: matrices in YAML, and the answers that cost least."""

import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.uncertainty.costs import cheapest, read_costs

NAMES = ["healthy", "sick", "unclear"]


@pytest.fixture
def costs_of(tmp_path):
    def read(text):
        (tmp_path / "costs.yaml").write_text(text)
        return read_costs(tmp_path / "costs.yaml", NAMES)

    return read


def test_read_costs_takes_a_mapping_of_what_differs(costs_of):
    assert costs_of("sick: {healthy: 20}").tolist() == [[0, 1, 1], [20, 0, 1], [1, 1, 0]]


def test_read_costs_takes_a_matrix(costs_of):
    assert costs_of("[[0, 1, 2], [20, 0, 3], [1, 1, 0]]").tolist() == [[0, 1, 2], [20, 0, 3], [1, 1, 0]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[0, 1], [1, 0]]", "costs must be a matrix of 3 x 3 numbers, a row per true class .* got 2 x 2; the classes"),
        ("[[0, 1, 2], [1, 0], [1, 1, 0]]", "matrix of 3 x 3 numbers, .* got 3 x 2/3; the classes are healthy, sick"),
        ("just text", "matrix of 3 x 3 numbers, .* got 'just text'"),
        ("sik: {healthy: 2}", "costs must name classes of the dataset, got 'sik'; did you mean 'sick'"),
        ("sick: {healthy: much}", "costs must be numbers, got 'much'"),
        ("sick: 3", "costs of class 'sick' must be a mapping of answers, got 3"),
        ("sick: {healthy: -1}", "costs must be numbers of at least 0, got others"),
        ("sick: {healthy: .inf}", "costs must be numbers of at least 0, got others"),
        ("sick: {sick: 9}", "costs must be lowest for the correct answer"),
        ("[" * 200, "costs must be a YAML file, got"),
    ],
)
def test_read_costs_refuses_in_one_line(costs_of, text, line):
    with pytest.raises(InputError, match=line) as refused:
        costs_of(text)
    assert "\n" not in str(refused.value)


def test_read_costs_refuses_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"costs must be a YAML file, got .*none\.yaml \(No such file"):
        read_costs(tmp_path / "none.yaml", NAMES)


def test_cheapest_weighs_probabilities_by_costs(costs_of):
    probabilities = np.array([[0.9, 0.08, 0.02], [0.98, 0.01, 0.01]])
    assert cheapest(probabilities, None).tolist() == [0, 0]
    # Saying healthy costs 0.08 * 20 + 0.02, saying sick 0.9 + 0.02.
    assert cheapest(probabilities, costs_of("sick: {healthy: 20}")).tolist() == [1, 0]
