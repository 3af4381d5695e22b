"""Stage `fit_head`: a head on the features of a frozen backbone; with trials, the best of a study."""

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.stages.cross_validation import CrossValidation, cross_validate
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.head_runs import fit_and_conclude, load_splits, run_name, run_tags, run_title
from resnet_mlflow.stages.preparation import Inputs, prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.tracking import stage_run


def run_fit_head(config: FitHeadConfig) -> Outcome:
    """Return the scores of a head fitted on features, which are extracted first if missing."""
    if config.folds:
        return _cross_validate(config)
    if config.head == "all":
        from resnet_mlflow.stages.tune_heads import tune_all_heads  # Optuna takes a second to import

        return tune_all_heads(config)
    return fit_head(config)


def fit_head(config: FitHeadConfig, inputs: Inputs | None = None) -> Outcome:
    """Return the scores of one head, on the inputs of a part if given.

    Args:
        config: The given configuration; its folds are ignored.
        inputs: Inputs of the run; prepared if not given.
    """
    if config.tunes:
        from resnet_mlflow.stages.tune_heads import tune_head

        return tune_head(config, inputs)
    params = parse_head_params(config.head_params)
    build_head(config.head, params, config.seed)  # Refused before a run exists.
    inputs = inputs or prepare(config)
    with stage_run(inputs.stage_of("fit_head"), config, run_name(config, inputs), run_tags(config, inputs)) as run:
        inputs, splits = load_splits(config, inputs)
        return fit_and_conclude(run, config, inputs, splits, params)


def _cross_validate(config: FitHeadConfig) -> Outcome:
    build_head(config.head, parse_head_params(config.head_params), config.seed)  # Refused before a run exists.
    inputs = prepare(config)
    return cross_validate(
        CrossValidation(
            stage="fit_head",
            config=config,
            inputs=inputs,
            name=run_name(config, inputs),
            tags=run_tags(config, inputs),
            title=run_title(config),
            prepare=lambda: ensure_features(config, inputs),
            run_fold=lambda own, part: fit_head(own, part).run_id,
        )
    )
