"""k nearest neighbours on features: one search serves every k."""

from collections import deque
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import Array, HeadBase, Validation
from resnet_mlflow.heads.blocks import thread_per_block
from resnet_mlflow.heads.portable import accelerated
from resnet_mlflow.heads.preprocessing import unit_length

if TYPE_CHECKING:
    from torch import nn

Neighbours = tuple[Array, Array]

SPARE = 8  # neighbours beyond k that the search returns: it may misplace near-ties by rounding
SEARCH_ROWS = 4096
BLOCK_VALUES = 2**17  # feature differences held at once: 512 KiB in float32, which a core's cache holds
THREAD_ROWS = 256  # items whose distances a thread computes at a time
SMALLEST_VOTE = 1e-6  # of a class without neighbours: its logit must be finite


class KNNHead(HeadBase):
    """A vote of the k nearest training items; logits are the logarithms of the shares of the vote.

    Distances to the nearest candidates are recomputed from differences, so neighbours do not depend on rounding in the
    search. Ties in distance follow the order of the training items; ties in the vote go to the first class.

    Args:
        k: Number of neighbours, at least 1; values above the number of training items mean all of them.
        metric: ``euclidean`` or ``cosine``.
        weights: ``uniform``, or ``softmax``: a neighbour's vote has weight exp(similarity / T).
        T: Temperature of ``softmax``, above 0. The similarity is the cosine, or minus half the squared distance:
            on features of unit length both give the same weights.
        preprocessing: ``none``, ``standardize``, ``l2`` or ``cl2n``.

    References:
        Wu et al. (2018), Unsupervised Feature Learning via Non-Parametric Instance Discrimination, section 3.4:
        the vote weighted by exp(similarity / T), with T = 0.07; DINO (Caron et al., 2021) is evaluated like this.

    Example:
        >>> head = KNNHead(k=2).fit([[0.0], [1.0], [5.0]], ["a", "a", "b"])
        >>> head.predict_proba([[4.0]]).round(3).tolist()
        [[0.5, 0.5]]
        >>> head.predict([[4.0]]).tolist()
        ['a']
    """

    gives_log_probabilities = True
    SEARCH_SPACES: ClassVar[str] = """
knn:
  preprocessing: [none, standardize, l2, cl2n]
  metric: [euclidean, cosine]
  k: [1, 3, 5, 10, 20, 50, 100, 200]
  weights: [uniform, softmax]
  T: {choices: [0.02, 0.07, 0.1, 0.2], when: {weights: [softmax]}}
# DINO (Caron et al., 2021), lightly, solo-learn: cosine, votes exp(similarity / T); T = 0.1 is what ResNets take.
knn-dino:
  preprocessing: [none]
  metric: [cosine]
  weights: [softmax]
  k: [10, 20, 100, 200]
  T: [0.07, 0.1]
"""
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HeadBase._parameter_constraints,
        "k": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"euclidean", "cosine"})],
        "weights": [StrOptions({"uniform", "softmax"})],
        "T": [Interval(Real, 0, None, closed="neither")],
    }
    features_: Array  # preprocessed, of unit length for the cosine
    labels_: Array

    def __init__(
        self,
        *,
        k: int = 3,
        metric: str = "euclidean",
        weights: str = "uniform",
        T: float = 0.07,
        preprocessing: str = "none",
    ) -> None:
        self.k = k
        self.metric = metric
        self.weights = weights
        self.T = T
        self.preprocessing = preprocessing

    def logits(self, X: ArrayLike) -> Array:
        """Return scores of shape (n_items, n_classes); the highest is the predicted class."""
        # The search uses its own threads; results do not depend on them.
        return self.vote(self.find_neighbours(X, self.k), self.k)

    def logits_for_ks(self, X: ArrayLike, ks: Iterable[int]) -> dict[int, Array]:
        """Return the logits for each k, of shape (n_items, n_classes), from one search.

        Args:
            X: Features, of shape (n_items, n_features).
            ks: Numbers of neighbours, at least 1; each is clamped to the number of training items.

        Raises:
            InputError: If a k is below 1, or ``ks`` is empty.
        """
        wanted = list(ks)
        if not wanted or min(wanted) < 1:
            raise InputError(f"ks must be numbers of at least 1, got {wanted}; such as 10, 20, 100")
        neighbours = self.find_neighbours(X, max(wanted))
        return {k: self.vote(neighbours, k) for k in wanted}

    def find_neighbours(self, X: ArrayLike, k: int) -> Neighbours:
        """Return the rows of the k nearest training items and their squared distances, nearest first.

        ``vote`` turns them into logits; ``k``, ``weights`` and ``T`` may change in between.

        Args:
            X: Features, of shape (n_items, n_features).
            k: Number of neighbours, at least 1, clamped to the number of training items.
        """
        check_is_fitted(self)
        features = self._check_features(X)
        batches = gen_batches(len(features), SEARCH_ROWS)
        blocks = [self._nearest(self._preprocess(features[rows]), k) for rows in batches]
        return np.concatenate([rows for rows, _ in blocks]), np.concatenate([distances for _, distances in blocks])

    def vote(self, neighbours: Neighbours, k: int) -> Array:
        """Return the logits from the first k neighbours found, of shape (n_items, n_classes)."""
        rows, squared_distances = (values[:, :k] for values in neighbours)
        weights = np.ones_like(squared_distances)
        if self.weights == "softmax":
            # exp(similarity / T) relative to the nearest neighbour's: the shares stay the same and nothing overflows.
            weights = np.exp((squared_distances[:, :1] - squared_distances) / (2 * self.T))
        return self._share_logits(self.labels_[rows], weights)

    def _logits_graph(self) -> "nn.Module":
        from resnet_mlflow.heads.graphs import NeighbourLogits
        from resnet_mlflow.heads.networks import with_preprocessing

        votes = NeighbourLogits(
            self.features_,
            self.labels_,
            len(self.classes_),
            k=self.k,
            spare=SPARE,
            metric=self.metric,
            sharpness=1 / self.T if self.weights == "softmax" else 0.0,
            smallest=SMALLEST_VOTE,
        )
        return with_preprocessing(self, votes)

    def _fit(self, X: Array, labels: Array, weights: Array | None, validation: Validation | None) -> None:
        self.features_ = np.array(unit_length(X) if self.metric == "cosine" else X)  # a copy, never the caller's array
        self.labels_ = labels

    def _share_logits(self, labels: Array, weights: Array) -> Array:
        n_items, n_classes = len(labels), len(self.classes_)
        cells = labels + n_classes * np.arange(n_items)[:, np.newaxis]
        votes = np.bincount(cells.ravel(), weights.ravel(), minlength=n_items * n_classes).reshape(n_items, n_classes)
        shares = votes / votes.sum(axis=1, keepdims=True)
        logits: Array = np.log(np.maximum(shares, SMALLEST_VOTE))
        return logits

    def _nearest(self, X: Array, k: int) -> Neighbours:
        """Return rows and squared distances of the nearest training items, nearest first, of shape (n_items, k)."""
        n_train = len(self.features_)
        X = (unit_length(X) if self.metric == "cosine" else X).astype(self.features_.dtype)
        candidates = np.sort(self._candidates(X, min(k + SPARE, n_train)), axis=1)
        distances = self._squared_distances(X, candidates)
        order = np.argsort(distances, axis=1, kind="stable")[:, : min(k, n_train)]
        return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)

    def _candidates(self, X: Array, n_candidates: int) -> Array:
        """Return rows of the nearest training items in any order, of shape (n_items, n_candidates)."""
        search: Any = NearestNeighbors
        if n_candidates <= len(self.features_) // 2:
            # For nearly all items, scikit-learn-intelex 2026.2 returns some twice and omits others.
            search = accelerated("neighbors", "NearestNeighbors")
        # Both multiply matrices block by block, so memory does not grow with the product.
        index = search(n_neighbors=n_candidates, algorithm="brute").fit(self.features_)
        rows: Array = index.kneighbors(X, return_distance=False)
        return rows

    def _squared_distances(self, X: Array, candidates: Array) -> Array:
        distances = np.empty(candidates.shape)
        n_rows = max(1, BLOCK_VALUES // (candidates.shape[1] * X.shape[1]))

        def fill(part: slice) -> None:
            for rows in gen_batches(part.stop - part.start, n_rows):
                here = slice(part.start + rows.start, part.start + rows.stop)
                difference = self.features_[candidates[here]] - X[here, np.newaxis]
                distances[here] = np.einsum("ikd,ikd->ik", difference, difference)

        with thread_per_block() as in_order:
            deque(in_order(fill, gen_batches(len(X), THREAD_ROWS)), maxlen=0)
        return distances
