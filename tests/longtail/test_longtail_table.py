"""The comparison's numbers on runs that can be checked by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.markdown import to_markdown
from resnet_mlflow.longtail.table import MethodRun, build_table, compute_gain

LABELS = np.repeat([0, 1], 4)
COUNTS = np.array([40, 4])


def make_run(method: str, seed: int, n_right: Sequence[int], **metrics: float) -> MethodRun:
    """Make a run that has the first ``n_right[c]`` of the four test items of class ``c`` right."""
    predictions = np.concatenate([np.where(np.arange(4) < n, label, 1 - label) for label, n in enumerate(n_right)])
    accuracy = sum(n_right) / 8
    known = {"val/balanced_accuracy": accuracy, "test/balanced_accuracy": accuracy, "time/fit_s": 1.0}
    known |= {"test/accuracy_many": n_right[0] / 4}
    items = np.array([f"item {i}" for i in range(8)])
    return MethodRun(method, seed, known | metrics, COUNTS, LABELS, predictions, items, f"{method}-{seed}")


def test_recalls_of_a_run() -> None:
    assert make_run("none", 0, [4, 1]).recalls.tolist() == [1.0, 0.25]


def test_compute_gain_pairs_runs_by_seed() -> None:
    baseline = [make_run("none", 0, [4, 0]), make_run("none", 1, [4, 1]), make_run("none", 2, [4, 4])]
    gain = compute_gain([make_run("crt", 1, [4, 3]), make_run("crt", 0, [4, 2])], baseline)
    assert gain.difference == 0.25
    assert gain.over_seeds == (0.25, 0.25), "both seeds gain a quarter"
    # Their agreement says nothing about other images: 8 of them are few.
    for low, high in (gain.over_items, gain.interval):
        assert low < 0.25 < high
    assert gain.p_value > 0.01


def test_compute_gain_over_seeds_is_a_paired_t_interval() -> None:
    baseline = [make_run("none", seed, [2, 2]) for seed in (0, 1, 2)]
    gain = compute_gain([make_run("crt", seed, [2, 2 + seed]) for seed in (0, 1, 2)], baseline)
    # Gains of 0, 1/8 and 2/8: t is sqrt(3) with 2 degrees of freedom, whose tail is (1 - sqrt(3 / 5)) / 2.
    assert gain.difference == 0.125
    assert gain.p_value > 1 - math.sqrt(3 / 5), "over images too"
    half = 4.302653 * 0.125 / math.sqrt(3)
    assert gain.over_seeds == pytest.approx((0.125 - half, 0.125 + half), abs=1e-6)
    low, high = gain.interval
    assert low <= gain.over_seeds[0]
    assert high >= gain.over_seeds[1]


def test_compute_gain_counts_overlapping_training_images() -> None:
    baseline = [make_run("none", seed, [2, 2]) for seed in (0, 1, 2)]
    runs = [make_run("crt", seed, [2, 2 + seed]) for seed in (0, 1, 2)]
    gains = [compute_gain(runs, baseline, held_out) for held_out in (0.0, 0.25)]
    widths = [gain.over_seeds[1] - gain.over_seeds[0] for gain in gains]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt((1 / 3 + 1 / 4) * 3))


def test_compute_gain_of_seeds_that_change_nothing_is_that_of_one_seed() -> None:
    several = [[make_run(method, seed, right) for seed in (0, 1, 2)] for method, right in RIGHT.items()]
    assert compute_gain(*several) == compute_gain(*(runs[:1] for runs in several))


RIGHT = {"crt": [4, 3], "none": [4, 1]}


def test_compute_gain_of_one_seed_is_mcnemars_test() -> None:
    gain = compute_gain([make_run("crt", 0, [4, 4])], [make_run("none", 0, [4, 0])])
    assert gain.p_value == 2 * 0.5**4
    assert np.isnan(gain.over_seeds).all()
    assert gain.interval == gain.over_items


def test_compute_gain_of_equal_runs_is_none_at_all() -> None:
    runs = [make_run("crt", seed, [3, 1]) for seed in (0, 1)]
    gain = compute_gain(runs, runs)
    assert (gain.difference, gain.p_value) == (0.0, 1.0)
    assert gain.interval[0] < 0 < gain.interval[1], "8 images do not show that they are equal on others"


def test_compute_gain_without_a_common_seed_is_nothing() -> None:
    assert compute_gain([make_run("crt", 0, [3, 1])], [make_run("none", 1, [3, 1])]) is None


def test_compute_gain_refuses_other_test_items() -> None:
    other = make_run("none", 0, [4, 0])
    other.item_ids[0] = "another"
    with pytest.raises(InputError, match="must have the same test images"):
        compute_gain([make_run("crt", 0, [4, 4])], [other])


def comparison() -> list[MethodRun]:
    runs = [make_run("none", seed, [4, 0]) for seed in (0, 1)]
    runs += [make_run("crt", seed, [4, 2 + seed]) for seed in (0, 1)]
    return [*runs, make_run("lws", 0, [4, 4])]


def test_build_table_orders_by_validation_and_names_missing_seeds() -> None:
    table = build_table(comparison(), [0, 1]).set_index("method")
    assert table.index.tolist() == ["lws", "crt", "none"]
    assert table["missing seeds"].tolist() == ["1", "", ""]
    assert table.loc["crt", "balanced accuracy mean"] == 0.8125
    assert table.loc["crt", "balanced accuracy std"] == pytest.approx(0.125 / math.sqrt(2))
    assert np.isnan(table.loc["none", "gain"])
    assert table["few mean"].isna().all(), "no run has a score of an empty group"


def test_build_table_counts_seeds_that_change_nothing_once() -> None:
    runs = [make_run(method, seed, right, **{"test/ece": 0.1}) for method, right in RIGHT.items() for seed in (0, 1, 2)]
    table = build_table(runs, [0, 1, 2]).set_index("method")
    assert table["n seeds"].tolist() == [1, 1]
    assert table["repeated seeds"].tolist() == ["1 2", "1 2"]
    assert np.isnan(table.loc["crt", "gain seeds low"])
    assert "1 (1 2 gave identical results)" in to_markdown(table.reset_index(), "Title", {"many": 1}, [0, 1, 2], {})


def test_build_table_corrects_p_values_over_methods() -> None:
    table = build_table(comparison(), [0, 1]).set_index("method")
    p = table["p"]
    assert table.loc["lws", "p Holm"] == pytest.approx(
        2 * p["lws"] if p["lws"] < p["crt"] else max(p["lws"], 2 * p["crt"])
    )
    assert np.isnan(table.loc["none", "p Holm"])


def test_to_markdown_says_what_must_be_known() -> None:
    sizes = {"many": 1, "medium": 1, "few": 0}
    text = to_markdown(build_table(comparison(), [0, 1]), "Title", sizes, [0, 1], {"ncm s1": "no memory"})
    lines = text.splitlines()
    assert lines[0] == "## Title"
    row = next(line for line in lines if line.startswith("| crt"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    header = [cell.strip() for cell in lines[2].strip("|").split("|")]
    message = dict(zip(header, cells, strict=True))
    assert message["balanced accuracy"] == "0.812 ± 0.088"
    assert message["few"] == "-"
    assert message["gain over none"] == "+0.312"
    assert message["seeds"] == "2"
    assert "1 (without 1)" in text
    assert "Classes per group: many 1, medium 1, few 0" in text
    assert "p: both combined" in text
    assert lines[-1] == "- ncm s1: no memory"


def test_to_markdown_of_one_seed_has_no_deviation() -> None:
    runs = [make_run("none", 0, [4, 0]), make_run("crt", 0, [4, 4])]
    text = to_markdown(build_table(runs, [0]), "Title", {"many": 1}, [0], {})
    assert "McNemar's test over test images" in text
    assert "±" not in text.replace("mean ± sample", "")
