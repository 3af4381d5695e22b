"""A study: which backbones, heads, fine-tunings and seeds are crossed, read from YAML."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator

from resnet_mlflow.cli import ConfigT, validate
from resnet_mlflow.config import (
    HEADS,
    Backbone,
    Config,
    FeatureConfig,
    FinetuneConfig,
    FitHeadConfig,
    Head,
    LongtailConfig,
    RobustnessConfig,
    Seed,
)
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.search_space import load_space

STUDIES = Path(__file__).parents[1] / "studies"
# A cell sets these itself.
CROSSED = ("backbone", "seed")


class FewShotStudy(Config):
    """Heads on a few labelled images per class, several samples of which are drawn."""

    heads: tuple[Head, ...] = Field(("knn", "prototype", "linear"), min_length=1, description="Heads to compare.")
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16, 32, 64, 96), min_length=1, description="Labelled training images per class."
    )
    samples: int = Field(5, ge=1, le=1000, description="How many times images are drawn, by the seeds 0, 1, ...")
    backbones: tuple[Backbone, ...] = Field((), description="Limits it to some of the study's networks.")


class Study(Config):
    """What a study file holds."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Name of the study's run.")
    description: str = Field("", description="One sentence for the run's note.")
    features: dict[str, Any] = Field({}, description="Parameters of extract that all cells share.")
    evaluation: dict[str, Any] = Field({}, description="calibration and attention_maps of all cells.")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="Each cell runs once per seed.")
    backbones: tuple[Backbone, ...] = Field(min_length=1, description="Networks to compare.")
    heads: dict[str, dict[str, Any] | None] = Field({}, description="Heads on frozen features, with their parameters.")
    tuning: dict[str, dict[str, Any]] = Field(
        {}, description="Heads whose parameters are searched, beside those above: n_trials, backbones and the like."
    )
    finetune: dict[str, dict[str, Any]] = Field(
        {}, description="Fine-tunings by a name of your own; `backbones` limits one to some of the networks."
    )
    longtail: dict[str, dict[str, Any]] = Field(
        {}, description="Long-tail comparisons by a name of your own, over the study's seeds; `backbones` as above."
    )
    few_shot: FewShotStudy | None = Field(None, description="Heads on a few labelled images per class.")

    robustness: dict[str, dict[str, Any]] = Field(
        {},
        description="Robustness tests of the study's finished cells by a name of your own; `methods`, `backbones` and "
        "`seeds` limit one to some of the cells.",
    )

    @field_validator("seeds", "backbones")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("must not repeat a value")
        return values


@dataclass(frozen=True)
class Cell:
    """One run of a study: a head or a fine-tuning, on one backbone, with one seed."""

    method: str
    config: FitHeadConfig | FinetuneConfig

    @property
    def name(self) -> str:
        """Return what the cell is called in lists of a study."""
        return f"{self.method} {self.config.backbone} s{self.config.seed}"

    @property
    def stage(self) -> str:
        """Return the name of the stage that runs the cell."""
        return "fit_head" if isinstance(self.config, FitHeadConfig) else "finetune"


# What limits a robustness test to some of the cells.
LIMITS: dict[str, Callable[[Cell], Any]] = {
    "methods": lambda cell: cell.method,
    "backbones": lambda cell: cell.config.backbone,
    "seeds": lambda cell: cell.config.seed,
}


