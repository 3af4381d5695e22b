import json
import math
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from run_records import cell, log_predictions

from analysis.cells import finished_cells
from analysis.documentation import with_tables
from analysis.pareto import pareto_front
from analysis.render import to_csv, to_html, to_latex, to_markdown
from analysis.runs import load_runs
from analysis.separation import compare_all_pairs, item_scores, paired_difference, winner_of
from analysis.table import RUN_IDS
from analysis.tables import TABLES, build_all, chart_of
from analysis.tables.datasets import rank_methods
from analysis.tables.row import TableRow
from benchmarks.run_store import Record
from resnet_mlflow.backbones.complexity import backbone_complexity
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.statistics import score_over_seeds
from resnet_mlflow.tracking import load_predictions


def test_tables_answer_from_a_real_study(study):
    tables = {name: build(study.frame) for name, build in TABLES.items()}
    expected = {
        "leaderboard",
        "heads",
        "strategies",
        "ablation",
        "longtail",
        "cost",
        "confusions",
        "mistakes",
        "few_shot",
    }
    assert {name for name, table in tables.items() if table is not None} == expected
    known = set(study.frame["run_id"])
    for table in (tables[name] for name in expected):
        assert table.title.endswith("?")
        assert {column.name for column in table.columns} <= set(table.frame.columns)
        assert {run_id for run_ids in table.frame[RUN_IDS] for run_id in run_ids} <= known
        assert table.notes
    heads = tables["heads"].frame.set_index("head")
    runs = study.frame[(study.frame["head"] == "knn") & (study.frame["stage"] == "fit_head")]
    assert heads.loc["knn", "test/accuracy"] == pytest.approx(runs["test/accuracy"].mean())
    assert heads.loc["knn", "test/accuracy std"] == pytest.approx(runs["test/accuracy"].std(ddof=1))
    assert heads.loc["knn", "test/accuracy n"] == 2
    strategies = tables["strategies"].frame.set_index("strategy")
    gain = strategies.loc["fc"]
    mean = strategies["test/accuracy"]
    assert gain["gain"] == pytest.approx(mean["fc"] - mean["frozen"])
    # Two seeds tell little: two epochs of fc are far from enough, and yet the interval holds nothing.
    assert gain["gain low"] < gain["gain"] < 0 < gain["gain high"]
    assert not tables["strategies"].winners
    assert list(tables["few_shot"].frame["shots"]) == [1, 8]
    assert tables["ablation"].frame.loc[0, "linear"] == pytest.approx(mean["frozen"])
    assert sorted(tables["longtail"].frame["method"]) == ["none", "tau_norm"]


def test_mistakes_are_those_that_most_seeds_make(study):
    table = TABLES["mistakes"](study.frame)
    rows, best = table.frame, table.frame[RUN_IDS].iloc[0]
    stored = [load_predictions(run_id) for run_id in best]
    n_wrong = {
        item_id: sum(not one.correct[row] for one in stored) for row, item_id in enumerate(stored[0].item_ids.tolist())
    }
    assert rows["wrong"].tolist() == [n_wrong[item_id] for item_id in rows["file"]]  # digits are no files
    assert rows["wrong"].tolist() == sorted(rows["wrong"], reverse=True)
    assert rows["wrong"].sum() <= sum(n_wrong.values())
    assert (rows["label"] != rows["prediction"]).all()
    assert [column.name for column in table.columns] == ["file", "thumbnail", "label", "prediction", "lead", "wrong"]
    assert to_html(table, lambda ids: "").count('<img alt="" src="data:image/jpeg;base64,/9j/') > 0
    for text in (to_markdown(table), to_csv(table), to_latex(table)):
        assert "/9j/" not in text
        assert "thumbnail" not in text


def test_score_rows_show_the_logged_interval_of_one_seed_and_both_parts_of_several(written):
    table = TABLES["heads"](written(cell(0, 0.7), cell(0, 0.69, "knn"), cell(1, 0.71, "knn")).frame)
    rows = table.frame.set_index("head")
    assert rows.loc["svm", ["test/accuracy low", "test/accuracy high"]].tolist() == pytest.approx([0.65, 0.75])
    assert math.isnan(rows.loc["svm", "test/accuracy std"])
    # Student's t with one degree of freedom at 97.5 % is 12.706; a fifth held out makes 1/2 + 0.2/0.8 of the variance.
    half = 12.706 * np.std([0.69, 0.71], ddof=1) * math.sqrt(1 / 2 + 1 / 4)
    assert rows.loc["knn", "test/accuracy seeds high"] == pytest.approx(0.7 + half, abs=1e-4)
    assert rows.loc["knn", "test/accuracy items high"] == pytest.approx(0.75)
    both = math.hypot(half, 0.05)
    ends = rows.loc["knn", ["test/accuracy low", "test/accuracy high"]].tolist()
    assert ends == pytest.approx([0.7 - both, 0.7 + both], abs=1e-4)
    assert rows.loc["knn", "val/accuracy high"] == pytest.approx(0.7 + half, abs=1e-4)
    assert any("1 rows lack seeds" in note for note in table.notes)


