"""The class prior implied by a method's scores."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.posthoc import class_priors
from resnet_mlflow.longtail.selection import method_parts
from resnet_mlflow.longtail.weights import Floats


def implied_prior(method: str, counts: ArrayLike, chosen: Mapping[str, float]) -> Floats:
    """Return the class shares under which a method's scores are posteriors, of shape (n_classes,).

    Cross-entropy on draws or weights that give class ``c`` the mass ``m_c`` fits posteriors for that prior. Adding
    ``tau * log prior`` in the loss, or subtracting it afterwards, divides the prior by its power ``tau``. For other
    methods that correct for class sizes, the prior is assumed to be uniform.

    Args:
        method: Name of a method or a combination.
        counts: Training images by class, of shape (n_classes,).
        chosen: The method's hyperparameters.

    Example:
        >>> implied_prior("none", [3, 1], {}).tolist()
        [0.75, 0.25]
        >>> implied_prior("logit_adjust_posthoc", [3, 1], {"tau": 1.0}).tolist()
        [0.5, 0.5]
    """
    prior = class_priors(counts)
    implied = prior.copy()
    for part in method_parts(method):
        row = METHODS[part]
        if row.kind == "weighting":
            implied *= row.build(counts, **row.own(chosen))
        else:
            implied /= prior ** (chosen[row.removed] if isinstance(row.removed, str) else row.removed)
    return np.asarray(implied / implied.sum())
