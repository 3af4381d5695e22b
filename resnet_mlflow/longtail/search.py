"""Hyperparameters of a method from an Optuna trial."""

from typing import Protocol

from resnet_mlflow.longtail.selection import hyperparameters


class Trial(Protocol):
    """The required interface of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number in ``[low, high]``."""


def suggest_params(method: str, trial: Trial) -> dict[str, float]:
    """Return a value for each hyperparameter of a method or a combination, by name.

    ``beta`` is drawn as ``one_minus_beta`` on a logarithmic scale, since 0.99 and 0.999 are as far apart as 0.9 and
    0.99.

    Args:
        method: Name of a method, see ``selection.parse_methods``.
        trial: An Optuna trial; ``FixedTrial`` returns the parameters of an earlier one.

    Example:
        >>> from optuna.trial import FixedTrial
        >>> suggest_params("reweight_effective+focal", FixedTrial({"one_minus_beta": 0.01, "gamma": 2.0}))
        {'beta': 0.99, 'gamma': 2.0}
    """
    params = {}
    for name, rule in hyperparameters(method).items():
        if name == "beta":
            low, high = (_one_minus(end) for end in (rule.high, rule.low))
            params[name] = 1 - trial.suggest_float("one_minus_beta", low, high, log=True)
        else:
            params[name] = trial.suggest_float(name, rule.low, rule.high)
    return params


def default_suggestion(method: str) -> dict[str, float]:
    """Return the trial parameters for which ``suggest_params`` gives the defaults of a method.

    Example:
        >>> default_suggestion("reweight_effective+focal")
        {'one_minus_beta': 0.0001, 'gamma': 1.0}
    """
    defaults = {name: rule.default for name, rule in hyperparameters(method).items()}
    return {
        "one_minus_beta" if name == "beta" else name: _one_minus(value) if name == "beta" else value
        for name, value in defaults.items()
    }


def _one_minus(value: float) -> float:
    # Rounded, because subtraction leaves spurious digits: 1 - 1e-5 is 0.99999 to 12 places.
    return round(1 - value, 12)
