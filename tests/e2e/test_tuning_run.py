"""Studies from the command line: killed and continued, and shared by processes through PostgreSQL."""

import mlflow
import optuna
import processes
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from processes import kill_at


def start(*arguments):
    return processes.start("fit_head", "--weights", "random", *arguments, OMP_NUM_THREADS="1")


def runs_of(stage):
    return mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.stage = '{stage}'", output_format="list", max_results=1000
    )


def check_study(study, n_trials):
    """Check that Optuna and MLflow tell the same story of a finished study; gives the parent and killed trials."""
    (parent,) = runs_of("fit_head")
    assert parent.info.status == "FINISHED"
    trials, runs = study.trials, {int(run.data.tags["trial"]): run for run in runs_of("trial")}
    assert len(runs) == len(runs_of("trial")), "no trial has two runs"
    assert set(runs) == {trial.number for trial in trials if "run_id" in trial.user_attrs}
    killed = [trial for trial in trials if trial.state == TrialState.FAIL]
    over = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(over) == n_trials
    assert len(trials) == n_trials + len(killed), "nothing is left waiting or running"
    for trial in over:
        run = runs[trial.number]
        assert run.info.run_id == trial.user_attrs["run_id"]
        assert (run.info.status, run.data.tags["trial_state"]) == ("FINISHED", "complete")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["val/accuracy"] == trial.value
        assert run.data.params == {f"head.{name}": str(value) for name, value in trial.params.items()}
    for trial in killed:
        (again,) = [other for other in trials if other.user_attrs.get("retry_of") == trial.number]
        assert trial.params.items() <= again.params.items()
        if trial.number in runs:
            run = runs[trial.number]
            assert (run.info.status, run.data.tags["trial_state"]) == ("KILLED", "killed")
    best = max(over, key=lambda trial: (trial.value, -trial.number))
    assert parent.data.tags["best_trial_run_id"] == best.user_attrs["run_id"]
    assert parent.data.metrics["val/accuracy"] == best.value, "the best parameters refitted give the same score"
    assert "test/accuracy" not in {name for run in runs.values() for name in run.data.metrics}
    return parent, killed


@pytest.mark.slow
def test_fifty_trials_of_an_svm_go_on_after_a_kill(store, tmp_path, cache_dir):
    storage = tmp_path / "svm.journal"
    arguments = ("--head", "svm", "--n_trials", "50", "--storage", str(storage), "--study_name", "svm")
    kill_at(start(*arguments), "[25/50]")
    (killed,) = runs_of("fit_head")
    process = start(*arguments)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "[26/50]" in said
    assert "[25/50]" not in said
    study = optuna.load_study(
        study_name="svm", storage=optuna.storages.JournalStorage(JournalFileBackend(str(storage)))
    )
    parent, killed_trials = check_study(study, 50)
    assert parent.info.run_id == killed.info.run_id
    assert len(killed_trials) <= 1
    figures = {entry.path for entry in mlflow.MlflowClient().list_artifacts(parent.info.run_id, "figures")}
    names = ("optimization_history", "param_importances", "parallel_coordinate", "slice")
    assert {f"figures/{name}.png" for name in names} <= figures


@pytest.mark.slow
def test_four_processes_share_a_study_through_postgresql(store, postgres, cache_dir):
    n_trials = 40
    arguments = ("--head", "svm", "--n_trials", str(n_trials), "--storage", postgres, "--study_name", "shared")
    workers = [start(*arguments, "--heartbeat_s", "2") for _ in range(4)]
    kill_at(workers.pop(), "trial ")
    ended = [(worker.communicate(timeout=300)[1], worker.returncode) for worker in workers]
    assert [code for _, code in ended] == [0, 0, 0], "\n".join(said for said, _ in ended)
    storage = optuna.storages.RDBStorage(postgres.replace("postgresql:", "postgresql+psycopg:"))
    try:
        study = optuna.load_study(study_name="shared", storage=storage)
        check_study(study, n_trials)
        assert len({tuple(sorted(map(str, trial.params.items()))) for trial in study.trials}) > n_trials / 2
    finally:
        storage.engine.dispose()
    # On a busy machine a process may come when all is done.
    assert len({run.data.tags["worker"] for run in runs_of("trial")}) >= 3
