from pathlib import Path

import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.robustness.corruption import TIERS
from resnet_mlflow.robustness.documentation import with_tables
from resnet_mlflow.robustness.groups import BENCHMARK
from resnet_mlflow.robustness.severities import constants_for, severities_of, table_resolution


def test_benchmark_is_the_published_one_at_five_severities() -> None:
    assert len(BENCHMARK) == 15
    assert {severities_of(name) for name in BENCHMARK} == {(1, 2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("corruption", "severity", "resolution", "expected"),
    [
        ("gaussian_noise", 5, 224, (0.38,)),
        ("gaussian_noise", 5, 64, (0.18,)),
        ("gaussian_noise", 5, 32, (0.10,)),
        ("glass_blur", 3, 224, (1, 2, 3)),
        ("snow", 4, 32, (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85)),
        # Multiples of 244 pixels at 224, the authors' slip, and of the side below.
        ("elastic_transform", 1, 224, (488, 170.8, 24.4)),
        ("elastic_transform", 2, 64, (3.2, 19.2, 3.84)),
        ("rotation", 3, 64, (15,)),
        ("occlusion", 5, 32, (0.4,)),
    ],
)
def test_constants_for_are_the_published_ones(
    corruption: str, severity: int, resolution: int, expected: tuple[float, ...]
) -> None:
    assert constants_for(corruption, severity, resolution) == pytest.approx(expected)


def test_table_resolution_is_the_nearest_one() -> None:
    assert [table_resolution(side) for side in (16, 48, 49, 128, 129, 1000)] == [32, 32, 64, 64, 224, 224]


def test_documented_corruptions_and_constants_are_those_of_the_rows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "corruptions.md").read_text(encoding="utf-8")
    assert page == with_tables(page), "run `make mlproject`"
    assert "| fog | strength, decay | (0.2, 3)<br>(0.5, 3)<br>(0.75, 2.5)<br>(1, 2)<br>(1.5, 1.75) |" in page


def test_severities_of_geometric_changes_are_those_of_the_tiers() -> None:
    assert severities_of("scale") == tuple(TIERS.values()) == (1, 3, 5)


@pytest.mark.parametrize(
    ("corruption", "severity", "resolution", "message"),
    [
        ("gausian_noise", 1, 32, r"got 'gausian_noise'; did you mean 'gaussian_noise'\?"),
        ("fog", 0, 32, "severity of fog must be one of 1, 2, 3, 4, 5, got 0"),
        ("fog", 6, 32, "severity of fog must be one of 1, 2, 3, 4, 5, got 6"),
        ("rotation", 2, 32, "severity of rotation must be one of 1, 3, 5, got 2"),
        ("fog", 1, 15, "at least 16 pixels on the shorter side, got 15; leave smaller ones out"),
    ],
)
def test_constants_for_refuses_what_there_is_not(corruption: str, severity: int, resolution: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        constants_for(corruption, severity, resolution)
