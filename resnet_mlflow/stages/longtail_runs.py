"""One method with one seed as a separate run: what it logs, and what is read back later."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.config import LongtailConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.evaluation.scores import Evaluation
from resnet_mlflow.features.identity import FeatureSplit
from resnet_mlflow.longtail.fitting import FittedMethod
from resnet_mlflow.longtail.groups import group_tertiles, long_tail_metrics
from resnet_mlflow.longtail.posthoc import class_priors, prior_offsets
from resnet_mlflow.longtail.priors import implied_prior
from resnet_mlflow.longtail.selection import searched_on_grid
from resnet_mlflow.longtail.table import MethodRun
from resnet_mlflow.review import RunFacts
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key
from resnet_mlflow.stages.reporting import conclude
from resnet_mlflow.stages.reviewing import review_run
from resnet_mlflow.tracking import StageRun, find_runs, load_predictions, stage_run


@dataclass(frozen=True)
class MethodTask:
    """A method to run with a seed.

    Attributes:
        config: The comparison's configuration, narrowed to this method and seed.
        inputs: Its inputs.
        train_counts: Training images per class.
    """

    config: LongtailConfig
    inputs: Inputs
    train_counts: NDArray[np.int64]

    @property
    def method(self) -> str:
        """Return the method's name."""
        return self.config.methods

    @property
    def name(self) -> str:
        """Return the run's name."""
        return self.inputs.name_of(f"{self.model} s{self.config.seed}")

    @property
    def model(self) -> str:
        """Return the name of the model that the run logs."""
        return f"{self.method} {self.config.place} {self.config.backbone}"

    @property
    def stage(self) -> str:
        """Return the run's ``stage`` tag."""
        return self.inputs.stage_of("longtail")

    @property
    def tags(self) -> Mapping[str, object]:
        """Return the run's tags."""
        config = self.config
        return {
            **self.inputs.tags,
            "backbone": config.backbone,
            "head": config.head,
            "train_layers": config.train_layers,
            "method": self.method,
            "seed": config.seed,
            "cache_key": self.cache_key,
        }

    @property
    def cache_key(self) -> str:
        """Return the key of everything that determines the run's numbers."""
        return compute_cache_key("longtail", self.config, self.inputs)


def narrow(config: LongtailConfig, method: str, seed: int) -> LongtailConfig:
    """Return the configuration of one method and seed, which does not depend on the other methods compared."""
    return config.model_copy(update={"methods": method, "seeds": "", "seed": seed})


def comparison_name(config: LongtailConfig) -> str:
    """Return the name of the parent run of the methods' runs."""
    return f"longtail {config.place} {config.backbone} F{config.imbalance_factor:g}"


def comparison_tags(config: LongtailConfig, inputs: Inputs, methods: Sequence[str]) -> dict[str, object]:
    """Return the tags of the parent run of the methods' runs."""
    return {
        **inputs.tags,
        "backbone": config.backbone,
        "head": config.head,
        "train_layers": config.train_layers,
        "methods": ",".join(methods),
        "seeds": ",".join(map(str, config.all_seeds)),
    }


def find_finished(task: MethodTask) -> MethodRun | None:
    """Return the results of the task's run, if one has finished."""
    runs = find_runs({"stage": task.stage, "cache_key": task.cache_key})
    if not runs:
        return None
    tested = load_predictions(runs[0].info.run_id)
    index = {name: label for label, name in enumerate(task.inputs.dataset.class_names)}
    labels, predictions = (
        np.array([index[name] for name in names], dtype=np.int64) for names in (tested.labels, tested.predictions)
    )
    return MethodRun(
        task.method,
        task.config.seed,
        dict(runs[0].data.metrics),
        task.train_counts,
        labels,
        predictions,
        tested.item_ids,
        runs[0].info.run_id,
        reused=True,
    )


def method_run(task: MethodTask) -> AbstractContextManager[StageRun]:
    """Return the task's run as a context to enter."""
    return stage_run(task.stage, task.config, task.name, task.tags)