def test_seeds_that_change_nothing_are_one_seed(written):
    records = [cell(seed, 0.7, metrics={"test/nll": 0.9, "val/nll": 0.8}) for seed in (0, 1, 2)]
    table = TABLES["heads"](written(*records).frame)
    row = table.frame.iloc[0]
    assert row["test/accuracy n"] == 1
    assert math.isnan(row["test/accuracy std"])
    assert [row["test/accuracy low"], row["test/accuracy high"]] == pytest.approx([0.65, 0.75])
    assert len(row[RUN_IDS]) == 3
    assert any("1 rows give identical results with several seeds" in note for note in table.notes)


def test_intervals_over_seeds_rest_on_predictions_where_there_are_some(written, tmp_path):
    runs = written(*(cell(seed, 0.8) for seed in (0, 1, 2)))
    rng = np.random.default_rng(0)
    easy = rng.random(200)
    correct = {seed: easy + 0.2 * rng.random(200) < 0.9 for seed in (0, 1, 2)}
    logged = TABLES["heads"](runs.frame).frame.iloc[0]
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, correct[row.seed])
    item_scores.cache_clear()
    row = TABLES["heads"](runs.frame).frame.iloc[0]
    expected = score_over_seeds(np.array(list(correct.values())), held_out=0.25)
    assert [row[f"test/accuracy {end}"] for end in ("low", "high")] == pytest.approx(expected.interval)
    assert [row[f"test/accuracy seeds {end}"] for end in ("low", "high")] == pytest.approx(expected.over_seeds)
    assert [row[f"test/accuracy items {end}"] for end in ("low", "high")] == pytest.approx(expected.over_items)
    assert logged["test/accuracy items low"] == pytest.approx(0.75)


def test_the_cheapest_that_may_be_best_is_named(written, tmp_path):
    seconds = {"svm": 3.0, "linear": 0.5, "knn": 0.1}
    right = {"svm": 90, "linear": 89, "knn": 50}
    runs = written(*(cell(0, n / 100, head, metrics={"time/fit_s": seconds[head]}) for head, n in right.items()))
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, np.arange(100) < right[row.head])
    (note,) = [note for note in TABLES["heads"](runs.frame).notes if "not significantly better" in note]
    assert "svm and linear cannot be excluded" in note
    assert "The cheapest of them: linear (0.50 s to fit)" in note
    # One image in a hundred tells them apart: (2.24 + 0.84)^2 / 0.01 at half of 5 %.
    assert "a significant difference would take about 950 test images instead of 100 (80 % power" in note


def test_finished_cells_take_the_newest_of_equal_runs(written):
    frame = written(cell(0, 0.1), cell(0, 0.2), cell(1, 0.3)).frame
    assert list(finished_cells(frame, "fit_head")["test/accuracy"]) == [0.2, 0.3]


def test_tables_refuse_to_mix_dataset_digests(written):
    frame = written(cell(0, 0.5), cell(0, 0.6, digest="d2")).frame
    with pytest.raises(InputError, match="the runs of a table must share one dataset digest, got d1 d1, d2 d2"):
        TABLES["heads"](frame)
    assert [table.frame["test/accuracy"].tolist() for table in build_all("heads", frame)] in (
        [[0.5], [0.6]],
        [[0.6], [0.5]],
    )


def test_tables_tell_settings_of_one_head_apart(written):
    records = [cell(0, 0.5, "knn", params={"head_params": f"{{k: {k}}}"}) for k in (3, 20)]
    table = TABLES["heads"](written(*records).frame)
    assert sorted(table.frame["variant"]) == ['head_params={"k": 20}', 'head_params={"k": 3}']


def test_backbones_compete_under_equal_parameters_only(written):
    others = [cell(0, 0.5, "knn", backbone=net, params={"head_params": f"{{k: {k}}}"}) for net, k in PAIRS]
    assert TABLES["backbones"](written(*others).frame) is None
    table = TABLES["backbones"](written(*others, cell(0, 0.4, "knn", backbone="resnet34")).frame)
    assert table is None
    same = [cell(0, 0.4, "knn", backbone="resnet34", params={"head_params": "{k: 3}"})]
    table = TABLES["backbones"](written(*same).frame)
    assert sorted(table.frame["backbone"]) == ["resnet18", "resnet34"]


