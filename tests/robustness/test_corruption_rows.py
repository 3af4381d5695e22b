"""Every row of the corruptions has its function, and constants that it takes; a row that could not does not import."""

import inspect
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.registry import load
from resnet_mlflow.robustness.catalogue import CORRUPTIONS
from resnet_mlflow.robustness.corruption import Corruption, by_tier, published
from resnet_mlflow.robustness.groups import scored_groups, sets
from resnet_mlflow.robustness.selection import parse_corruptions

MINE = ("mine", "extra", "digital", "somewhere:mine", "strength")
FIVE = (1, 2, 3, 4, 5)


@pytest.mark.parametrize("row", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_every_function_is_there_and_takes_the_constants_that_the_row_explains(row: Corruption) -> None:
    for levels in row.levels.values():
        for constants in levels.values():
            inspect.signature(load(row.function)).bind("images", "random", *constants)
            if constants:
                assert (
                    len(constants) == len(row.meaning.split(", "))
                    or row.group == "geometric"
                    or "pixels" in row.meaning
                )
    assert row.meaning


def test_what_help_names_is_what_there_is() -> None:
    text = RobustnessConfig.model_fields["corruptions"].description
    assert text is not PydanticUndefined
    words = set(str(text).replace(",", " ").replace("(", " ").replace(")", " ").replace(";", " ").split())
    assert set(sets()) <= words
    assert set(scored_groups()) == set(sets()) - {"all", "benchmark"}
    assert all(parse_corruptions(name) for name in sets())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: published(*MINE, at_32=FIVE, at_64=FIVE, at_224=FIVE[:4]), "shorter"),
        (lambda: by_tier(*MINE, tiers=(1, 2)), "shorter"),
        (lambda: by_tier("mine", "extras", *MINE[2:], tiers=(1, 2, 3)), "^group must be one of benchmark"),
        (
            lambda: by_tier(*MINE[:3], "mine", "strength", tiers=(1, 2, 3)),
            "^function must be module:attribute, got",
        ),
        (lambda: Corruption(*MINE, {32: {1: (1,)}}), r"^levels must be for \(32, 64, 224\), got \(32,\) for 'mine'"),
        (
            lambda: Corruption(*MINE, {32: {1: (1,)}, 64: {2: (1,)}, 224: {1: (1,)}}),
            "^levels must have the same of",
        ),
        (
            lambda: Corruption(*MINE, {side: {6: (1,)} for side in (32, 64, 224)}),
            "^levels must have the same of severities",
        ),
    ],
)
def test_a_row_that_lacks_something_does_not_import(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
