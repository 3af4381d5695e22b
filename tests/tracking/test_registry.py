import mlflow
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import connect, run_of_model, versions_of


@pytest.fixture
def registered(store):
    connect()
    client = mlflow.MlflowClient()
    client.create_registered_model("birds")
    client.create_model_version("birds", "file:///unused", tags={"run_id": "ab12"})
    client.create_model_version("birds", "file:///unused")
    client.set_registered_model_alias("birds", "champion", "1")


@pytest.mark.parametrize("uri", ["models:/birds@champion", "models:/birds/1"])
def test_run_of_model_follows_alias_and_version(registered, uri):
    assert run_of_model(uri) == "ab12"


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("models:/birds@challenger", "no such version"),
        ("models:/birds/9", "no such version"),
        ("models:/fish@champion", "no such version"),
        ("models:/birds", "no such version"),
        ("runs:/ab12/model", "no such version"),
        ("models:/birds/2", "version 2, which has no tag run_id"),
    ],
)
def test_run_of_model_refuses_what_was_not_promoted(registered, uri, found):
    with pytest.raises(InputError, match=rf"promoted version .*{uri}.*\({found}\)"):
        run_of_model(uri)


def test_versions_are_those_of_one_name_whatever_it_is(registered):
    client = mlflow.MlflowClient()
    for name in ('a\'s "best"', 'a_s "best"'):
        client.create_registered_model(name)
        client.create_model_version(name, "file:///unused", tags={"of": name})
        assert [version.tags["of"] for version in versions_of(name)] == [name]
    assert len(versions_of("birds")) == 2
    assert versions_of("fish") == []