PAIRS = [("resnet18", 3), ("resnet34", 20)]


def test_nothing_is_bold_without_predictions(written):
    table = TABLES["heads"](written(cell(0, 0.9), cell(0, 0.1, "knn")).frame)
    assert not table.winners
    assert any("nothing is bold: a run must have predictions" in note for note in table.notes)


def test_bold_is_only_what_is_better_than_every_other(written, tmp_path):
    right = {"svm": 90, "linear": 88, "knn": 50}
    runs = written(*(cell(0, n / 100, head) for head, n in right.items()))
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, np.arange(100) < right[row.head])
    table = TABLES["heads"](runs.frame)
    assert not table.winners  # svm and linear differ in two items only
    (note,) = [note for note in table.notes if "not significantly better" in note]
    assert (
        "not significantly better than 1 of the 2 others: svm and linear cannot be excluded (95 % confidence "
        "set of the best)" in note
    )
    assert "Closest to svm is linear: difference +0.0200" in note
    assert "The cheapest of them: svm (1.00 s to fit)" in note
    clear = TABLES["heads"](runs.frame[runs.frame["head"] != "linear"])
    assert clear.winners == {(0, "test/accuracy"), (0, "test/balanced_accuracy")}


def test_paired_difference_refuses_other_items(written, tmp_path):
    first, second = written(cell(0, 0.5), cell(0, 0.5, "knn")).frame["run_id"]
    log_predictions(first, tmp_path, np.ones(10, dtype=bool))
    log_predictions(second, tmp_path, np.ones(11, dtype=bool))
    with pytest.raises(InputError, match="compared runs must have the same test items and labels"):
        paired_difference({0: first}, {0: second})
    assert paired_difference({0: first}, {1: second}) is None


def test_compare_all_pairs_adjusts_for_all_of_them(written, tmp_path):
    right = [90, 70, 50]
    ids = list(written(*(cell(0, 0.5, head) for head in ("svm", "knn", "linear"))).frame["run_id"])
    for run_id, n in zip(ids, right, strict=True):
        log_predictions(run_id, tmp_path, np.arange(100) < n)
    pairs = compare_all_pairs([{0: run_id} for run_id in ids])
    by_rows = {(pair.first, pair.second): pair for pair in pairs}
    # Exact McNemar of 20 items right in one alone; Holm leaves the larger two of three p values below twice that.
    assert by_rows[0, 1].difference.p_value == pytest.approx(2 / 2**20)
    assert by_rows[0, 1].adjusted_p == pytest.approx(2 * 2 / 2**20)
    assert [abs(by_rows[key].difference.difference) for key in ((0, 1), (0, 2), (1, 2))] == pytest.approx(
        [0.2, 0.4, 0.2]
    )
    assert winner_of(3, pairs) == 0


def test_deleted_run_is_left_out_of_the_tests(written, tmp_path):
    runs = written(cell(0, 0.9), cell(0, 0.5, "knn"))
    for run_id, n in zip(runs.frame["run_id"], (50, 90), strict=True):
        log_predictions(run_id, tmp_path, np.arange(100) < n)
    gone = runs.frame["run_id"].iloc[0]

    mlflow.delete_run(gone)
    shutil.rmtree(Path("mlruns") / gone)  # as `mlflow gc` does
    assert not TABLES["heads"](runs.frame).winners


def test_robustness_tables_name_the_tested_classifiers(written):
    classifiers = [cell(seed, 0.9, method="none", stage="longtail") for seed in (0, 1)]
    ids = list(written(*classifiers).frame.sort_values("seed")["run_id"])
    metrics = {
        f"robustness/{tier}/accuracy": score for tier, score in (("mild", 0.8), ("medium", 0.6), ("strong", 0.3))
    }
    metrics |= {"robustness/noise/accuracy": 0.5, "robustness/mce": 90.0, "robustness/mild/accuracy_few": 0.2}
    data = {"stage": "robustness", "dataset": "d1", "dataset_digest": "d1"}
    tested = [
        Record(
            f"robustness s{seed}",
            data | {"seed": str(seed), "classifier_run": run_id},
            {},
            {name: value + seed / 10 for name, value in metrics.items()},
        )
        for seed, run_id in enumerate(ids)
    ]
    frame = written(*tested, Record("robustness of both", data | {"seed": "0"}, {}, metrics)).frame
    tiers = TABLES["robustness_tiers"](frame).frame
    assert tiers["head"].tolist() == ["svm"]
    assert tiers["robustness/clean/accuracy"].tolist() == [0.9]
    assert tiers["robustness/strong/accuracy"].tolist() == pytest.approx([0.35])
    assert tiers["robustness/strong/accuracy n"].tolist() == [2]
    assert TABLES["robustness_families"](frame).frame["robustness/noise/accuracy"].tolist() == pytest.approx([0.55])
    assert TABLES["tail_robustness"](frame).frame["robustness/mild/accuracy_few"].tolist() == pytest.approx([0.25])


