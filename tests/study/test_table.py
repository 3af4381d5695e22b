import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.study import Cell, Study
from resnet_mlflow.study.table import CellResult, build_table, to_markdown


def result(seed, accuracy, weights="random-seed0", method="svm"):
    metrics = {
        f"{split}/{name}": accuracy for split in ("val", "test") for name in ("accuracy", "balanced_accuracy", "ece")
    }
    metrics |= {"test/accuracy_ci_low": accuracy - 0.1, "test/accuracy_ci_high": accuracy + 0.1, "time/fit_s": 2.0}
    return CellResult(Cell(method, FitHeadConfig(seed=seed)), weights, metrics, f"run{seed}", reused=False)


def study(*seeds):
    return Study(name="small", backbones=("resnet18",), heads={"svm": None, "knn": None}, seeds=seeds)


def test_build_table_gives_mean_and_sample_deviation_over_seeds():
    (row,) = build_table([result(0, 0.5), result(1, 0.7)], [0, 1]).to_dict("records")
    assert row["test accuracy mean"] == pytest.approx(0.6)
    assert row["test accuracy std"] == pytest.approx(0.02**0.5)  # ((0.1² + 0.1²) / 1) ** 0.5
    assert (row["n seeds"], row["missing seeds"]) == (2, "")


def test_build_table_names_missing_seeds():
    (row,) = build_table([result(0, 0.5), result(2, 0.7)], [0, 1, 2]).to_dict("records")
    assert (row["n seeds"], row["missing seeds"]) == (2, "1")
    assert "2 (without 1)" in to_markdown(build_table([result(0, 0.5), result(2, 0.7)], [0, 1, 2]), study(0, 1, 2), {})


def test_build_table_never_mixes_random_and_imagenet_weights():
    table = build_table([result(0, 0.5), result(1, 0.7, weights="ResNet18_Weights.IMAGENET1K_V1")], [0, 1])
    assert len(table) == 2
    assert table["weights"].tolist() == ["ResNet18_Weights.IMAGENET1K_V1", "random-seed0"], "best validation first"


def test_to_markdown_shows_the_interval_over_items_where_there_is_one_seed():
    text = to_markdown(build_table([result(0, 0.5)], [0]), study(0), {})
    assert "0.5000 (0.4000 to 0.6000)" in text
    assert "nan" not in text
    assert "Seed 0 only" in text


def test_to_markdown_lists_failed_cells():
    text = to_markdown(build_table([], [0]), study(0), {"svm resnet18 s0": "C must be positive"})
    assert "- svm resnet18 s0: C must be positive" in text


def test_seeds_that_change_nothing_are_one_seed():
    table = build_table([result(seed, 0.5) for seed in (0, 1, 2)], [0, 1, 2])
    (row,) = table.to_dict("records")
    assert (row["n seeds"], row["repeated seeds"], row["missing seeds"]) == (1, "1 2", "")
    text = to_markdown(table, study(0, 1, 2), {})
    assert "1 (1 2 gave identical results)" in text
    assert "0.5000 (0.4000 to 0.6000)" in text
    assert "± 0.0000" not in text
