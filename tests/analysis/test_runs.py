import mlflow
import pandas as pd
import pytest

from analysis.runs import load_runs
from analysis.schema import typed_value
from benchmarks.run_store import FIRST_START_MS, Record, fit_head_records, write_records
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.heads import HEADS


def cell(seed=0, status="FINISHED", head="svm", params=None, **tags):
    own = {"stage": "fit_head", "dataset": "digits", "dataset_digest": "d1", "backbone": "resnet18", "head": head}
    given = {"head": head, "seed": str(seed)} | (params or {})
    name = f"fit_head {head} resnet18 digits s{seed}"
    return Record(name, own | {"seed": str(seed)} | tags, given, {"test/accuracy": 0.5}, status)


@pytest.mark.parametrize(
    ("stage", "name", "text", "value"),
    [
        ("finetune", "learning_rate", "1e-3", 0.001),
        ("finetune", "learning_rate", "0.001", 0.001),
        ("fit_head", "share_features", "true", True),
        ("fit_head", "share_features", "False", False),
        ("fit_head", "seed", "07", 7),
        ("fit_head", "head_params", "{k: 5}", '{"k": 5}'),
        ("fit_head", "head_params", "", "{}"),
        ("fit_head", "data_dir", "", ""),
        ("fit_head", "head", "forest", "forest"),
        ("not ours", "alpha", "1e-3", "1e-3"),
    ],
)
def test_typed_value_reads_text_by_the_projects_configuration(stage, name, text, value):
    found = typed_value(stage, name, text)
    assert (found, type(found)) == (value, type(value))


def test_load_runs_takes_equal_parameters_for_equal_however_they_are_spelled(written):
    spelled = [{"val_fraction": "0.2", "head_params": "{k: 5, metric: cosine}"}]
    spelled += [{"val_fraction": "2e-1", "head_params": "{metric: cosine, k: 5}"}, {"head_params": "{k: 6}"}]
    frame = written(*(cell(seed, head="knn", params=params) for seed, params in enumerate(spelled))).frame
    by_seed = frame.set_index("seed")
    assert by_seed.loc[0, "setting"] == by_seed.loc[1, "setting"] != by_seed.loc[2, "setting"]
    assert list(by_seed["config.val_fraction"]) == [0.2, 0.2, 0.2]


def test_load_runs_takes_what_a_run_left_out_for_the_default(written):
    older = {"share_features": "true", "n_trials": "0", "group_by": "", "shots": "0"}
    frame = written(cell(0, params=older), cell(1), cell(2, params={"n_trials": "5"})).frame.set_index("seed")
    assert frame.loc[0, "setting"] == frame.loc[1, "setting"] != frame.loc[2, "setting"]
    assert frame["protocol"].tolist() == ["full"] * 3


def test_a_study_says_what_came_of_it(study):
    row = study.frame[study.frame["stage"] == "study"].iloc[0]
    full = study.frame[(study.frame["protocol"] == "full") & study.frame["stage"].isin(["fit_head", "finetune"])]
    best = full.loc[full["val/accuracy"].idxmax()]
    assert row["study/best_val_accuracy"] == best["val/accuracy"]
    assert mlflow.get_run(row["run_id"]).data.tags["best_cell"] == best["name"]
    # 8 heads and fine-tunings, 4 samples of few shots, a comparison of long-tail methods.
    assert (row["study/n_cells"], row["study/n_failed"]) == (13, 0)


def test_load_runs_gives_one_typed_row_per_run(study):
    frame = study.frame
    row = frame[frame["name"] == "knn resnet18 s1"].iloc[0]
    assert (row["stage"], row["status"], row["strategy"], row["seed"]) == ("fit_head", "FINISHED", "frozen", 1)
    assert (row["config.head_params"], row["config.image_size"], row["weights"]) == (
        '{"k": 5}',
        0,
        "random-standardized-seed0",
    )
    assert row["test/accuracy"] == mlflow.get_run(row["run_id"]).data.metrics["test/accuracy"]
    assert row["duration_s"] > 0
    assert row["start"].tzinfo is not None
    assert frame.loc[frame["run_id"] == row["parent"], "stage"].item() == "study"
    assert set(frame.loc[frame["stage"] == "longtail", "method"].dropna()) == {"none", "tau_norm"}
    assert frame.loc[frame["stage"] == "finetune", "strategy"].unique().tolist() == ["fc"]
    types = {"seed": "Int64", "config.val_fraction": "Float64", "test/accuracy": "float64", "head": "str"}
    assert {name: str(frame[name].dtype) for name in types} == types