def test_networks_trained_whole_are_one_row_over_their_seeds_under_corruption(written):
    kinds = [(augmentation, seed) for augmentation in ("none", "crop") for seed in (0, 1)]
    trained = [
        cell(seed, 0.9, "linear", stage="finetune", params={"train_layers": "all", "augmentation": augmentation})
        for augmentation, seed in kinds
    ]
    newest_first = written(*trained).frame
    data = {"stage": "robustness", "dataset": "d1", "dataset_digest": "d1", "mlflow.parentRunId": "p" * 32}
    tests = [
        Record(
            f"robustness {row.name}",
            # The weights are the run's own: no two networks share them.
            data | {"seed": str(row.seed), "classifier_run": row.run_id, "weights": f"runs:/{row.run_id}#1"},
            {},
            {"robustness/mild/accuracy": 0.5 + row.seed / 10, "robustness/clean/accuracy": 0.9},
        )
        for row in newest_first.itertuples()
    ]
    runs = written(*tests)
    table = TABLES["robustness_tiers"](runs.frame)
    assert table.frame["robustness/mild/accuracy n"].tolist() == [2, 2]
    assert sorted(table.frame["variant"]) == ["", "augmentation=crop"]
    assert any(note.endswith("backbone weights: random-seed0.") for note in table.notes)
    assert [warning[:3] for warning in runs.warnings] == ["W06"]  # these networks have no linear head beside them

    (lost,) = mlflow.MlflowClient().search_runs(
        [runs.experiment_id], f"tags.stage = 'robustness' and tags.classifier_run = '{newest_first['run_id'].iloc[0]}'"
    )
    mlflow.MlflowClient().set_terminated(lost.info.run_id, "FAILED")
    warnings = load_runs("synthetic").warnings
    assert warnings[1].startswith("W07 Unfinished seeds: robustness finetune linear lacks seed 1. ")


def test_tuning_gains_over_defaults_of_the_same_classifier(written, tmp_path):
    records = [cell(0, 0.5), cell(0, 0.7, params={"n_trials": "20"}), cell(0, 0.6, "knn")]
    runs = written(*records)
    for row in runs.frame.itertuples():
        log_predictions(row.run_id, tmp_path, np.arange(100) < 100 * runs.frame.loc[row.Index, "test/accuracy"])
    table = TABLES["tuning"](runs.frame)
    rows = table.frame.set_index("trials")
    assert sorted(rows.index.tolist()) == [0, 20]
    assert rows.loc[20, "gain"] == pytest.approx(0.2)


def test_a_comparison_has_one_p_value_which_bold_keeps_to(written, tmp_path):
    heads = ("svm", "knn", "linear", "mlp")
    runs = written(*(cell(0, 0.5, head, params=params) for head in heads for params in ({}, {"n_trials": "20"})))
    for row in runs.frame.itertuples():
        # Six items that only the tuned one gets right: p 0.031 alone, 0.125 as one of four gains.
        tuned = runs.frame.loc[row.Index, "config.n_trials"] == 20
        log_predictions(row.run_id, tmp_path, np.arange(200) % 100 < 50 + 3 * tuned)
    table = TABLES["tuning"](runs.frame)
    assert table.frame["p Holm"].dropna().tolist() == pytest.approx([0.125] * 4)
    assert not [row for row, metric in table.winners if metric == "test/accuracy"]
    message = [note for note in table.notes if "cannot be excluded" in note]
    assert len(message) == 4
    assert all(", Holm p 0.125;" in note for note in message)


def test_datasets_ranks_methods_and_says_when_n_is_too_small(written):
    scores = {"d1": (0.9, 0.8), "d2": (0.7, 0.6), "d3": (0.5, 0.4)}
    records = [
        cell(0, s, head, digest)
        for digest, both in scores.items()
        for s, head in zip(both, ("svm", "knn"), strict=True)
    ]
    table = TABLES["datasets"](written(*records).frame)
    assert table.frame["method"].tolist() == ["svm resnet18 frozen", "knn resnet18 frozen"]
    assert table.frame["rank"].tolist() == [1.0, 2.0]
    assert any("n too small (3 datasets" in note for note in table.notes)


