"""Reads audit findings on a dataset from the tracking store."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.predictions import read_table
from resnet_mlflow.tracking.queries import find_runs

TWINS = "audit/test_twins.parquet"


@lru_cache(maxsize=64)
def load_test_twins(run_id: str) -> NDArray[np.str_]:
    """Return the ids of test images with a copy or a twin in train or val, as found by an audit.

    Raises:
        MissingArtifactError: If the run has no such table.
        InputError: If it has something else in its place.
    """
    return read_table(run_id, TWINS, ("item_id", "path", "label"))["item_id"].to_numpy(dtype=np.str_)


def find_test_twins(dataset_digest: str) -> NDArray[np.str_] | None:
    """Return the findings of the newest finished audit of a dataset, see ``load_test_twins``; None if there is none."""
    for run in find_runs({"stage": "audit", "dataset_digest": dataset_digest}):
        try:
            return load_test_twins(run.info.run_id)
        except InputError:  # Whatever is in the store, the scores do not depend on it.
            continue
    return None
