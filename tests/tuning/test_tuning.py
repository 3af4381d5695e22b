"""The parts of a study, without runs: rules, samplers, storages, and what a trial of a head measures."""

import os
import time

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from resnet_mlflow.config import FinetuneConfig, FitHeadConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.knn import KNNHead
from resnet_mlflow.tuning.head_objective import HeadObjective, count_epochs, make_folds
from resnet_mlflow.tuning.samplers import build_pruner, build_sampler, check_sampler
from resnet_mlflow.tuning.search_space import load_space
from resnet_mlflow.tuning.shared_study import RETRY_OF, SharedStudy, Task, is_killed
from resnet_mlflow.tuning.storage import open_storage


def config_of(**values):
    return validate(FitHeadConfig, {"n_trials": 4, **values})


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.0, (3, 8))

    def draw(n_items):
        labels = np.arange(n_items) % 3
        features = (centres[labels] + rng.normal(size=(n_items, 8))).astype(np.float32)
        return FeatureSplit(features, labels, np.array([f"{n_items}-{i}" for i in range(n_items)]))

    return {"train": draw(120), "val": draw(60)}


def no_report(*_):
    raise AssertionError("this head has no epochs")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"n_trials": 0, "sampler": "random"}, "sampler is used only if n_trials is above 0, got sampler='random'"),
        ({"sampler": "tep"}, "sampler must be one of .* got 'tep'; did you mean 'tpe'"),
        ({"objective": "acuracy"}, r"objective must be one of accuracy, .*did you mean 'accuracy'\?\), got 'acuracy'"),
        (
            {"objective": "test/accuracy"},
            "objective must be a validation metric, because the test split is used only once",
        ),
        ({"cv_folds": 1}, "cv_folds must be 0 .* or at least 2, got 1"),
        ({"cv_folds": 3, "pruner": "median"}, "pruner must be auto or none if cv_folds is above 0"),
        ({"second_objective": "inference_time", "sampler": "cmaes"}, "sampler must be one of tpe, .* got 'cmaes'"),
        ({"head": "all", "n_trials": 0}, "head all needs n_trials above 0"),
        ({"head": "all", "head_params": "{C: 1}"}, "head_params must be {} for head all"),
    ],
)
def test_fit_head_config_refuses(values, line):
    with pytest.raises(InputError, match=line):
        config_of(**values)


@pytest.mark.parametrize("values", [{"objective": "nll"}, {"cv_folds": 3}, {"second_objective": "inference_time"}])
def test_finetune_config_refuses_what_its_epochs_do_not_report(values):
    with pytest.raises(InputError, match="for finetune"):
        validate(FinetuneConfig, {"n_trials": 2, **values})


def test_objective_may_be_named_as_it_is_logged():
    assert config_of(objective="val/macro_f1").objective == "macro_f1"


def test_password_of_a_storage_is_not_recorded():
    config = config_of(storage="postgresql://me:secret@host/name")
    assert config.model_dump()["storage"] == "postgresql://me:***@host/name"
    assert config.storage == "postgresql://me:secret@host/name"
    assert config_of(storage="sqlite:///a.db").model_dump()["storage"] == "sqlite:///a.db"


def test_check_sampler_wants_two_numbers_for_cmaes():
    check_sampler("cmaes", load_space("", "mlp", {}))
    with pytest.raises(InputError, match="sampler cmaes needs at least two numeric parameters, got none"):
        check_sampler("cmaes", load_space("", "knn", {}))


def test_build_pruner_prunes_where_there_are_epochs():
    assert isinstance(build_pruner(config_of(), 50), optuna.pruners.MedianPruner)
    assert isinstance(build_pruner(config_of(), 0), optuna.pruners.NopPruner)
    assert isinstance(build_pruner(config_of(cv_folds=2), 50), optuna.pruners.NopPruner)
    assert isinstance(build_pruner(config_of(pruner="hyperband"), 50), optuna.pruners.HyperbandPruner)
    with pytest.raises(InputError, match="pruner must be auto or none if trials have no epochs"):
        build_pruner(config_of(pruner="median"), 0)