def test_rank_methods_separates_by_wilcoxon_from_six_datasets_on():
    better = pd.DataFrame({"a": np.arange(6) + 0.5, "b": np.arange(6) - 0.1 * np.arange(6) - 1})
    ranking = rank_methods(better)
    assert (ranking.methods, ranking.ranks, ranking.cliques) == (("a", "b"), (1.0, 2.0), ())
    assert ranking.p_values[0, 1] == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("size", [32, 57, 224])
@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_complexity_is_what_torch_counts(name, size):
    import torch
    import torchvision
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
        n_features = network.fc.in_features
        network.fc = torch.nn.Identity()
        counter = FlopCounterMode(display=False)
        with counter:
            network.eval()(torch.empty(1, 3, size, size))
    found = backbone_complexity(name, size)
    assert found.n_parameters == sum(weights.numel() for weights in network.parameters())
    assert 2 * found.macs == counter.get_total_flops()
    assert found.n_features == n_features


def test_confusions_are_those_of_the_best_classifier_on_validation_data(study):
    table = TABLES["confusions"](study.frame)
    counts = table.frame[[column.name for column in table.columns[1:]]].to_numpy()
    scores = TABLES["heads"](study.frame).frame
    best = scores.loc[scores["val/accuracy"].idxmax()]
    assert set(table.frame["run_ids"].iloc[0]) == set(best["run_ids"])
    right = sum(load_predictions(run_id).correct.sum() for run_id in best["run_ids"])
    assert counts.trace() == right
    assert counts.sum() == sum(len(load_predictions(run_id).labels) for run_id in best["run_ids"])
    assert list(table.frame["label"]) == [column.header for column in table.columns[1:]] == list("0123456789")
    assert f"{best['head']} frozen, the best by validation accuracy" in table.notes[0]
    chart = chart_of(table)
    assert [sum(row) for row in chart.scores] == pytest.approx([1] * 10)
    assert chart.scores[3][3] == counts[3, 3] / counts[3].sum()


def test_confusions_of_many_classes_are_those_of_the_most_confused(written, tmp_path):
    counts = np.diag(np.full(30, 100))
    counts[29, 0] = counts[5, 28] = 7
    frame = written(cell(0, 0.7), cell(1, 0.6)).frame
    path = tmp_path / "confusion_matrix.json"
    path.write_text(json.dumps({"class_names": [f"c{label}" for label in range(30)], "counts": counts.tolist()}))
    for run_id in frame["run_id"]:
        mlflow.MlflowClient().log_artifact(run_id, str(path), "evaluation/test")
    table = TABLES["confusions"](frame)
    shown = list(table.frame["label"])
    assert len(shown) == 20
    assert {"c0", "c5", "c28", "c29"} <= set(shown)
    assert [column.header for column in table.columns] == ["label", *shown, "other classes"]
    assert table.frame.set_index("label").loc["c29", "predicted c0"] == 14, "summed over both seeds"
    predicted = table.frame.filter(like="predicted ").sum(axis=1).tolist()
    assert predicted == (2 * counts.sum(axis=1))[[int(name[1:]) for name in shown]].tolist()
    assert table.notes[-1] == "The 20 of 30 classes with the most errors are shown."


def test_confusions_name_the_run_that_lost_its_matrix(written):
    frame = written(cell(0, 0.7)).frame
    with pytest.raises(InputError, match=r"must contain evaluation/test/confusion_matrix.json, got no such artifact"):
        TABLES["confusions"](frame)
    assert TABLES["confusions"](frame[frame["stage"] == "longtail"]) is None


def test_documented_tables_are_those_of_the_rows():
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    assert page == with_tables(page), "run `make mlproject`"
    assert "| `heads` | Which head is best on frozen features? | finished runs of fit_head |" in page


def test_a_table_has_a_name_that_files_can_have():
    with pytest.raises(
        ValueError, match=r"^a table's name must consist of letters, digits and underscores, got 'my-table'$"
    ):
        TableRow("my-table", "Why?", needs="runs", build=TABLES["heads"].build, chart=TABLES["heads"].chart)


def test_pareto_front_keeps_equals_and_drops_the_dominated_and_undefined():
    assert pareto_front([1, 1, 2, math.nan], [2, 2, 2, 0]).tolist() == [True, True, False, False]
