import pytest
import yaml
from optuna.trial import FixedTrial

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.registry.heads import HEADS
from resnet_mlflow.tuning.search_space import Parameter, load_space, shipped_spaces

NAMES = list(shipped_spaces())


def write(folder, **spaces):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(spaces, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_space_fits_its_method(name):
    space = load_space(name, name.split("-")[0], {})
    assert len(space.grid()) >= 8


@pytest.mark.parametrize("head", list(HEADS))
def test_every_head_has_a_space_with_its_preprocessing_and_its_own_defaults(head):
    space = load_space("", head, {})
    assert space.parameters["preprocessing"].choices == ("none", "standardize", "l2", "cl2n")
    assert space.contained(build_head(head, {}, seed=0).get_params()).keys() >= {"preprocessing"}


def test_grids_of_the_literature_are_shipped():
    values = [point["C"] for point in load_space("linear-dinov2", "linear", {}).grid()]
    assert (len(values), values[0], values[-1]) == (45, 1e-6, 1e5)
    assert values[1] / values[0] == pytest.approx(values[-1] / values[-2])
    dino = load_space("knn-dino", "knn", {}).grid()
    assert {point["k"] for point in dino} == {10, 20, 100, 200}
    assert {(point["metric"], point["weights"], point["T"]) for point in dino} == {
        ("cosine", "softmax", 0.07),
        ("cosine", "softmax", 0.1),
    }


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        (Parameter(choices=("a", 1, 0.5)), ("a", 1, 0.5)),
        (Parameter(low=0, high=1, grid=3), (0.0, 0.5, 1.0)),
        (Parameter(low=1, high=1000, log=True, grid=4), (1.0, 10.0, 100.0, 1000.0)),
        (Parameter(low=1, high=3, integer=True, grid=5), (1, 2, 3)),
    ],
)
def test_points_of_a_parameter(parameter, points):
    assert parameter.points() == points
    assert all(parameter.contains(point) for point in points)
    assert [type(point) for point in parameter.points()] == [type(point) for point in points]


def test_grid_holds_a_conditional_parameter_only_where_it_is_read(tmp_path):
    path = write(tmp_path, svm={"kernel": ["rbf", "linear"], "gamma": {"choices": [1, 2], "when": {"kernel": ["rbf"]}}})
    assert load_space(path, "svm", {}).grid() == [
        {"kernel": "rbf", "gamma": 1},
        {"kernel": "rbf", "gamma": 2},
        {"kernel": "linear"},
    ]
    assert load_space(path, "svm", {"kernel": "linear"}).as_dict().keys() == {"gamma"}
    assert load_space(path, "svm", {"kernel": "rbf"}).grid() == [{"gamma": 1}, {"gamma": 2}]


def test_suggest_asks_for_what_is_read_and_keeps_what_is_given():
    space = load_space("", "svm", {"preprocessing": "l2"})
    assert space.suggest(FixedTrial({"kernel": "linear", "C": 2.0})) == {
        "preprocessing": "l2",
        "kernel": "linear",
        "C": 2.0,
    }


def test_numbers_without_a_dot_before_their_exponent_are_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("svm: {C: {low: 1e-3, high: 1e3, log: true}, gamma: [scale, 1e-2]}")
    space = load_space(str(path), "svm", {})
    assert (space.parameters["C"].low, space.parameters["gamma"].choices) == (0.001, ("scale", 0.01))


@pytest.mark.parametrize(
    ("source", "method", "line"),
    [
        ("knn-dinno", "knn", "search_space must be a YAML file or one of .* got 'knn-dinno'; did you mean 'knn-dino'"),
        ("knn-dino", "svm", "search_space of svm must be one of svm, svm-vissl or a file, got 'knn-dino'"),
    ],
)
def test_load_space_refuses_names(source, method, line):
    with pytest.raises(InputError, match=line):
        load_space(source, method, {})


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            {"c": [1, 2]},
            "must have parameters of svm, got 'c'; did you mean 'C'.*; valid parameters: C, kernel|got 'c'",
        ),
        ({"gama": [1.0]}, "got 'gama'; did you mean 'gamma'"),
        ({"C": [0, 1]}, "C of svm must be a float in the range .* got 0"),
        ({"C": {"low": 0, "high": 1}}, "C of svm must be"),
        ({"C": {"low": 2, "high": 1}}, "low and a larger high, got low 2.0 and high 1.0"),
        ({"C": {"low": 0, "high": 1, "log": True}}, "low must be above 0 if log is true, got 0"),
        ({"C": {"low": 1, "high": 2, "choices": [1]}}, "must be choices, or low and high, got both"),
        ({"degree": {"low": 1.5, "high": 4, "integer": True}}, "low and high must be whole"),
        ({"degree": {"low": 1, "high": 4}}, "degree of svm must be"),
        ({"kernel": ["rbf", "rbf"]}, "must not repeat a value"),
        ({"kernel": ["rbf", "linaer"]}, "kernel of svm must be .* got 'linaer'"),
        ({"C": {"lo": 1, "high": 2}}, "C: unknown parameter 'lo'; did you mean 'low'"),
        ({"C": 3}, r"C must be a list, or low and high, got 3; write \[3\]"),
        ({"gamma": {"choices": [1], "when": {"kernel": ["rbf"]}}}, "when must name an earlier parameter, got 'kernel'"),
        ({}, "must map parameters to their possible values"),
    ],
)
def test_load_space_refuses_what_does_not_fit_the_head(tmp_path, space, line):
    with pytest.raises(InputError, match=line) as caught:
        load_space(write(tmp_path, svm=space), "svm", {})
    assert "\n" not in str(caught.value)


def test_load_space_refuses_a_file_without_the_head(tmp_path):
    with pytest.raises(InputError, match="must have a space for svm, got smv; did you mean 'smv'"):
        load_space(write(tmp_path, smv={"C": [1]}), "svm", {})


@pytest.mark.parametrize(("text", "line"), [("a: [", "must be valid YAML"), ("- a", "must be a mapping")])
def test_load_space_refuses_what_is_no_mapping(tmp_path, text, line):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=line):
        load_space(str(tmp_path / "mine.yaml"), "svm", {})


def test_load_space_refuses_a_finetune_value_that_breaks_its_rule(tmp_path):
    path = write(tmp_path, finetune={"train_layers": ["fc", "layer5"]})
    with pytest.raises(InputError, match=r"train_layers must be one of .* got 'layer5'; did you mean 'layer4'"):
        load_space(path, "finetune", {})


def test_load_space_refuses_when_everything_is_given(tmp_path):
    with pytest.raises(InputError, match="must have a parameter that head_params does not set"):
        load_space(write(tmp_path, svm={"C": [1, 2]}), "svm", {"C": 1})