def log_fitted(
    run: StageRun,
    task: MethodTask,
    fitted: FittedMethod,
    splits: Mapping[str, FeatureSplit],
    times: Mapping[str, float],
    step: int = 0,
) -> MethodRun:
    """Log a fitted method's choice of hyperparameters and its scores, and return them."""
    log_choice(run, fitted)
    title = f"{task.method} with {task.config.head} on {task.train_counts.sum():,} long-tailed images"
    implied = implied_prior(task.method, task.train_counts, fitted.chosen)
    more = further_scores(task.config, task.train_counts, implied)
    outcome = conclude(
        run, task.inputs, fitted.head, splits, task.config, title, task.model, times, step, more, scarce=True
    )
    if not task.config.n_trials:  # trials cover the full range of a hyperparameter
        tried = [params for params, _ in fitted.curve]
        review_run(run, RunFacts(searched=tuple(searched_on_grid(task.method, fitted.chosen, tried))))
    test = outcome.evaluations["test"]
    return MethodRun(
        task.method,
        task.config.seed,
        outcome.metrics,
        task.train_counts,
        test.labels,
        test.predictions,
        test.item_ids,
        outcome.run_id,
    )


def log_choice(run: StageRun, fitted: FittedMethod) -> None:
    """Log the hyperparameters chosen on validation data, and the balanced accuracy of all those tried."""
    if not fitted.chosen:
        return
    run.set_tags({f"chosen.{name}": f"{value:g}" for name, value in fitted.chosen.items()})
    if not fitted.curve:
        return
    points = [{**params, "val_balanced_accuracy": score} for params, score in fitted.curve]
    run.log_json({"chosen": dict(fitted.chosen), "curve": points}, "selection.json")
    run.log_series({f"selection/{name}": [point[name] for point in points] for name in points[0]})


def thresholds(config: LongtailConfig, train_counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the thresholds of training images above which a class is many, and below which it is few."""
    return group_tertiles(train_counts) if config.grouping == "tertiles" else (config.many_above, config.few_below)


def further_scores(
    config: LongtailConfig, train_counts: NDArray[np.int64], implied: NDArray[np.float64]
) -> Callable[[Evaluation], dict[str, float]]:
    """Return a function that adds scores by class size and under the test prior to an evaluation.

    Args:
        config: Settings of grouping and test prior.
        train_counts: Training images per class.
        implied: Class prior implied by the classifier's scores.
    """
    many, few = thresholds(config, train_counts)
    prior = parse_prior(config.test_prior, train_counts)

    def scores(evaluation: Evaluation) -> dict[str, float]:
        metrics = long_tail_metrics(evaluation, train_counts, many, few)
        # MLflow cannot average over missing values: groups without classes have no metric.
        metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
        if prior is not None:
            metrics |= _prior_scores(evaluation, prior, implied)
        return metrics

    return scores


def parse_prior(text: str, train_counts: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the class shares in ``test_prior``; ``None`` if uniform.

    Raises:
        InputError: If it is not one positive number per class.
    """
    if text == "uniform":
        return None
    if text == "train":
        return class_priors(train_counts)
    try:
        shares = [float(word) for word in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != len(train_counts) or not all(0 < share < math.inf for share in shares):
        raise InputError(
            f"test_prior must be uniform, train, or {len(train_counts)} comma-separated fractions above 0 (one per "
            f"class), got {text!r}; for example {','.join(['1'] * min(3, len(train_counts)))}..."
        )
    return np.asarray(shares) / sum(shares)


def _prior_scores(evaluation: Evaluation, prior: NDArray[np.float64], implied: NDArray[np.float64]) -> dict[str, float]:
    """Return the accuracies, plain and corrected, if classes have the shares ``prior``."""
    tiny = np.finfo(np.float64).tiny  # a probability of 0 stays the last choice
    scores = np.log(np.maximum(evaluation.probabilities, tiny)) + prior_offsets(prior, implied)
    right = {"prior_accuracy": evaluation.predictions, "prior_accuracy_corrected": scores.argmax(axis=1)}
    support = np.bincount(evaluation.labels, minlength=len(prior))
    weights = (prior / np.maximum(support, 1))[evaluation.labels]
    return {
        name: float(weights[predictions == evaluation.labels].sum() / weights.sum())
        for name, predictions in right.items()
    }
