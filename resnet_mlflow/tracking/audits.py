"""What audits found in a dataset, read back from the tracking store."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking.predictions import read_table
from resnet_mlflow.tracking.queries import find_runs

TWINS = "audit/test_twins.parquet"


@lru_cache(maxsize=64)
def load_test_twins(run_id: str) -> NDArray[np.str_]:
    """Return the ids of the test images that an audit found to have a copy or a twin in train or val.

    Raises:
        MissingArtifactError: If the run has no such table.
        InputError: If it has something else in its place.
    """
    return read_table(run_id, TWINS, ("item_id", "path", "label"))["item_id"].to_numpy(dtype=np.str_)


def find_test_twins(dataset_digest: str) -> NDArray[np.str_] | None:
    """Return what the newest finished audit of a dataset found, see ``load_test_twins``; None where there is none."""
    for run in find_runs({"stage": "audit", "dataset_digest": dataset_digest}):
        try:
            return load_test_twins(run.info.run_id)
        except InputError:  # Whatever was left there, the scores do not hang on it.
            continue
    return None
