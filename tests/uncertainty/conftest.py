"""Features of digits, and what a head that saw a third of them says of the rest."""

from dataclasses import dataclass

import numpy as np
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.features.identity import joined_features
from resnet_mlflow.heads import build_head
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.preparation import prepare


@dataclass(frozen=True, eq=False)
class Scored:
    """Images that the head did not see, and those that it did."""

    train: np.ndarray
    train_labels: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray

    def halves(self, seed):
        """Rows of two random halves."""
        return np.array_split(np.random.default_rng(seed).permutation(len(self.labels)), 2)


@pytest.fixture(scope="session")
def digits_features(cache_dir):
    config = FitHeadConfig(weights="random", cache_dir=str(cache_dir))
    return joined_features(list(extract_untracked(config, prepare(config)).splits.values()))


@pytest.fixture(scope="session")
def scored(digits_features):
    """By head."""
    order = np.random.default_rng(0).permutation(len(digits_features))
    train, val, rest = (digits_features.select(rows) for rows in np.split(order, [500, 600]))

    def of(name):
        head = build_head(name, {}, 0).fit(train.features, train.labels).calibrate(val.features, val.labels)
        logits, probabilities = head.logits(rest.features), head.predict_proba(rest.features)
        return Scored(train.features, train.labels, rest.features, rest.labels, logits, probabilities)

    return {name: of(name) for name in ("linear", "prototype")}
