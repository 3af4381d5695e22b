import pytest

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError


@pytest.mark.parametrize(("text", "seeds"), [("0,1,2", (0, 1, 2)), (" 7 , 3", (7, 3)), ("", (4,))])
def test_all_seeds_are_in_the_order_given(text: str, seeds: tuple[int, ...]) -> None:
    assert validate(LongtailConfig, {"seeds": text, "seed": 0 if text else 4}).all_seeds == seeds


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"seeds": "0,1,0"}, "seeds must not repeat a seed, got '0,1,0'"),
        ({"seeds": "0,1.5"}, "seeds must be comma-separated whole numbers .* such as 0,1,2, got '0,1.5'"),
        ({"seeds": "-1"}, "seeds must be comma-separated whole numbers"),
        ({"seeds": "0", "seed": 1}, r"seed must be 0 if seeds \(0\) are given, got 1"),
        ({"imbalance_factor": 0.01}, "imbalance_factor must be at least 1.0, got 0.01"),
        ({"imbalance_factor": float("nan")}, "imbalance_factor must be a finite number"),
        ({"many_above": 10}, r"few_below must be at most many_above \(10\), got 20; lower few_below"),
        ({"profile": "expo"}, "profile must be one of .*did you mean 'exp'"),
        ({"head": "svm", "train_layers": "all"}, "head must be linear if train_layers is all, got 'svm'"),
        ({"head_params": "{epochs: 3}", "train_layers": "all"}, r"head_params must be \{\} if train_layers is all"),
        ({"n_trials": 5, "train_layers": "layer4"}, "n_trials must be 0 if train_layers is layer4, got 5"),
        ({"epochs": 50}, r"epochs is used only if train_layers is not fc, got 50; .* head_params=\{epochs: 20\}"),
        ({"n_trials": -1}, "n_trials must be at least 0, got -1"),
    ],
)
def test_longtail_config_refuses_in_one_line(values: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        validate(LongtailConfig, values)
    assert "\n" not in str(caught.value)


def test_longtail_config_takes_training_parameters_where_a_network_is_trained() -> None:
    assert validate(LongtailConfig, {"train_layers": "all", "epochs": 50}).epochs == 50
