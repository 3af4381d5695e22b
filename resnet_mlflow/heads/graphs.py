"""Heads as torch modules for exported graphs: features to logits and leads.

Exported graphs compute in float32, where the difference of two large numbers has few digits left. Therefore, before
distances are computed, the mean of the reference points is subtracted from all features.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_mlflow.heads.preprocessing import Array

LogitsAndLeads = tuple[Tensor, Tensor]
_BEYOND_ALL = 1e30  # in place of infinity, which quantised graphs cannot represent


class CalibratedLogits(nn.Module):
    """A module's logits, and their probabilities as leads.

    Args:
        logits: Module that maps features to logits.
        temperature: Divisor of the logits before the softmax.
    """

    def __init__(self, logits: nn.Module, temperature: float) -> None:
        super().__init__()
        self.logits = logits
        self.temperature = temperature

    def forward(self, features: Tensor) -> LogitsAndLeads:
        """Return two tensors of shape (n_items, n_classes)."""
        logits = self.logits(features)
        return logits, functional.softmax(logits / self.temperature, dim=1)


class AdjustedLogits(nn.Module):
    """The logits of another head's graph, times a factor, plus an offset per class."""

    def __init__(self, graph: nn.Module, factor: float, offsets: Array) -> None:
        super().__init__()
        self.graph = graph
        self.factor = factor
        self.register_buffer("offsets", _float32(offsets))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_items, n_classes)."""
        logits: Tensor = self.graph(features)[0] * self.factor + self.get_buffer("offsets")
        return logits


class SquaredDistances(nn.Module):
    """Squared distances to points, by one matrix product.

    Args:
        points: Points, of shape (n_points, n_features).
    """

    def __init__(self, points: Array) -> None:
        super().__init__()
        mean = points.mean(axis=0, dtype=np.float64)
        centred = points - mean
        self.register_buffer("mean", _float32(mean))
        self.register_buffer("centred", _float32(centred))
        self.register_buffer("squares", _float32(np.einsum("ij,ij->i", centred, centred)))

    def forward(self, features: Tensor) -> Tensor:
        """Return squared distances of shape (n_items, n_points)."""
        centred = self.centre(features)
        products = centred @ self.get_buffer("centred").T
        squares = centred.square().sum(dim=1, keepdim=True) + self.get_buffer("squares")
        return (squares - 2 * products).clamp_min(0)

    def centre(self, features: Tensor) -> Tensor:
        """Return the features without the mean of the points."""
        return features - self.get_buffer("mean")


class PrototypeLogits(nn.Module):
    """Minus squared distances to the class means, or cosines with them."""

    def __init__(self, prototypes: Array, metric: str) -> None:
        super().__init__()
        self.metric = metric
        self.distances = SquaredDistances(prototypes)
        self.register_buffer("directions", functional.normalize(_float32(prototypes), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_items, n_classes)."""
        if self.metric == "cosine":
            return functional.normalize(features, dim=1) @ self.get_buffer("directions").T
        distances: Tensor = self.distances(features)
        return -distances


