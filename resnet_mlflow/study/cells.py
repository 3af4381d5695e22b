"""The runs of a study: heads, fine-tunings, few-shot samples and long-tail comparisons."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from resnet_mlflow.config import AuditConfig, FeatureConfig, FinetuneConfig, FitHeadConfig, LongtailConfig
from resnet_mlflow.config.validation import ConfigT, validate
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.registry.heads import HEADS
from resnet_mlflow.study.definition import Study
from resnet_mlflow.tuning.search_space import load_space

# Parameters that a cell sets itself.
CROSSED = ("backbone", "seed")
# Parameters that the study sets for all cells.
OF_THE_STUDY = ("folds", "repeats")


@dataclass(frozen=True)
class Cell:
    """One run of a study: a head or a fine-tuning, on one backbone, with one seed."""

    method: str
    config: FitHeadConfig | FinetuneConfig

    @property
    def name(self) -> str:
        """Return the cell's name in lists of a study."""
        return f"{self.method} {self.config.backbone} s{self.config.seed}"

    @property
    def stage(self) -> str:
        """Return the name of the stage that runs the cell."""
        return "fit_head" if isinstance(self.config, FitHeadConfig) else "finetune"


def cells(study: Study) -> Iterator[Cell]:
    """Yield the study's cells, grouped by backbone, so that its features are computed once.

    Raises:
        InputError: If a parameter of a cell is unknown or breaks its rule.
    """
    for backbone in study.backbones:
        for seed in study.seeds:
            shared = _shared(study) | study.division | {"backbone": backbone, "seed": seed}
            for head, params in study.heads.items():
                yield Cell(head, _head_config(head, params, shared))
            for head, params in study.tuning.items():
                if (own := _own_params(f"tuning.{head}", params, backbone, study)) is not None:
                    yield Cell(f"{head} tuned", _tuned_config(head, own, shared))
            for name, params in study.finetune.items():
                if (own := _own_params(f"finetune.{name}", params, backbone, study)) is not None:
                    yield Cell(f"finetune {name}", validated(FinetuneConfig, f"finetune.{name}", own, shared))


def few_shot_cells(study: Study) -> Iterator[Cell]:
    """Yield the study's cells with a few labelled images per class; heads have the parameters of ``heads``.

    Raises:
        InputError: If a parameter of a cell is unknown or breaks its rule.
    """
    few = study.few_shot
    if few is None:
        return
    for backbone in _limited_to("few_shot", few.backbones or study.backbones, study):
        for head in few.heads:
            for shots in few.shots:
                for seed in range(few.samples):
                    shared = _shared(study) | {"backbone": backbone, "seed": seed, "shots": shots}
                    yield Cell(f"{head} {shots} shots", _head_config(head, study.heads.get(head), shared))


def comparisons(study: Study) -> Iterator[tuple[str, LongtailConfig]]:
    """Yield the study's long-tail comparisons with their names; each covers all seeds.

    Raises:
        InputError: If a parameter is unknown or breaks its rule.
    """
    for backbone in study.backbones:
        features = {name: value for name, value in _shared(study).items() if name in LongtailConfig.model_fields}
        shared = features | {"backbone": backbone, **_seeds(study)}
        for name, params in study.longtail.items():
            where = f"longtail.{name}"
            if (own := _own_params(where, params, backbone, study)) is not None:
                yield f"longtail {name} {backbone}", validated(LongtailConfig, where, own, shared)


def _seeds(study: Study) -> dict[str, Any]:
    if study.folds:
        return {**study.division, "seeds": "", "seed": study.seeds[0]}
    return {"seeds": ",".join(map(str, study.seeds))}


def audit_config(study: Study) -> AuditConfig | None:
    """Return the audit of the study's dataset, with the first backbone's features; None if none is requested.

    Raises:
        InputError: If a parameter is unknown or breaks its rule.
    """
    if study.audit is None:
        return None
    shared = study.features | {"backbone": study.backbones[0], "seed": study.seeds[0]}
    # Cells and their audit must use the same images, or the twins found would belong to another dataset.
    return validated(AuditConfig, "audit", study.audit, {"on_bad_image": "fail"} | shared)


def _shared(study: Study) -> dict[str, Any]:
    for section, config_class in (("features", FeatureConfig), ("evaluation", FitHeadConfig)):
        for key in getattr(study, section):
            if key in CROSSED:
                raise InputError(f"{section} must not set {key!r}, which the study varies; use {key}s")
            if key in OF_THE_STUDY:
                raise InputError(
                    f"{section} must not set {key!r}, which all cells share; put it at the top level, next to seeds"
                )
            if key not in config_class.model_fields:
                raise InputError(f"{section} has no parameter {key!r}{nearest(key, config_class.model_fields)}")
    return study.features | study.evaluation


def _head_config(head: str, params: dict[str, Any] | None, shared: dict[str, Any]) -> FitHeadConfig:
    if head not in HEADS:
        raise InputError(f"heads must be among {', '.join(HEADS)}, got {head!r}{nearest(head, HEADS)}")
    text = yaml.safe_dump(params or {}, default_flow_style=True, width=10_000).strip()
    config = validated(FitHeadConfig, f"heads.{head}", {"head": head, "head_params": text}, shared)
    try:
        build_head(head, parse_head_params(text), config.seed)
    except InputError as error:
        raise InputError(f"heads.{head}: {error}") from None
    return config


def _tuned_config(head: str, params: dict[str, Any], shared: dict[str, Any]) -> FitHeadConfig:
    if head not in HEADS:
        raise InputError(f"tuning must be among {', '.join(HEADS)}, got {head!r}{nearest(head, HEADS)}")
    config = validated(FitHeadConfig, f"tuning.{head}", {**params, "head": head}, shared)
    if not config.tunes:
        raise InputError(f"tuning.{head} must have n_trials above 0, got 0; pass n_trials")
    try:
        load_space(config.search_space, head, {})
    except InputError as error:
        raise InputError(f"tuning.{head}: {error}") from None
    return config


def _own_params(where: str, params: dict[str, Any], backbone: str, study: Study) -> dict[str, Any] | None:
    """Return the parameters that a section sets, or None if its ``backbones`` exclude this one."""
    own = dict(params)
    return own if backbone in _limited_to(where, own.pop("backbones", study.backbones), study) else None


def _limited_to(where: str, backbones: Any, study: Study) -> tuple[str, ...]:
    for backbone in backbones:
        if backbone not in study.backbones:
            raise InputError(
                f"{where}.backbones must be among the study's ({', '.join(study.backbones)}), got {backbone!r}"
            )
    return tuple(backbones)


def validated(config_class: type[ConfigT], where: str, own: dict[str, Any], shared: dict[str, Any]) -> ConfigT:
    """Return the configuration from a section's parameters, which override those that cells share.

    Raises:
        InputError: If a parameter is unknown or breaks its rule; the line names the section.
    """
    if misplaced := [name for name in OF_THE_STUDY if name in own]:
        raise InputError(
            f"{where} must not set {misplaced[0]!r}, which all cells share; put it at the top level, next to seeds"
        )
    try:
        return validate(config_class, shared | own)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
