"""Stage `fit_head`: a head on the features of a frozen backbone; with trials, the best of a study."""

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.heads import build_head, parse_head_params
from resnet_mlflow.stages.head_runs import fit_and_conclude, load_splits, run_name, run_tags
from resnet_mlflow.stages.preparation import prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.tracking import stage_run


def run_fit_head(config: FitHeadConfig) -> Outcome:
    """Return the scores of a head fitted on features, which are extracted first where they are missing."""
    if config.tunes:
        from resnet_mlflow.stages.tune_heads import tune_all_heads, tune_head  # Optuna takes a second to import

        return tune_all_heads(config) if config.head == "all" else tune_head(config)
    params = parse_head_params(config.head_params)
    build_head(config.head, params, config.seed)  # Refused before there is a run.
    inputs = prepare(config)
    with stage_run("fit_head", config, run_name(config, inputs), run_tags(config, inputs)) as run:
        inputs, splits = load_splits(config, inputs)
        return fit_and_conclude(run, config, inputs, splits, params)
