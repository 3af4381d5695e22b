"""Rules, and scores of images unlike the training images, as torch modules for exported graphs."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.graphs import SquaredDistances
from resnet_mlflow.registry import load
from resnet_mlflow.registry.ood_scores import OOD_SCORES
from resnet_mlflow.uncertainty.rules import Rules
from resnet_mlflow.uncertainty.scores import Arrays, K

_LEAST_FLOAT32 = float(np.finfo(np.float32).min)


class RulesGraph(nn.Module):
    """``Rules.judge`` as a module, without groups and without brightness, which only affects reasons.

    Args:
        rules: Rules of the classifier.
        class_names: Class names in the order of the head's columns.

    Raises:
        InputError: If the score of unlike images has no graph.
    """

    def __init__(self, rules: Rules, class_names: Sequence[str]) -> None:
        super().__init__()
        sets = rules.sets
        limits = [sets.by_class.get(name, sets.least) if sets.per == "class" else sets.least for name in class_names]
        self.register_buffer("limits", torch.tensor(limits, dtype=torch.float32))
        self.has_costs = bool(rules.costs)
        self.register_buffer("costs", torch.tensor(rules.costs or ((0.0,),), dtype=torch.float32))
        # In float32, the lowest threshold, which is below every confidence, would be infinite.
        self.threshold = _LEAST_FLOAT32 if rules.answering is None else max(rules.answering.threshold, _LEAST_FLOAT32)
        self.unlike = None if rules.unlike is None else score_graph(rules.unlike.score, rules.arrays)
        self.unlike_threshold = 0.0 if rules.unlike is None else rules.unlike.threshold

    def forward(self, features: Tensor, logits: Tensor, leads: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        """Return label, set, answered and unlike: ``(n,)`` int64, ``(n, n_classes)``, ``(n,)`` and ``(n,)`` bool."""
        likeliest = scores.argmax(dim=1)
        label = (scores @ self.get_buffer("costs")).argmin(dim=1) if self.has_costs else likeliest
        is_likeliest = functional.one_hot(likeliest, scores.shape[1]) == 1
        inside = (scores >= self.get_buffer("limits")) | is_likeliest
        sure = leads.gather(1, label.unsqueeze(1)).squeeze(1) >= self.threshold
        if self.unlike is None:
            return label, inside, sure, torch.zeros_like(sure)
        unlike = self.unlike(features, logits) > self.unlike_threshold
        return label, inside, sure & ~unlike, unlike


def score_graph(name: str, arrays: Arrays) -> nn.Module:
    """Return a module that maps features and logits to a score of ``OOD_SCORES``, of shape ``(n_images,)``.

    Args:
        name: Name of a row of ``OOD_SCORES``.
        arrays: The score's fitted state from the training images.

    Raises:
        InputError: If the row has no graph.
    """
    row = OOD_SCORES.find(name)
    if not row.graph:
        known = ", ".join(other.name for other in OOD_SCORES.values() if other.graph)
        raise InputError(
            f"ood_score of an exported classifier must be one of {known}, got {name}; promote with one of them"
        )
    graph: nn.Module = load(row.graph)(arrays)
    return graph


class KnnScore(nn.Module):
    """See ``scores.knn``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.k = min(K, len(arrays["bank"]))
        self.register_buffer("bank", torch.tensor(arrays["bank"]))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return a score per image."""
        cosines = functional.normalize(features, dim=1) @ self.get_buffer("bank").T
        return 1 - cosines.topk(self.k, dim=1).values[:, -1]


class MahalanobisScore(nn.Module):
    """See ``scores.mahalanobis``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.register_buffer("whitening", torch.tensor(arrays["whitening"]))
        self.distances = SquaredDistances(arrays["means"])

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return a score per image."""
        distances: Tensor = self.distances(features @ self.get_buffer("whitening"))
        return distances.amin(dim=1)


class EnergyScore(nn.Module):
    """See ``scores.energy``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return a score per image."""
        return -logits.logsumexp(dim=1)


class MaxSoftmaxScore(nn.Module):
    """See ``scores.max_softmax``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return a score per image."""
        return 1 - functional.softmax(logits, dim=1).amax(dim=1)
