import pytest
from pydantic import ValidationError

from resnet_mlflow.config import ENTRY_POINTS, EXECUTION_ONLY, FitHeadConfig


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_config_defaults_are_valid_and_explained(name):
    config_class = ENTRY_POINTS[name]
    config_class()
    for field_name, field in config_class.model_fields.items():
        assert field.default is not None, f"{field_name}: MLflow takes a None default for 'required'"
        assert field.description is not None
        assert field.description.endswith("."), field_name


def test_config_refuses_to_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        FitHeadConfig().head = "knn"


def test_execution_only_names_fields():
    fields = {name for config in ENTRY_POINTS.values() for name in config.model_fields}
    assert fields >= EXECUTION_ONLY
