"""PostgreSQL as the tracking store: several processes begin on an empty database, and promote at the same time."""

from itertools import pairwise

import mlflow
import pytest
from processes import start

from resnet_mlflow.tracking import read_history
from resnet_mlflow.tracking.store import DEFAULT_EXPERIMENT, connect


def finish(*started):
    """Wait for processes; gives what each said."""
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * len(ended), "\n".join(said for said, _ in ended)
    return [said for said, _ in ended]


@pytest.fixture
def use_database(store, monkeypatch):
    def use(uri):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)

    return use


def test_connect_reaches_a_database_by_its_socket(use_database, postgres):
    use_database(postgres)
    connect()
    assert mlflow.MlflowClient().get_experiment_by_name(DEFAULT_EXPERIMENT) is not None


@pytest.mark.slow
def test_processes_share_a_new_database_and_promote_at_once(use_database, postgres_tcp):
    use_database(postgres_tcp)
    small = ("--image_size", "16", "--weights", "random", "--precision", "fp32")
    finish(*(start("fit_head", *small, "--head", head) for head in ("prototype", "linear")))
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'fit_head'", output_format="list"
    )
    by_head = {run.data.tags["head"]: run for run in runs}
    assert {head: run.info.status for head, run in by_head.items()} == {"prototype": "FINISHED", "linear": "FINISHED"}

    # The worse one by name, the better one twice by its score: whoever comes first, the better is champion in the end.
    finish(start("promote", "--run_id", by_head["prototype"].info.run_id), start("promote"), start("promote"))
    client = mlflow.MlflowClient()
    versions = client.search_model_versions("name = 'digits-classifier'")
    assert sorted(version.tags["run_id"] for version in versions) == sorted(run.info.run_id for run in by_head.values())
    champion = client.get_model_version_by_alias("digits-classifier", "champion")
    assert champion.tags["run_id"] == by_head["linear"].info.run_id
    assert [model.name for model in client.search_registered_models()] == ["digits-classifier"], "no lock is left"
    promotions = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'promote'", output_format="list"
    )
    assert [run.info.status for run in promotions] == ["FINISHED"] * 3
    # Whoever came first: no entry is lost, and each follows from the one before.
    history = read_history("digits-classifier")
    assert history.remarks == ()
    assert [entry.number for entry in history.entries] == list(range(1, len(history.entries) + 1))
    assert all(first.after == second.before for first, second in pairwise(history.entries))
    assert history.entries[-1].after["champion"] == str(champion.version)