def load_study(name: str) -> Study:
    """Return the study of a YAML file.

    Args:
        name: Name of a file in ``studies/`` without its ending, or a path.

    Raises:
        InputError: If there is no such file, it is not valid YAML, or a key or value breaks its rule.
    """
    shipped = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    path = STUDIES / f"{name}.yaml" if name in shipped else Path(name)
    if not path.is_file():
        raise InputError(
            f"study must be a YAML file or one of {', '.join(shipped)}, got {name!r}{nearest(name, shipped)}"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"study {path} must be valid YAML, got: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"study {path} must be a mapping of {', '.join(Study.model_fields)}, got {content!r:.80}")
    return _checked(content, path)


def _checked(content: dict[str, Any], path: Path) -> Study:
    try:
        study = validate(Study, {str(key): value for key, value in content.items()})
        if not study.heads and not study.finetune and not study.tuning:
            raise InputError("heads or finetune must name at least one method, got neither")
        list(cells(study))  # Every cell's parameters are checked before the first one runs.
        list(few_shot_cells(study))
        for name, config in comparisons(study):
            _check_methods(name, config)
        for name in study.robustness:
            _check_test(study, name)
    except InputError as error:
        raise InputError(f"study {path}: {error}") from None
    return study


def cells(study: Study) -> Iterator[Cell]:
    """Yield the study's cells, all of one backbone after the other, so that its features are made once.

    Raises:
        InputError: If a parameter of a cell is unknown or breaks its rule.
    """
    for backbone in study.backbones:
        for seed in study.seeds:
            shared = _shared(study) | {"backbone": backbone, "seed": seed}
            for head, params in study.heads.items():
                yield Cell(head, _head_config(head, params, shared))
            for head, params in study.tuning.items():
                if (own := _own_params(f"tuning.{head}", params, backbone, study)) is not None:
                    yield Cell(f"{head} tuned", _tuned_config(head, own, shared))
            for name, params in study.finetune.items():
                if (own := _own_params(f"finetune.{name}", params, backbone, study)) is not None:
                    yield Cell(f"finetune {name}", _validated(FinetuneConfig, f"finetune.{name}", own, shared))


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
    """Yield the study's long-tail comparisons with their names; each runs over all the seeds.

    Raises:
        InputError: If a parameter is unknown or breaks its rule.
    """
    for backbone in study.backbones:
        features = {name: value for name, value in _shared(study).items() if name in LongtailConfig.model_fields}
        shared = features | {"backbone": backbone, "seeds": ",".join(map(str, study.seeds))}
        for name, params in study.longtail.items():
            where = f"longtail.{name}"
            if (own := _own_params(where, params, backbone, study)) is not None:
                yield f"longtail {name} {backbone}", _validated(LongtailConfig, where, own, shared)


def cells_under_test(study: Study, name: str) -> list[Cell]:
    """Return the cells that a robustness test takes.

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
    """Return a robustness test of the runs that cells came to.

    Raises:
        InputError: If a parameter is unknown or breaks its rule.
    """
    where = f"robustness.{name}"
    own = {key: value for key, value in study.robustness[name].items() if key not in LIMITS}
    for key in ("model", "runs", "filter", "reference_run"):
        if key in own:
            raise InputError(f"{where} must not set {key!r}: it tests the study's own cells; choose by methods")
    shared = {key: value for key, value in study.features.items() if key in RobustnessConfig.model_fields}
    return _validated(RobustnessConfig, where, own, shared | {"runs": ",".join(run_ids)})


def _check_test(study: Study, name: str) -> None:
    from resnet_mlflow.robustness.selection import build_cells, parse_corruptions, parse_severities, parse_tiers

    cells_under_test(study, name)
    config = robustness_config(study, name, [])
    try:
        build_cells(
            parse_corruptions(config.corruptions), parse_severities(config.severities, parse_tiers(config.tiers))
        )
    except InputError as error:
        raise InputError(f"robustness.{name}: {error}") from None


def _check_methods(name: str, config: LongtailConfig) -> None:
    from resnet_mlflow.longtail.methods import select_methods

    try:
        select_methods(config.methods, config.head)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _shared(study: Study) -> dict[str, Any]:
    for section, config_class in (("features", FeatureConfig), ("evaluation", FitHeadConfig)):
        for key in getattr(study, section):
            if key in CROSSED:
                raise InputError(f"{section} must not set {key!r}, which the study crosses; use {key}s")
            if key not in config_class.model_fields:
                raise InputError(f"{section} has no parameter {key!r}{nearest(key, config_class.model_fields)}")
    return study.features | study.evaluation


def _head_config(head: str, params: dict[str, Any] | None, shared: dict[str, Any]) -> FitHeadConfig:
    if head not in HEADS:
        raise InputError(f"heads must be among {', '.join(HEADS)}, got {head!r}{nearest(head, HEADS)}")
    text = yaml.safe_dump(params or {}, default_flow_style=True, width=10_000).strip()
    return _validated(FitHeadConfig, f"heads.{head}", {"head": head, "head_params": text}, shared)


def _tuned_config(head: str, params: dict[str, Any], shared: dict[str, Any]) -> FitHeadConfig:
    if head not in HEADS:
        raise InputError(f"tuning must be of {', '.join(HEADS)}, got {head!r}{nearest(head, HEADS)}")
    config = _validated(FitHeadConfig, f"tuning.{head}", {**params, "head": head}, shared)
    if not config.tunes:
        raise InputError(f"tuning.{head} must have n_trials above 0, got 0; pass n_trials")
    try:
        load_space(config.search_space, head, {})
    except InputError as error:
        raise InputError(f"tuning.{head}: {error}") from None
    return config


def _own_params(where: str, params: dict[str, Any], backbone: str, study: Study) -> dict[str, Any] | None:
    """Return the parameters a section sets, or nothing where its ``backbones`` leave this one out."""
    own = dict(params)
    return own if backbone in _limited_to(where, own.pop("backbones", study.backbones), study) else None


def _limited_to(where: str, backbones: Any, study: Study) -> tuple[str, ...]:
    for backbone in backbones:
        if backbone not in study.backbones:
            raise InputError(
                f"{where}.backbones must be among the study's ({', '.join(study.backbones)}), got {backbone!r}"
            )
    return tuple(backbones)


def _validated(config_class: type[ConfigT], where: str, own: dict[str, Any], shared: dict[str, Any]) -> ConfigT:
    try:
        return validate(config_class, shared | own)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
