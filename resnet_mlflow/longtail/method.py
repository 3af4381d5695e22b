"""What a row of ``methods`` says about a method, and the arguments of its builder; does not import torch.

The function is named as text, ``module:attribute``, and imported when it is first used. By kind, it is called as

- ``sampling``: ``(labels, counts, n_epochs, seed, n_rows, **params)`` -> epoch's number, from 1, to the rows it sees
- ``resampling``: ``(labels, seed, **params)`` -> the rows kept, some of them more than once
- ``synthesis``: ``(features, labels, seed, **params)`` -> features and labels, made ones among them
- ``weighting``: ``(counts, **params)`` -> class weights of mean 1, of shape (n_classes,)
- ``loss``: ``(counts, n_epochs=, weights=, label_smoothing=, **params)`` -> a ``losses.LongTailLoss``
- ``posthoc``: ``(head, counts, val)`` -> a ``corrections.Correction``, which takes ``params``
- ``decoupled``: ``(base, data, **params)`` -> the head of the second step

where ``labels`` are 0 to ``n_classes - 1`` of shape (n_items,), ``counts`` training images by class of shape
(n_classes,), and ``params`` the row's hyperparameters by name. ``val`` are features and labels of validation, ``data``
is a ``decoupled.Stage2``, and ``base`` a function that returns the head fitted with ``none``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from resnet_mlflow.registry import load
from resnet_mlflow.registry.heads import HEADS

Kind = Literal["none", "sampling", "resampling", "synthesis", "weighting", "loss", "posthoc", "decoupled"]

# Where a kind acts: a combination takes one method from each place.
PLACES: Mapping[Kind, str] = {kind: kind for kind in get_args(Kind)} | {
    "resampling": "sampling",
    "synthesis": "sampling",
}
# What acts on a fitted classifier; the other kinds act in its training.
AFTERWARDS: tuple[Kind, ...] = ("none", "posthoc", "decoupled")


@dataclass(frozen=True)
class Heads:
    """Which heads a method applies to.

    Attributes:
        include: Whether a head's name is one of them.
        why_not: Why the method does not apply to the others; empty where there are none.
    """

    include: Callable[[str], bool]
    why_not: str = ""


ANY_HEAD = Heads(lambda head: True)
SENSITIVE_HEADS = Heads(lambda head: HEADS[head].depends_on_class_sizes, "class means do not depend on class sizes")


def trained_heads(why_not: str) -> Heads:
    """Return the heads that are trained by gradient descent, epoch by epoch."""
    return Heads(lambda head: HEADS[head].has_epochs, why_not)


def named_heads(*names: str, why_not: str) -> Heads:
    """Return some heads by name, for a method that is made for them."""
    return Heads(lambda head: head in names, why_not)


@dataclass(frozen=True)
class Hyperparameter:
    """One number of a method that is chosen on validation.

    Attributes:
        default: What a method uses where nothing is chosen.
        grid: What is tried otherwise.
        low: Smallest value that is possible, where a search that is no grid starts.
        high: Largest.
    """

    default: float
    grid: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Method:
    """One long-tail method.

    Attributes:
        name: What users write.
        kind: Where it acts: on the draw of items, their weights, the loss, the fitted classifier, or in two steps.
        applies_to: Heads it applies to.
        reference: Paper it is from.
        builder: Its function as ``module:attribute``; see the table above for what it is called with.
        hyperparameters: What is chosen on validation, by name.
        corrects: Whether it corrects for class frequencies; two such methods together correct twice.
        removed: The power of the class shares that training or correction takes out of the prior which the classifier's
            scores are made for: all by default, none with 0, or as much as the hyperparameter of this name says. Of a
            weighting it is not read: what it takes out follows from its weights.
        whole_schedule: Whether its last epochs are another training, which stopping early would leave out.
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
        """Return the names of the heads it applies to."""
        return tuple(head for head in HEADS if self.applies_to.include(head))

    @property
    def place(self) -> str:
        """Return where it acts; a combination takes one method from each place."""
        return PLACES[self.kind]

    @property
    def acts_afterwards(self) -> bool:
        """Return whether it acts on a fitted classifier, rather than in its training."""
        return self.kind in AFTERWARDS

    @property
    def on_images(self) -> bool:
        """Return whether whole networks can be trained with it: by rows, weights or loss, or corrected afterwards."""
        return self.kind != "synthesis"

    def own(self, params: Mapping[str, float]) -> dict[str, float]:
        """Return its hyperparameters among others', with its defaults for those that are not there."""
        return {name: params.get(name, rule.default) for name, rule in self.hyperparameters.items()}

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Return what its builder makes of the arguments that its kind asks for."""
        return load(self.builder)(*args, **kwargs)