def test_count_epochs_tells_which_heads_are_trained_in_epochs():
    assert count_epochs("svm", load_space("", "svm", {})) == 0
    assert count_epochs("linear", load_space("", "linear", {})) == 0
    assert count_epochs("linear", load_space("", "linear", {"solver": "sgd", "epochs": 7})) == 7
    assert count_epochs("linear", load_space("linear-sgd", "linear", {})) == 30
    assert count_epochs("mlp", load_space("", "mlp", {})) == 50


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "gp"])
def test_build_sampler_draws_by_seed_and_number_of_the_trial(name):
    space = load_space("", "mlp", {})

    def first(seed, number):
        study = optuna.create_study(sampler=build_sampler(name, seed, number))
        return space.suggest(study.ask())

    assert first(0, 3) == first(0, 3)
    assert first(0, 3) != first(0, 4)
    assert first(0, 3) != first(1, 3)


def test_make_folds_hold_out_each_row_once(splits):
    folds = make_folds(splits["train"], 4, seed=0)
    held_out = [item for _, part in folds for item in part.item_ids]
    assert sorted(held_out) == sorted(splits["train"].item_ids)
    assert all(np.bincount(part.labels).tolist() == [10, 10, 10] for _, part in folds)
    assert all(not set(fit.item_ids) & set(part.item_ids) for fit, part in folds)
    with pytest.raises(InputError, match="got 41 folds for 40; lower cv_folds"):
        make_folds(splits["train"], 41, seed=0)


@pytest.mark.parametrize(
    ("head", "params"),
    [
        ("svm", {"C": 2.0, "preprocessing": "standardize"}),
        ("svm", {"C": 2.0, "preprocessing": "cl2n", "kernel": "linear"}),
        ("linear", {"C": 0.1, "preprocessing": "l2"}),
        ("prototype", {"preprocessing": "none"}),
        ("knn", {"k": 1, "preprocessing": "none"}),
        ("knn", {"k": 20, "preprocessing": "cl2n", "metric": "cosine", "weights": "softmax", "T": 0.1}),
    ],
)
def test_trials_measure_what_the_fitted_head_scores(splits, head, params):
    objective = HeadObjective(config_of(head=head, calibration="none"), load_space("", head, {}), splits)
    alone = build_head(head, params, 0).fit(splits["train"].features, splits["train"].labels)
    accuracy = alone.score(splits["val"].features, splits["val"].labels)
    for _ in range(2):  # the second time from what was kept of the first
        measured = objective(dict(params), no_report)
        assert measured.values == (pytest.approx(accuracy),)
        probabilities = alone.predict_proba(splits["val"].features)
        of_truth = probabilities[np.arange(60), splits["val"].labels]
        assert measured.metrics["val/nll"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)


def test_knn_trials_share_one_search_per_preprocessing_and_metric(splits):
    objective = HeadObjective(config_of(head="knn"), load_space("", "knn", {}), splits)
    for k in (1, 3, 100):
        for weights in ("uniform", "softmax"):
            objective({"k": k, "weights": weights}, no_report)
    assert objective._neighbours.cache_info().misses == 1
    objective({"k": 1, "metric": "cosine"}, no_report)
    assert objective._neighbours.cache_info().misses == 2


def test_neighbours_that_are_found_once_vote_for_every_k(splits):
    train, val = splits["train"], splits["val"]
    head = KNNHead(weights="softmax", T=0.5).fit(train.features, train.labels)
    neighbours = head.find_neighbours(val.features, 50)
    for k in (1, 7, 50):
        expected = KNNHead(k=k, weights="softmax", T=0.5).fit(train.features, train.labels).logits(val.features)
        assert np.array_equal(head.vote(neighbours, k), expected)


