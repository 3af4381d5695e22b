import numpy as np
import pytest

from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.selection import (
    CorruptedSet,
    build_cells,
    parse_corruptions,
    parse_severities,
    parse_tiers,
    sample_rows,
)

TIERS = {"mild": 1, "medium": 3, "strong": 5}


def test_parse_corruptions_takes_sets_families_and_names():
    assert len(parse_corruptions("benchmark")) == 15
    assert len(parse_corruptions("all")) == 24
    assert parse_corruptions("jpeg_compression, blur ,blur") == (
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "jpeg_compression",
    )


def test_build_cells_knows_that_geometric_ones_have_three_severities():
    cells = build_cells(("fog", "rotation"), (1, 2, 3, 4, 5))
    assert [cell.severity for cell in cells if cell.corruption == "rotation"] == [1, 3, 5]
    assert cells[0] == CorruptedSet("fog", 1)
    assert len(cells) == 8


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (lambda: parse_corruptions("fogg"), "corruptions must be among all, .* got 'fogg'; did you mean 'fog'"),
        (lambda: parse_severities("0", TIERS), "severity must be 1, 2, 3, 4 or 5, got 0"),
        (lambda: parse_severities("1,6", TIERS), "severity must be 1, 2, 3, 4 or 5, got 6"),
        (lambda: parse_severities("-1", TIERS), "severity must be 1, 2, 3, 4 or 5, got -1"),
        (lambda: parse_severities("mildd", TIERS), r"1 to 5 or tiers \(mild, .*'mildd'; did you mean 'mild'"),
        (lambda: parse_tiers("hard=5"), "tiers must be among mild, medium, strong, got 'hard'"),
        (lambda: parse_tiers("strongg=5"), "got 'strongg'; did you mean 'strong'"),
        (lambda: parse_tiers("strong=6"), "severity of tier strong must be 1, 2, 3, 4 or 5, got 6"),
        (lambda: parse_tiers("mild"), "severity of tier mild must be .* got nothing"),
        (lambda: parse_tiers("mild=3,strong=2"), "severities of tiers must increase from mild to strong"),
        (lambda: build_cells(("rotation",), (2, 4)), r"must exist at one of the severities \(2, 4\), got rotation"),
    ],
)
def test_selection_refuses_in_one_line(parse, line):
    with pytest.raises(InputError, match=line) as caught:
        parse()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"model": "models:/a@b", "runs": "1"}, "one of model, runs, filter must be given, got model and runs"),
        ({"corruption_size": 8}, r"corruption_size must be 0 \(the images' own size\) or in \[16, 1024\], got 8"),
        ({"max_images": -1}, "max_images must be at least 0, got -1"),
    ],
)
def test_robustness_config_refuses_in_one_line(values, line):
    with pytest.raises(InputError, match=line):
        validate(RobustnessConfig, values)


def test_sample_rows_keeps_the_shares_of_classes_and_is_seeded():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [600, 300, 100]))
    rows = sample_rows(labels, 100, seed=1)
    assert np.bincount(labels[rows]).tolist() == [60, 30, 10]
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, sample_rows(labels, 100, seed=1))
    assert not np.array_equal(rows, sample_rows(labels, 100, seed=2))
    assert sample_rows(labels, 0, seed=0).tolist() == list(range(1000))
