import re
from typing import get_args, get_type_hints

import pytest
from pydantic import ValidationError

from resnet_mlflow.backbones import inference
from resnet_mlflow.config import ENTRY_POINTS, EXECUTION_ONLY, FeatureConfig, FinetuneConfig, FitHeadConfig
from resnet_mlflow.devices import PRECISIONS
from resnet_mlflow.serving.classifier import Description


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_config_defaults_are_valid_and_explained(name):
    config_class = ENTRY_POINTS[name]
    config_class()
    for field_name, field in config_class.model_fields.items():
        assert field.default is not None, f"{field_name}: MLflow takes a None default for 'required'"
        assert field.description is not None
        assert field.description.endswith("."), field_name


def test_every_precision_is_requested_computed_and_served():
    assert get_args(FeatureConfig.model_fields["precision"].annotation) == ("auto", *PRECISIONS)
    assert tuple(inference._DTYPES) == PRECISIONS
    (field,) = get_type_hints(Description, include_extras=True)["precision"].__metadata__
    (rule,) = field.metadata
    assert rule.pattern == f"^({'|'.join(PRECISIONS)})$"


def test_config_refuses_to_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        FitHeadConfig().head = "knn"


def test_execution_only_names_fields():
    fields = {name for config in ENTRY_POINTS.values() for name in config.model_fields}
    assert fields >= EXECUTION_ONLY


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"train_layers": "layer4", "batch_size": 64}, ""),
        ({"train_layers": "fc", "augmentation": "crop"}, ""),
        ({"train_layers": "fc", "augmentation": "none"}, "must run in a single process with train_layers=fc and"),
        ({"train_layers": "layer4", "n_trials": 3}, "must run in a single process with n_trials"),
        ({"train_layers": "layer4", "folds": 3}, "must run in a single process with folds"),
        ({"train_layers": "layer4", "on_bad_image": "skip"}, "must run in a single process with on_bad_image=skip"),
        (
            {"train_layers": "layer4", "batch_size": 33},
            r"must divide batch_size \(33\) evenly, with at least two images",
        ),
        ({"train_layers": "layer4", "batch_size": 2}, "must divide batch_size"),
    ],
)
def test_finetune_config_knows_what_two_ranks_can_share(given, problem):
    found = FinetuneConfig(**given).problem_with_ranks(2)
    assert re.match(problem, found) if problem else found == ""
