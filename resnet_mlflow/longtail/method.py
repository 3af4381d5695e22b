"""Fields of a row of ``methods``, and the arguments of its builder. Does not import torch.

The builder is a text ``module:attribute``, imported on first use. Depending on the kind, it is called as

- ``sampling``: ``(labels, counts, n_epochs, seed, n_rows, **params)`` -> a function from an epoch, from 1, to its rows
- ``resampling``: ``(labels, seed, **params)`` -> the rows to keep, possibly repeated
- ``synthesis``: ``(features, labels, seed, **params)`` -> features and labels, including synthetic ones
- ``weighting``: ``(counts, **params)`` -> class weights of mean 1, of shape (n_classes,)
- ``loss``: ``(counts, n_epochs=, weights=, label_smoothing=, **params)`` -> a ``losses.LongTailLoss``
- ``posthoc``: ``(head, counts, val)`` -> a ``corrections.Correction``, a function of ``params``
- ``decoupled``: ``(base, data, **params)`` -> the head of the second step

where ``labels`` are 0 to ``n_classes - 1`` of shape (n_items,), ``counts`` training images by class of shape
(n_classes,), and ``params`` the row's hyperparameters by name. ``val`` holds validation features and labels, ``data``
is a ``decoupled.Stage2``, and ``base`` is a function that returns the head fitted with ``none``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from resnet_mlflow.registry import load
from resnet_mlflow.registry.heads import HEADS

Kind = Literal["none", "sampling", "resampling", "synthesis", "weighting", "loss", "posthoc", "decoupled"]

# Where a kind acts: a combination has at most one method from each place.
PLACES: Mapping[Kind, str] = {kind: kind for kind in get_args(Kind)} | {
    "resampling": "sampling",
    "synthesis": "sampling",
}
# Kinds that act on a fitted classifier; the others act in training.
AFTERWARDS: tuple[Kind, ...] = ("none", "posthoc", "decoupled")


@dataclass(frozen=True)
class Heads:
    """Which heads a method applies to.

    Attributes:
        include: Returns whether a head's name is one of them.
        why_not: Why the method does not apply to other heads; empty if it applies to all.
    """

    include: Callable[[str], bool]
    why_not: str = ""


ANY_HEAD = Heads(lambda head: True)
SENSITIVE_HEADS = Heads(lambda head: HEADS[head].depends_on_class_sizes, "class means do not depend on class sizes")


def trained_heads(why_not: str) -> Heads:
    """Return the heads that are trained by gradient descent, epoch by epoch."""
    return Heads(lambda head: HEADS[head].has_epochs, why_not)


def named_heads(*names: str, why_not: str) -> Heads:
    """Return heads by name, for a method that is made for them."""
    return Heads(lambda head: head in names, why_not)


@dataclass(frozen=True)
class Hyperparameter:
    """A number of a method that is chosen on validation data.

    Attributes:
        default: Value if nothing is chosen.
        grid: Values to try otherwise.
        low: Smallest value for a search without a grid.
        high: Largest value.
    """

    default: float
    grid: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Method:
    """One long-tail method.

    Attributes:
        name: Name that users write.
        kind: Where it acts: on the draw of items, their weights, the loss, the fitted classifier, or in two steps.
        applies_to: Heads that it applies to.
        reference: Source paper.
        builder: Its function as ``module:attribute``; see above for its arguments.
        hyperparameters: Numbers chosen on validation data, by name.
        corrects: Whether it corrects for class frequencies; two such methods together would correct twice.
        removed: The power of the class shares that training or correction removes from the prior of the classifier's
            scores: 1 by default, 0 for none, or the value of the hyperparameter with this name. It is not used for
            weightings, where it follows from the weights.
        whole_schedule: Whether its last epochs train differently, so that early stopping would skip them.
    """

    name: str
    kind: Kind
    applies_to: Heads
    reference: str
    builder: str = ""
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    corrects: bool = True
    removed: float | str = 1.0
    whole_schedule: bool = False

    def __post_init__(self) -> None:
        if self.kind not in PLACES:
            raise ValueError(f"kind must be one of {', '.join(PLACES)}, got {self.kind!r} for method {self.name!r}")
        module, colon, attribute = self.builder.partition(":")
        if self.kind != "none" and not (module and colon and attribute):
            raise ValueError(
                f"a method must name its builder as module:attribute, got {self.builder!r} for {self.name!r}; without "
                f"a builder the method would do nothing"
            )
        if isinstance(self.removed, str) and self.removed not in self.hyperparameters:
            raise ValueError(f"removed must be a number or a hyperparameter, got {self.removed!r} for {self.name!r}")

    @property
    def heads(self) -> tuple[str, ...]:
        """Return the names of the heads that it applies to."""
        return tuple(head for head in HEADS if self.applies_to.include(head))

    @property
    def place(self) -> str:
        """Return where it acts; a combination has at most one method from each place."""
        return PLACES[self.kind]

    @property
    def acts_afterwards(self) -> bool:
        """Return whether it acts on a fitted classifier rather than in training."""
        return self.kind in AFTERWARDS

    @property
    def on_images(self) -> bool:
        """Return whether it works for whole networks: through rows, weights or loss, or by correction afterwards."""
        return self.kind != "synthesis"

    def own(self, params: Mapping[str, float]) -> dict[str, float]:
        """Return its own hyperparameters from a mapping, with defaults for missing ones."""
        return {name: params.get(name, rule.default) for name, rule in self.hyperparameters.items()}

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of its builder for the arguments of its kind."""
        return load(self.builder)(*args, **kwargs)
