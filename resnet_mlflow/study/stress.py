"""Robustness tests of a study: which cells are tested under corruption, and how."""

from collections.abc import Callable, Sequence
from typing import Any

from resnet_mlflow.config import RobustnessConfig
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.robustness.selection import build_cells, parse_corruptions, parse_severities, parse_tiers
from resnet_mlflow.study.cells import Cell, cells, validated
from resnet_mlflow.study.definition import Study

# Parameters that limit a robustness test to some of the cells.
LIMITS: dict[str, Callable[[Cell], Any]] = {
    "methods": lambda cell: cell.method,
    "backbones": lambda cell: cell.config.backbone,
    "seeds": lambda cell: cell.config.seed,
}


def cells_under_test(study: Study, name: str) -> list[Cell]:
    """Return the cells in a robustness test.

    Raises:
        InputError: If it names a method, backbone or seed that the study does not have.
    """
    found = list(cells(study))
    for key, value_of in LIMITS.items():
        if key not in study.robustness[name]:
            continue
        chosen, known = study.robustness[name][key], list(dict.fromkeys(map(value_of, found)))
        for value in chosen:
            if value not in known:
                raise InputError(
                    f"robustness.{name}.{key} must be among the study's ({', '.join(map(str, known))}), got {value!r}"
                    f"{nearest(str(value), map(str, known))}"
                )
        found = [cell for cell in found if value_of(cell) in chosen]
    return found


def robustness_config(study: Study, name: str, run_ids: Sequence[str]) -> RobustnessConfig:
    """Return the configuration of a robustness test for the runs of some cells.

    Raises:
        InputError: If a parameter is unknown or breaks its rule.
    """
    where = f"robustness.{name}"
    own = {key: value for key, value in study.robustness[name].items() if key not in LIMITS}
    for key in ("model", "runs", "filter", "reference_run"):
        if key in own:
            raise InputError(
                f"{where} must not set {key!r}, because it tests the study's own cells; select them by methods"
            )
    shared = {key: value for key, value in study.features.items() if key in RobustnessConfig.model_fields}
    return validated(RobustnessConfig, where, own, shared | {"runs": ",".join(run_ids)})


def check_test(study: Study, name: str) -> None:
    """Refuse a robustness test with unknown cells, corruptions or severities."""
    cells_under_test(study, name)
    config = robustness_config(study, name, [])
    try:
        build_cells(
            parse_corruptions(config.corruptions), parse_severities(config.severities, parse_tiers(config.tiers))
        )
    except InputError as error:
        raise InputError(f"robustness.{name}: {error}") from None
