"""k nearest neighbours with faiss' exact search, with all its threads."""

import faiss
import numpy as np
from numpy.typing import NDArray


class FaissKNN:
    """k nearest neighbours with ``IndexFlatL2``; votes like scikit-learn: in a tie, the first class wins."""

    def __init__(self, k: int) -> None:
        self.k = k

    def fit(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> "FaissKNN":
        self._index = faiss.IndexFlatL2(X.shape[1])
        self._index.add(X)
        self._labels = y
        return self

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.int64]:
        _, rows = self._index.search(X, self.k)
        votes = self._labels[rows]
        counts = np.stack([(votes == label).sum(axis=1) for label in range(int(self._labels.max()) + 1)], axis=1)
        return counts.argmax(axis=1)
