import json
import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import forked
import mlflow
import numpy as np
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads import build_head
from resnet_mlflow.tracking import (
    TrackedDataset,
    connect,
    end_abandoned_children,
    find_runs,
    load_head,
    log_head,
    stage_run,
)
from resnet_mlflow.tracking.store import EXPERIMENT_TAGS, describe_experiment

CONFIG = FitHeadConfig(dataset="digits")


def clean_environment(uri):
    """The environment of a process that knows of a store and nothing else: MLflow notes experiments in its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return others | {"MLFLOW_TRACKING_URI": uri}


def status_of(run_id):
    return mlflow.get_run(run_id).info.status


def test_stage_run_logs_config_parameters_and_tags(store):
    with stage_run("fit_head", CONFIG, "a name", {"head": "svm"}) as run:
        pass
    logged = mlflow.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "a name"
    assert {"stage": "fit_head", "head": "svm"}.items() <= logged.data.tags.items()
    assert logged.data.params["val_fraction"] == "0.2"
    assert logged.data.params["share_features"] == "true"
    assert mlflow.get_experiment(logged.info.experiment_id).name == "resnet-mlflow"
    assert (
        mlflow.get_experiment(logged.info.experiment_id).tags["mlflow.experiment.primaryMetric.name"] == "val/accuracy"
    )
    config = mlflow.artifacts.load_dict(f"{logged.info.artifact_uri}/config.json")
    assert FitHeadConfig(**config) == CONFIG


def test_stage_run_keeps_parameters_that_mlflow_recorded_in_another_spelling(store, monkeypatch):
    launched = mlflow.MlflowClient().create_run("0")
    mlflow.MlflowClient().log_param(launched.info.run_id, "val_fraction", "2e-1")
    monkeypatch.setenv("MLFLOW_RUN_ID", launched.info.run_id)
    with stage_run("fit_head", CONFIG, "a name", {}) as run:
        assert run.run_id == launched.info.run_id
    assert mlflow.get_run(run.run_id).data.params["val_fraction"] == "2e-1"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("boom"), "FAILED"), (InputError("rule"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_stage_run_ends_in_its_true_status(store, error, status):
    with pytest.raises(type(error)), stage_run("fit_head", CONFIG, "a name", {}) as run:
        raise error
    assert status_of(run.run_id) == status
    assert mlflow.get_run(run.run_id).data.tags["error"] == (str(error) or "KeyboardInterrupt")
    assert mlflow.active_run() is None


def test_stage_run_fails_when_a_part_failed(store):
    with stage_run("study", CONFIG, "a name", {}) as run:
        run.failure = "1 of 2 cells failed"
    assert status_of(run.run_id) == "FAILED"


def test_stage_run_nests_under_the_active_run(store):
    with stage_run("study", CONFIG, "parent", {}) as parent, stage_run("fit_head", CONFIG, "child", {}) as child:
        pass
    assert mlflow.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_stage_run_resumes_and_points_the_launched_run_to_it(store, monkeypatch):
    connect()
    with pytest.raises(KeyboardInterrupt), stage_run("finetune", CONFIG, "a name", {}) as first:
        raise KeyboardInterrupt
    launched = mlflow.MlflowClient().create_run(mlflow.get_run(first.run_id).info.experiment_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", launched.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", launched.info.experiment_id)
    with stage_run("finetune", CONFIG, "a name", {}, resume=first.run_id) as second:
        assert status_of(second.run_id) == "RUNNING"
    assert second.run_id == first.run_id
    assert status_of(first.run_id) == "FINISHED"
    assert mlflow.get_run(launched.info.run_id).data.tags["continued_in"] == first.run_id


def test_stage_run_starts_afresh_where_the_earlier_run_is_gone(store):
    with stage_run("finetune", CONFIG, "a name", {}) as first:
        pass
    mlflow.delete_run(first.run_id)
    with stage_run("finetune", CONFIG, "a name", {}, resume=first.run_id) as second:
        pass
    assert second.run_id != first.run_id


def test_connect_names_a_server_that_does_not_answer(store, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    mlflow.set_tracking_uri(uri)
    with pytest.raises(InputError, match=rf"tracking server must answer, got no answer from {uri} .*refused"):
        connect()


def test_find_runs_reads_every_page(store):
    connect()
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name("resnet-mlflow").experiment_id
    with mlflow.start_run(tags={"stage": "page"}):
        pass
    for _ in range(12):
        client.set_terminated(client.create_run(experiment, tags={"stage": "page"}).info.run_id)
    original = mlflow.MlflowClient.search_runs

    def pages_of_five(self, *args, **kwargs):
        return original(self, *args, **kwargs | {"max_results": 5})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "search_runs", pages_of_five)
        assert len(find_runs({"stage": "page"})) == 13


def test_end_abandoned_children_ends_running_ones_only(store):
    with stage_run("study", CONFIG, "parent", {}) as parent:
        with stage_run("fit_head", CONFIG, "done", {}) as done:
            pass
        left = mlflow.MlflowClient().create_run("0", tags={"mlflow.parentRunId": parent.run_id})
        end_abandoned_children(parent.run_id)
    assert (status_of(done.run_id), status_of(left.info.run_id)) == ("FINISHED", "KILLED")


def test_processes_that_open_a_new_store_at_once_all_find_it(tmp_path):
    uri = f"sqlite:///{tmp_path}/new.db"
    command = ["-c", "from resnet_mlflow.tracking import connect; connect()"]
    opened = [forked.Process(command, env=clean_environment(uri)) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in opened]
    assert [process.returncode for process in opened] == [0, 0, 0], said
    assert mlflow.MlflowClient(uri).get_experiment("0").name == "Default"


def test_writers_that_meet_at_a_new_experiment_all_go_on(store):
    # Without the second try, 16 of 20 such meetings failed.
    for number in range(5):
        experiment = mlflow.create_experiment(f"new {number}")
        start = threading.Barrier(4)

        def describe(experiment=experiment, start=start):
            start.wait(timeout=60)
            describe_experiment(experiment)

        with ThreadPoolExecutor(4) as threads:
            for finished in [threads.submit(describe) for _ in range(4)]:
                finished.result()
        assert mlflow.get_experiment(experiment).tags.items() >= EXPERIMENT_TAGS.items()


def test_log_head_round_trips_without_pickle(store):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)), np.arange(60) % 3
    head = build_head("svm", {"C": 2.0}, seed=0).fit(X, y)
    with stage_run("fit_head", CONFIG, "a name", {}) as run:
        model_id = log_head(head, 8, ["a", "b", "c"])
        dataset = TrackedDataset("digits-test", "ab" * 16, "embedded", {"n_images": 60})
        run.log_dataset(dataset, "testing")
        run.log_metrics({"test/accuracy": 0.5}, dataset=dataset, model_id=model_id)
    loaded = load_head(f"models:/{model_id}")
    np.testing.assert_array_equal(loaded.predict(X), head.predict(X))
    folder = mlflow.artifacts.download_artifacts(f"models:/{model_id}")
    files = [name for _, _, names in os.walk(folder) for name in names]
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    metric = mlflow.get_logged_model(model_id).metrics[0]
    assert (metric.key, metric.dataset_digest) == ("test/accuracy", "ab" * 16)
    assert mlflow.get_run(run.run_id).inputs.dataset_inputs[0].dataset.digest == "ab" * 16


def test_log_head_refuses_foreign_types(store):
    class Foreign:
        pass

    head = build_head("prototype", {}, seed=0).fit(np.eye(4), [0, 0, 1, 1])
    head.extra_ = Foreign()
    with stage_run("fit_head", CONFIG, "a name", {}), pytest.raises(TypeError, match="NumPy arrays and scikit-learn"):
        log_head(head, 4, ["a", "b"])


def test_tracked_dataset_keeps_the_profile_as_json():
    dataset = TrackedDataset("digits-train", "00" * 16, "embedded", {"n_images": 3, "class_counts": {"0": 3}})
    assert json.loads(dataset.to_dict()["profile"]) == {"n_images": 3, "class_counts": {"0": 3}}


def test_sigterm_ends_a_run_as_killed(store, tmp_path):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as for `command &` in a shell script
        "from resnet_mlflow.cli import run_entry_point\n"
        "from resnet_mlflow.config import FitHeadConfig\n"
        "from resnet_mlflow.tracking import stage_run\n"
        "def stage(config):\n"
        "    with stage_run('fit_head', config, 'x', {}) as run:\n"
        "        print(run.run_id, flush=True)\n"
        "        time.sleep(60)\n"
        "sys.argv = ['x']\n"
        "run_entry_point(FitHeadConfig, stage)\n"
    )
    process = forked.Process(["-c", script], stdout=subprocess.PIPE, stderr=None)
    run_id = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    process.stdout.close()
    assert status_of(run_id) == "KILLED"


def test_ctrl_c_amid_a_statement_leaves_no_lock_behind(tmp_path):
    script = (
        "import os, signal, sys, time\n"
        "import sqlalchemy\n"
        "from resnet_mlflow.process import listen_for_stop\n"
        "listen_for_stop()\n"
        "engine = sqlalchemy.create_engine('sqlite:///numbers.db', connect_args={'timeout': 1})\n"
        "table = sqlalchemy.Table('numbers', sqlalchemy.MetaData(), sqlalchemy.Column('n', sqlalchemy.Integer))\n"
        "table.create(engine)\n"
        "with engine.begin() as connection:\n"
        "    connection.execute(table.insert(), [{'n': n} for n in range(1000)])\n"
        "stop = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "sqlalchemy.event.listen(engine, 'after_cursor_execute', stop, once=True)\n"
        "try:\n"
        "    with engine.connect() as connection:\n"
        "        connection.execute(table.select()).all()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt as error:\n"
        "    with engine.begin() as connection:\n"
        "        connection.execute(table.insert(), {'n': 1000})\n"
        "    print('written')\n"
    )
    ran = forked.run(["-c", script], cwd=tmp_path)
    assert (ran.stdout, ran.stderr) == ("written\n", "")