def test_folds_average_and_never_read_validation(splits):
    broken = splits | {"val": FeatureSplit(splits["val"].features * np.nan, splits["val"].labels, np.array([]))}
    objective = HeadObjective(config_of(head="prototype", cv_folds=3), load_space("", "prototype", {}), broken)
    measured = objective({}, no_report)
    accuracies = [
        build_head("prototype", {}, 0).fit(fit.features, fit.labels).score(part.features, part.labels)
        for fit, part in make_folds(splits["train"], 3, seed=0)
    ]
    assert measured.metrics["cv/accuracy"] == pytest.approx(np.mean(accuracies))
    assert measured.metrics["cv/accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))


def test_second_objective_is_milliseconds_per_item(splits):
    config = config_of(head="prototype", second_objective="inference_time")
    measured = HeadObjective(config, load_space("", "prototype", {}), splits)({}, no_report)
    assert measured.values[1] == pytest.approx(1000 * measured.metrics["time/inference_s"])
    assert 0 < measured.values[1] < 10


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_epochs_are_reported_and_may_end_a_trial(splits, head):
    params = {"epochs": 6} | ({"solver": "sgd"} if head == "linear" else {"patience": 0})
    objective = HeadObjective(config_of(head=head), load_space("", head, {}), splits)
    reported = []
    measured = objective(params, lambda step, metrics, value: reported.append((step, metrics["val/accuracy"], value)))
    assert [step for step, _, _ in reported] == [1, 2, 3, 4, 5, 6]
    assert all(accuracy == value for _, accuracy, value in reported)
    assert measured.step == 6
    assert measured.values[0] == pytest.approx(max(value for _, _, value in reported))

    def prune(step, metrics, value):
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        objective(params, prune)


# Storages and the study that processes share.


def study_of(path, n_trials=4, name="s", **values):
    config = config_of(head="svm", n_trials=n_trials, **values)
    task = Task(name, load_space("", "svm", {}), build_head("svm", {}, 0).get_params(), {"seed": 0})
    return SharedStudy(task, config, open_storage(str(path), path, 1), optuna.pruners.NopPruner())


@pytest.fixture(params=["study.journal", "sqlite"])
def place(request, tmp_path):
    return tmp_path / request.param if "." in request.param else f"sqlite:///{tmp_path / 'study.db'}"


def opened(place, **values):
    if isinstance(place, str):
        config = config_of(head="svm", **values)
        task = Task("s", load_space("", "svm", {}), build_head("svm", {}, 0).get_params(), {"seed": 0})
        return SharedStudy(task, config, open_storage(place, None, 1), optuna.pruners.NopPruner())
    return study_of(place, **values)


def run_one(study, value=0.5, state="complete"):
    trial = study.next_trial()
    params = study.task.space.suggest(trial)
    study.tell(trial, state, (value,) if state == "complete" else None, "broken" if state == "failed" else "")
    return params


def test_first_trial_has_the_defaults_of_the_head(tmp_path):
    assert run_one(study_of(tmp_path / "s.journal")) == {
        "preprocessing": "none",
        "kernel": "rbf",
        "C": 9.0,
        "gamma": "scale",
    }


def test_study_ends_after_as_many_trials_as_asked_for_whoever_runs_them(place):
    one, other = opened(place, n_trials=3), opened(place, n_trials=3)
    begun = [one.next_trial(), other.next_trial(), one.next_trial()]
    assert [trial.number for trial in begun] == [0, 1, 2]
    assert one.next_trial() is other.next_trial() is None, "three are under way"
    assert other.others_at_work()
    assert not one.is_complete()
    for trial in begun:
        one.tell(trial, "complete", (0.1,))
    assert one.is_complete()
    assert not other.others_at_work()


def test_failed_trial_counts_and_a_killed_one_is_run_again_with_its_parameters(tmp_path):
    study = study_of(tmp_path / "s.journal", n_trials=2)
    run_one(study, state="failed")
    params = run_one(study, state="killed")
    assert not study.is_complete()
    again = study.next_trial()
    assert again.user_attrs[RETRY_OF] == 1
    assert study.task.space.suggest(again) == params
    study.tell(again, "complete", (0.3,))
    assert study.is_complete()
    assert [is_killed(trial) for trial in study.trials()] == [False, True, False]
    assert study.next_trial() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_trials_of_a_dead_process_are_run_again(place):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # a process that dies at its trial, without a word
        trial = opened(place).next_trial()
        os.write(writer, str(trial.number).encode())
        os._exit(9)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"0"
    os.close(reader)
    study = opened(place)
    if isinstance(place, str):  # a database goes by the clock: no heartbeat for six intervals
        assert study.others_at_work()
        study.storage.backend.grace_period = 0
        time.sleep(1.1)
    again = study.next_trial()
    assert (again.number, again.user_attrs[RETRY_OF]) == (1, 0)


def test_process_that_was_taken_for_dead_finds_its_trial_taken(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    silent, other = opened(url), opened(url)
    trial = silent.next_trial()
    other.storage.backend.grace_period = 0
    time.sleep(1.1)
    again = other.next_trial()
    assert again.user_attrs[RETRY_OF] == trial.number
    assert not silent.tell(trial, "complete", (0.9,))
    assert other.tell(again, "complete", (0.8,))
    assert [found.value for found in other.trials()] == [None, 0.8]


def test_continued_study_suggests_what_an_undisturbed_one_does(tmp_path):
    values = [0.5, 0.7, 0.6, 0.9, 0.2, 0.8]

    def params_of(path, *stops):
        study, found = study_of(path, n_trials=6), []
        for i, value in enumerate(values):
            study = study_of(path, n_trials=6) if i in stops else study
            found.append(run_one(study, value))
        return found

    assert params_of(tmp_path / "a.journal") == params_of(tmp_path / "b.journal", 2, 3, 5)


def test_target_stops_a_study(tmp_path):
    study = study_of(tmp_path / "s.journal", target=0.8)
    run_one(study, 0.7)
    assert not study.is_complete()
    run_one(study, 0.8)
    assert study.is_complete()
    assert study.next_trial() is None


def test_grid_runs_each_point_once_and_ends(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("svm: {kernel: [rbf, linear], gamma: {choices: [scale, 0.1], when: {kernel: [rbf]}}}")
    config = config_of(head="svm", n_trials=50, sampler="grid")
    task = Task("g", load_space(str(path), "svm", {}), {}, {"seed": 0})
    study = SharedStudy(task, config, open_storage("", tmp_path / "g.journal", 1), optuna.pruners.NopPruner())
    points = [run_one(study), run_one(study, state="killed"), run_one(study), run_one(study)]
    assert points[1] == points[2], "the killed one again"
    assert study.next_trial() is None
    assert study.is_complete()
    assert sorted(map(str, [points[0], *points[2:]])) == sorted(map(str, task.space.grid()))


def test_best_trial_is_the_first_of_the_best(tmp_path):
    study = study_of(tmp_path / "s.journal")
    for value in (0.4, 0.9, 0.9):
        run_one(study, value)
    best = study.best_trial()
    assert isinstance(best, FrozenTrial)
    assert best.number == 1


def test_study_without_a_finished_trial_says_why(tmp_path):
    study = study_of(tmp_path / "s.journal")
    run_one(study, state="failed")
    with pytest.raises(InputError, match=r"at least one trial must finish, got none of 1; .* broken"):
        study.best_trial()


def test_changed_space_under_the_same_name_is_explained(tmp_path):
    study_of(tmp_path / "s.journal")
    path = tmp_path / "space.yaml"
    path.write_text("svm: {C: {low: 1, high: 10}}")
    task = Task("s", load_space(str(path), "svm", {}), {}, {"seed": 0})
    with pytest.raises(
        InputError, match=r"must continue with the space that it started with, got a changed one: .*study_name="
    ):
        SharedStudy(task, config_of(), open_storage("", tmp_path / "s.journal", 1), optuna.pruners.NopPruner())


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("study.db", r"storage must be a database such as .* or a file that ends in .journal, got 'study.db'"),
        ("nosql://host/name", "storage must be a URL that SQLAlchemy can open, got 'nosql://host/name'"),
        ("sqlite:////no/such/folder/x.db", "storage must be a reachable database, got no answer from sqlite"),
        ("postgresql://me:secret@127.0.0.1:1/x", r"got no answer from postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x"),
        ("/dev/null/x.journal", "storage must be a writable file, got /dev/null/x.journal"),
    ],
)
def test_open_storage_refuses_in_one_line(tmp_path, url, line):
    with pytest.raises(InputError, match=line) as caught:
        open_storage(url, tmp_path / "unused.journal", 10)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
