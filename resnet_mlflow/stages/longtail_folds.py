"""Long-tail methods cross-validated: a run per method below the comparison's, a run per fold below the method's."""

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.data.folds import pool_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.longtail.folds import MethodFolds, build_folds_table, folds_markdown
from resnet_mlflow.process import reason_of
from resnet_mlflow.stages.cross_validation import CrossValidation, cross_validate, divide_all
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.longtail_kinds import sources
from resnet_mlflow.stages.longtail_runs import MethodTask, comparison_name, comparison_tags, narrow, parse_prior
from resnet_mlflow.stages.longtail_sources import FeatureSource
from resnet_mlflow.stages.parents import parent_run
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, digest_of
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.terminal import say
from resnet_mlflow.tracking import StageRun, load_out_of_fold

logger = logging.getLogger(__name__)

# The heads fitted with none, by fold, for methods that start from them.
Bases = dict[str, HeadBase | None]


def cross_validate_methods(config: LongtailConfig, inputs: Inputs, methods: Sequence[str]) -> bool:
    """Run every method on all folds, except finished ones, and return whether all are finished.

    The training part of each fold is reduced to the long tail; the held-out part is not changed.

    Raises:
        InputError: If the images cannot be divided like this, or the same comparison is running in another process.
    """
    divide_all(config, inputs)
    counts = np.bincount(pool_of(inputs.dataset).labels, minlength=len(inputs.dataset.class_names))
    parse_prior(config.test_prior, counts)  # Refused before a run exists.
    name = f"{comparison_name(config)} {config.repeats} x {config.folds} folds"
    tags = comparison_tags(config, inputs, methods) | {"folds": config.folds, "repeats": config.repeats}
    # Differs from that of a single method, which may have the same configuration.
    key = digest_of({"comparison": compute_cache_key("longtail", config, inputs)})
    failures: dict[str, str] = {}
    with parent_run("longtail", config, name, tags, key) as run:
        found, bases = [], Bases()
        for method in methods:
            try:
                found.append(_result(method, _cross_validate(narrow(config, method, config.seed), inputs, bases)))
            except Exception as error:  # One failing method must not stop the others; Ctrl-C passes.
                failures[method] = reason_of(error)
                logger.error("%s FAILED: %s", method, failures[method])
                logger.debug("traceback", exc_info=not isinstance(error, InputError))
        markdown = _log(run, config, inputs, found, failures)
        if failures:
            run.failure = f"{len(failures)} of {len(methods)} methods failed"
    say(markdown)
    return not failures


def _cross_validate(config: LongtailConfig, inputs: Inputs, bases: Bases) -> Outcome:
    task = MethodTask(config, inputs, np.array([], dtype=np.int64))
    return cross_validate(
        CrossValidation(
            stage="longtail",
            config=config,
            inputs=inputs,
            name=task.name,
            tags=task.tags,
            title=f"{task.method} with {config.head}, long-tailed training images",
            prepare=lambda: ensure_features(config, inputs) if config.train_layers == "fc" else None,
            run_fold=partial(_run_fold, bases),
        )
    )


def _run_fold(bases: Bases, config: LongtailConfig, inputs: Inputs) -> str:
    (source,) = sources(config, inputs)
    task = MethodTask(config, inputs, source.train_counts)
    if not isinstance(source, FeatureSource):
        return source.run(task).run_id
    fold = "".join(inputs.identity.split_ids.values())
    source.base = bases.get(fold)
    run_id = source.run(task).run_id
    bases[fold] = source.base
    return run_id


def _result(method: str, outcome: Outcome) -> MethodFolds:
    crossed = load_out_of_fold(outcome.run_id).crossed()
    return MethodFolds(method, outcome.metrics, crossed.correct, crossed.folds, crossed.labels)


def _log(
    run: StageRun, config: LongtailConfig, inputs: Inputs, found: Sequence[MethodFolds], failures: dict[str, str]
) -> str:
    if not found:
        return "No method finished:\n\n" + "\n".join(f"- {name}: {why}" for name, why in failures.items())
    table = build_folds_table(found)
    profile = "natural" if config.profile == "natural" else f"{config.profile}, factor {config.imbalance_factor:g}"
    heading = f"Long tail on {inputs.dataset.short_name} ({profile}); {config.backbone} ({inputs.weights.label})"
    markdown = folds_markdown(table, heading, config.folds, config.repeats, failures)
    with run.artifacts() as folder:
        (folder / "comparison.md").write_text(markdown)
        table.to_csv(folder / "comparison.csv", index=False)
    run.log_note("\n\n".join([markdown, *inputs.remarks]))
    return markdown
