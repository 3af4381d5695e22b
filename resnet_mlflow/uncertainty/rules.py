"""A packaged classifier's rules for when not to answer: their content, their files, and their application to images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.uncertainty.answering import AnswerRule
from resnet_mlflow.uncertainty.conformal import Flags, SetRule
from resnet_mlflow.uncertainty.costs import cheapest
from resnet_mlflow.uncertainty.pictures import Light, explain
from resnet_mlflow.uncertainty.unlike import UnlikeRule

RULES_FILE, ARRAYS_FILE = "rules.json", "rules.safetensors"
MAX_RULES_BYTES = 2**24
UNCERTAIN, UNLIKE = "uncertain", "unlike training images"
Source = Literal["kept_aside", "cross_fit"]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Judged:
    """Result of applying rules to images.

    Attributes:
        probabilities: ``(n_images, n_classes)``.
        labels: Index of the answered class, ``(n_images,)``: the most probable, or the one of lowest cost.
        sets: Which classes are in each image's set, ``(n_images, n_classes)``; None without such a rule.
        answered: Whether the label is given as an answer, ``(n_images,)``.
        reasons: Why it is not, ``(n_images,)``; empty texts if it is.
    """

    probabilities: Floats
    labels: NDArray[np.int64]
    sets: Flags | None
    answered: Flags
    reasons: NDArray[np.str_]

    @property
    def label_probabilities(self) -> Floats:
        """Return the probability of each image's label, ``(n_images,)``."""
        return np.asarray(self.probabilities[np.arange(len(self.labels)), self.labels])

    def named_sets(self, class_names: Sequence[str]) -> list[list[str]]:
        """Return the names of the classes in each image's set; empty without a rule for sets."""
        rows = [] if self.sets is None else list(self.sets)
        return [[class_names[index] for index in np.flatnonzero(row).tolist()] for row in rows]


@dataclass(frozen=True)
class Rules:
    """When a classifier should not answer, and what it answers.

    Attributes:
        source: Origin of the calibration images: ``kept_aside`` from validation, or training images that were held out
            in a cross-fit.
        sets: Rule for prediction sets.
        answering: Rule for the lowest confidence with an answer; None means any confidence.
        unlike: Rule for images unlike those of training; None means that none are.
        costs: Costs of answers by true class, row by row; empty means that all mistakes cost the same.
        limits: Limits of brightness by cause; see ``pictures``.
        arrays: Fitted state of ``unlike`` by name; stored in a separate file.
    """

    source: Source
    sets: SetRule
    answering: AnswerRule | None = None
    unlike: UnlikeRule | None = None
    costs: tuple[tuple[float, ...], ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    # Any, because pydantic has no schema for arrays.
    arrays: Mapping[str, Any] = field(default_factory=dict)

    def decide(self, probabilities: Floats) -> NDArray[np.int64]:
        """Return the index of the answered class, ``(n_images,)``."""
        return cheapest(probabilities, np.array(self.costs) if self.costs else None)

    def unlike_training(self, features: Floats, logits: Floats) -> Flags:
        """Return which images are unlike those of training, ``(n_images,)``; none without a rule for this."""
        if self.unlike is None:
            return np.zeros(len(features), dtype=bool)
        return self.unlike.flags(self.arrays, features, logits)

    def judge(
        self,
        head: HeadBase,
        features: Floats,
        light: Light,
        class_names: Sequence[str],
        groups: Sequence[str] = (),
    ) -> Judged:
        """Return the result of applying the rules to images.

        Args:
            head: Head of the classifier.
            features: ``(n_images, n_features)``.
            light: Brightness of the pictures, see ``pictures.measure_light``; NaN if unknown.
            class_names: Class names in the order of the head's columns.
            groups: Name of each image's group, for sets per group.
        """
        logits, leads = head.logits_and_leads(features)
        probabilities = softmax(logits / head.temperature_, axis=1)
        labels = self.decide(probabilities)
        threshold = -np.inf if self.answering is None else self.answering.threshold
        unsure = leads[np.arange(len(labels)), labels] < threshold
        unlike = self.unlike_training(features, logits)
        answered, causes = ~(unlike | unsure), explain(light, self.limits)
        reasons = np.select([answered, causes != "", unlike], ["", causes, UNLIKE], UNCERTAIN)
        sets = self.sets.sets(probabilities, class_names, groups)
        return Judged(probabilities, labels, sets, answered, reasons)


def write_rules(folder: Path, rules: Rules) -> None:
    """Write a classifier's rules: arrays as safetensors, the rest as JSON."""
    (folder / RULES_FILE).write_text(json.dumps(rules_as_json(rules), indent=1), encoding="utf-8")
    save_file(dict(rules.arrays), folder / ARRAYS_FILE)


def rules_as_json(rules: Rules) -> dict[str, Any]:
    """Return the rules without the arrays, ready for display and for JSON."""
    found = {one.name: getattr(rules, one.name) for one in fields(rules) if one.name != "arrays"}
    return {name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in found.items()}


def read_rules(folder: Path, head: HeadBase, class_names: Sequence[str]) -> Rules | None:
    """Return a classifier's rules, or None if it was packaged without, or before rules existed.

    Args:
        folder: Folder of the classifier.
        head: Head of the classifier.
        class_names: Names of its classes.

    Raises:
        InputError: If they are damaged, or belong to another classifier.
    """
    path = folder / RULES_FILE
    if not path.exists():
        return None
    try:
        if path.stat().st_size > MAX_RULES_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        arrays = load_file(folder / ARRAYS_FILE)
        rules = TypeAdapter(Rules).validate_python({**content, "arrays": {}})
        rules = Rules(**{**{one.name: getattr(rules, one.name) for one in fields(rules)}, "arrays": arrays})
        _try(rules, head, class_names)
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError, InputError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"a classifier's folder must contain {RULES_FILE} and {ARRAYS_FILE}, undamaged, got {folder} ({reason}); "
            f"promote "
            "it again"
        ) from None
    return rules


def _try(rules: Rules, head: HeadBase, class_names: Sequence[str]) -> None:
    """Apply rules to two images, so that inconsistent parts fail now and not in a request."""
    n = len(class_names)
    if rules.costs and np.shape(rules.costs) != (n, n):
        raise ValueError(f"costs of shape {np.shape(rules.costs)} for {n} classes")
    features = np.ones((2, int(head.n_features_in_)), dtype=np.float32)
    rules.judge(head, features, np.zeros((2, 4), dtype=np.float32), class_names)