class NeighbourLogits(nn.Module):
    """The logarithms of the vote shares of the nearest training items; see ``KNNHead``.

    Args:
        features: Features of the training items, of unit length for the cosine, of shape (n_train, n_features).
        labels: Their classes, of shape (n_train,).
        n_classes: Number of classes.
        k: Neighbours that vote.
        spare: Extra neighbours that the search returns.
        metric: ``euclidean`` or ``cosine``.
        sharpness: One over the temperature of the vote; 0 means that all votes have equal weight.
        smallest: Vote share of a class without neighbours.
    """

    def __init__(
        self,
        features: Array,
        labels: Array,
        n_classes: int,
        *,
        k: int,
        spare: int,
        metric: str,
        sharpness: float,
        smallest: float,
    ) -> None:
        super().__init__()
        self.k, self.n_candidates = min(k, len(labels)), min(k + spare, len(labels))
        self.metric, self.sharpness, self.smallest = metric, sharpness, smallest
        self.distances = SquaredDistances(features)
        self.register_buffer("votes", _float32(np.eye(n_classes)[labels]))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_items, n_classes)."""
        if self.metric == "cosine":
            features = functional.normalize(features, dim=1)
        found = self.distances(features).topk(self.n_candidates, dim=1, largest=False).indices
        # In the order of the training items: of equal distances, the first one counts.
        candidates = found.sort(dim=1).values
        points: Tensor = self.distances.get_buffer("centred")
        differences = points[candidates] - self.distances.centre(features).unsqueeze(1)
        # Among equal values, ONNX's TopK takes the first; torch's may take any.
        nearest = differences.square().sum(dim=2).topk(self.k, dim=1, largest=False)
        rows = candidates.gather(1, nearest.indices)
        weights = torch.exp((nearest.values[:, :1] - nearest.values) * (self.sharpness / 2))
        shares = (self.get_buffer("votes")[rows] * weights.unsqueeze(2)).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        return shares.clamp_min(self.smallest).log()


class Kernel(nn.Module):
    """Kernel values with support vectors.

    Args:
        vectors: The support vectors, of shape (n_vectors, n_features).
        name: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        gamma: Coefficient of all but the linear kernel.
        coef0: Constant of ``poly`` and ``sigmoid``.
        degree: Degree of ``poly``.
    """

    def __init__(self, vectors: Array, name: str, gamma: float, coef0: float, degree: int) -> None:
        super().__init__()
        self.name, self.gamma, self.coef0, self.degree = name, gamma, coef0, degree
        if name == "rbf":
            self.distances = SquaredDistances(vectors)
        else:
            self.register_buffer("vectors", _float32(vectors))

    def forward(self, features: Tensor) -> Tensor:
        """Return values of shape (n_items, n_vectors)."""
        if self.name == "rbf":
            return torch.exp(-self.gamma * self.distances(features))
        products = features @ self.get_buffer("vectors").T
        if self.name == "linear":
            return products
        scaled = self.gamma * products + self.coef0
        return torch.tanh(scaled) if self.name == "sigmoid" else scaled**self.degree


class MarginLogits(nn.Module):
    """Minus and plus half the margin between two classes."""

    def __init__(self, kernel: nn.Module, coefficients: Array, intercept: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.intercept = intercept
        self.register_buffer("coefficients", _float32(coefficients))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_items, 2)."""
        margins = (self.kernel(features) * self.get_buffer("coefficients")).sum(dim=1) + self.intercept
        return torch.stack([-margins / 2, margins / 2], dim=1)


class PairwiseLogits(nn.Module):
    """Votes of one-vs-one decisions with summed confidence, and the smallest decision for each class as its lead.

    Args:
        kernel: Module that maps features to kernel values with the support vectors, which are sorted by class.
        coefficients: Coefficients of the support vectors against each class, (n_vectors, n_classes); 0 against their
            own.
        counts: Support vectors of each class, (n_classes,).
        intercepts: Antisymmetric, (n_classes, n_classes).
    """

    def __init__(self, kernel: nn.Module, coefficients: Array, counts: Array, intercepts: Array) -> None:
        super().__init__()
        self.kernel = kernel
        self.counts = [int(count) for count in counts]
        upper = np.triu(np.ones_like(intercepts), k=1)
        self.register_buffer("coefficients", _float32(coefficients))
        self.register_buffer("intercepts", _float32(intercepts))
        self.register_buffer("signs", _float32(upper - upper.T))
        self.register_buffer("own", _float32(_BEYOND_ALL * np.eye(len(self.counts))))

    def forward(self, features: Tensor) -> LogitsAndLeads:
        """Return two tensors of shape (n_items, n_classes)."""
        values = torch.split(self.kernel(features), self.counts, dim=1)
        parts = torch.split(self.get_buffer("coefficients"), self.counts)
        shares = torch.stack([value @ part for value, part in zip(values, parts, strict=True)], dim=1)
        signs = self.get_buffer("signs")
        decisions = signs * (shares + shares.transpose(1, 2)) + self.get_buffer("intercepts")
        # A decision of exactly zero counts for the first class of the pair.
        wins = (decisions > 0) | ((decisions == 0) & (signs > 0))
        confidence = decisions.sum(dim=2)
        logits = wins.float().sum(dim=2) + confidence / (3 * (confidence.abs() + 1))
        return logits, (decisions + self.get_buffer("own")).amin(dim=2)


def _float32(values: Array) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)
