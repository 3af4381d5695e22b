"""Post-hoc methods: corrections of a fitted head, scored on validation data, and the head with the best of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import HeadBase, Validation
from resnet_mlflow.longtail.adjusted import adjust, logit_factor
from resnet_mlflow.longtail.layers import LayeredHead, last_layer, layer_inputs, with_last_layer
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.posthoc import (
    Curve,
    Floats,
    Params,
    choose,
    logit_offsets,
    mean_recall,
    row_norms,
    tau_normalize,
)


@dataclass(frozen=True)
class Correction:
    """A method's correction of a fitted head, as a function of its hyperparameters.

    Attributes:
        logits: Maps parameters to logits on validation data, without building a head.
        build: Maps parameters to the corrected head.
    """

    logits: Callable[[Params], Floats]
    build: Callable[[Params], HeadBase]


def correct(
    method: str, head: HeadBase, counts: NDArray[np.int64], val: Validation, grid: Iterable[Params]
) -> tuple[HeadBase, dict[str, float], Curve]:
    """Return the corrected head, the parameters with the best balanced accuracy on validation data, and all scores.

    Args:
        method: A post-hoc method.
        head: A fitted head that the method applies to; it is not modified.
        counts: Training images by class, of shape (n_classes,).
        val: Validation features and labels for the choice.
        grid: Parameters to try.

    Raises:
        InputError: If the method is not a post-hoc method.
    """
    row = METHODS.find(method)
    if row.kind != "posthoc":
        known = ", ".join(name for name, other in METHODS.items() if other.kind == "posthoc")
        raise InputError(f"a fitted head can only be corrected by {known}, got {method!r}; choose one of them")
    correction: Correction = row.build(head, counts, val)
    labels = np.asarray(val[1])
    best, curve = choose(lambda params: mean_recall(labels, correction.logits(params).argmax(axis=1)), grid)
    return correction.build(best), best, curve


def logit_adjustment(head: HeadBase, counts: NDArray[np.int64], val: Validation) -> Correction:
    """Return the correction that adds ``-tau * log(prior)`` to the logits; see ``posthoc.logit_offsets``."""
    logits = head.logits(val[0])
    factor = logit_factor(head, logits, np.asarray(val[1]))
    return Correction(
        lambda params: np.asarray(logits * factor + logit_offsets(counts, params["tau"])),
        lambda params: adjust(head, logit_offsets(counts, params["tau"]), factor),
    )


def tau_norm(head: LayeredHead, counts: NDArray[np.int64], val: Validation) -> Correction:
    """Return the correction that divides last-layer rows by a power of their norms; see ``posthoc.tau_normalize``."""
    weight, bias = last_layer(head)
    scores = layer_inputs(head, val[0]).astype(np.float64) @ weight.T
    return Correction(
        lambda params: np.asarray(scores / row_norms(weight) ** params["tau"]),
        lambda params: with_last_layer(head, tau_normalize(weight, params["tau"]), np.zeros_like(bias)),
    )
