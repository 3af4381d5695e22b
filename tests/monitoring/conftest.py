"""A reference of digits, and images that are drawn as it is."""

from dataclasses import dataclass

import numpy as np
import pytest

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.features.identity import joined_features
from resnet_mlflow.heads import build_head
from resnet_mlflow.monitoring.changes import Pool
from resnet_mlflow.monitoring.kernel import fit_space
from resnet_mlflow.monitoring.observed import measure_pictures, observe
from resnet_mlflow.monitoring.reference import Reference
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.preparation import prepare

NAMES = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Digits:
    """Features, labels and pictures of all digits."""

    features: np.ndarray
    labels: np.ndarray
    pictures: np.ndarray

    def pool(self, seed: int, head: str = "prototype") -> Pool:
        """Of a random split: a head on 900 images, 300 that are kept as reference, the other 597 to draw from."""
        train, own, rest = np.split(np.random.default_rng(seed).permutation(len(self.labels)), [900, 1200])
        fitted = build_head(head, {}, 0).fit(self.features[train], self.labels[train])
        space = fit_space(self.features[train])
        own, others = (observe(fitted, None, self.features[rows], space, self.pictures[rows]) for rows in (own, rest))
        return Pool(Reference(own, space, NAMES), others)


@pytest.fixture(scope="session")
def digits(cache_dir):
    config = FitHeadConfig(weights="random", cache_dir=str(cache_dir))
    inputs = prepare(config)
    items = joined_features(list(extract_untracked(config, inputs).splits.values()))
    splits = inputs.dataset.splits.values()
    pictures = [measure_pictures(np.stack([one.read_image(row) for row in range(len(one))])) for one in splits]
    return Digits(np.asarray(items.features), items.labels, np.concatenate(pictures))


@pytest.fixture(scope="session")
def pool(digits):
    return digits.pool(0)