def test_load_runs_truncates_nothing_of_12_000_runs(store):
    light = (
        Record(
            record.name,
            record.tags,
            {"seed": record.params["seed"]},
            {"test/accuracy": record.metrics["test/accuracy"]},
        )
        for record in fit_head_records(12_000)
    )
    run_ids = write_records(store, "many", light)
    frame = load_runs("many").frame
    assert len(frame) == 12_000
    assert set(frame["run_id"]) == set(run_ids)
    assert frame["seed"].max() == 12_000 // (len(BACKBONES) * len(HEADS)) - 1
    assert frame["start"].is_monotonic_decreasing


def test_load_runs_filters_by_dataset_tag_and_date(written):
    records = [cell(0), cell(1, dataset="cifar10"), cell(2), cell(3, head="knn")]
    assert sorted(written(*records, dataset="digits").frame["seed"]) == [0, 2, 3]
    assert sorted(load_runs("synthetic", tags={"head": "svm", "dataset": "digits"}).frame["seed"]) == [0, 2]
    second = pd.Timestamp(FIRST_START_MS + 1000, unit="ms", tz="UTC").isoformat()
    assert sorted(load_runs("synthetic", since=second).frame["seed"]) == [1, 2, 3]
    assert sorted(load_runs("synthetic", until=second).frame["seed"]) == [0]


def test_load_runs_keeps_a_parent_and_all_runs_below_it(study):
    parent = study.frame.loc[study.frame["stage"] == "study", "run_id"].item()
    tail = study.frame.loc[(study.frame["stage"] == "longtail") & study.frame["method"].isna(), "run_id"].item()
    # A test that repeats a run leaves one beside the study, without a parent.
    in_study = study.frame["parent"].notna() | (study.frame["run_id"] == parent)
    assert len(load_runs("resnet-mlflow", parent=parent).frame) == in_study.sum()
    below = load_runs("resnet-mlflow", parent=tail).frame
    assert len(below) == 9  # itself, two methods with two seeds, and two trials of one with each
    with pytest.raises(InputError, match="parent must be a run of the experiment, got 'abc'"):
        load_runs("resnet-mlflow", parent="abc")


def test_load_runs_leaves_out_runs_that_point_to_the_one_they_continued(written):
    assert len(written(cell(0), cell(1, continued_in="another")).frame) == 1


def test_load_runs_of_an_empty_experiment_has_its_columns(written):
    runs = written()
    assert (len(runs.frame), runs.warnings) == (0, ())
    assert {"run_id", "stage", "setting", "seed"} <= set(runs.frame.columns)


def test_warnings_name_unfinished_seeds_failures_and_mixed_versions(written):
    family = {"mlflow.parentRunId": "p", "version": "1"}
    runs = written(
        *(cell(seed, **family) for seed in (0, 1, 2)),
        cell(0, head="knn", **(family | {"version": "2"})),
        cell(1, head="knn", status="FAILED", error="out of memory", **family),
        cell(2, head="knn", status="RUNNING", **family),
        cell(5, head="knn"),
        cell(3, status="KILLED"),
        cell(3),
    )
    assert list(runs.warnings) == [
        "W06 A strong baseline is missing: heads on frozen features without the linear head (fit_head head=linear), on "
        "resnet18 and digits. Run the baseline on the same data: what does not beat it is not worth considering.",
        "W07 Unfinished seeds: fit_head knn resnet18 digits lacks seed 1, 2. Run the study again: finished cells are "
        "skipped.",
        "W08 Cells without a result: fit_head knn resnet18 digits s1 (FAILED: out of memory). Fix the cause and "
        "run it again.",
        "W09 Mixed code: versions 1, 2. Compare runs of one version, or run the older ones again.",
    ]


def test_warnings_count_runs_of_uncommitted_code(written):
    assert written(cell(0, git_dirty="true"), cell(1, git_dirty="false")).warnings == (
        "W10 Uncommitted changes: 1 run. Commit, and repeat the runs that you want to publish.",
    )


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"since": "yesterday"}, "since must be a date or time in ISO 8601, got 'yesterday'; write 2026-11-24"),
        ({"dataset": 'a"b'}, "must have no double quotes, got 'a\"b'"),
    ],
)
def test_load_runs_refuses_a_filter_it_cannot_read(store, filters, message):
    with pytest.raises(InputError, match=message):
        load_runs("any", **filters)


def test_load_runs_names_the_nearest_experiment_and_makes_none(written):
    written()
    with pytest.raises(InputError, match=r"got 'sinthetic'; did you mean 'synthetic'\?"):
        load_runs("sinthetic")
    assert mlflow.get_experiment_by_name("sinthetic") is None


def test_load_runs_refuses_a_missing_store_without_making_it(store, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(InputError, match="the tracking store must exist to be read"):
        load_runs("any")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://user:secret@127.0.0.1:9/db"])
def test_load_runs_refuses_a_store_that_cannot_be_reached(store, uri):
    mlflow.set_tracking_uri(uri)
    with pytest.raises(InputError, match=r"must answer, got no answer from .*127\.0\.0\.1:9") as error:
        load_runs("any")
    assert "secret" not in str(error.value)
