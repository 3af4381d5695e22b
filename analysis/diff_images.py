"""The test images behind predictions, if the dataset has not changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from numpy.typing import NDArray

from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.formats import MAX_PIXELS
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import default_cache_dir

# Parameters that group or exclude images.
DIVISION = ("group_by", "duplicates", "crossing_groups")
# From an item id to its image, (height, width, 3) uint8.
ReadImage = Callable[[str], NDArray[np.uint8]]


def load_test_images(run: Run) -> tuple[ReadImage | None, str]:
    """Return a function that reads a run's test images by item id, or nothing and the reason.

    A torchvision dataset that is missing is downloaded, as the run itself would have done.
    """
    params = run.data.params
    # Folders of the run's machine are read if they also exist here, but never created.
    data_dir = Path(params.get("data_dir", ""))
    if not params.get("data_dir") or not data_dir.is_dir():
        data_dir = default_cache_dir("") / "data"
    try:
        dataset = load_dataset(
            params.get("dataset", ""),
            data_dir=data_dir,
            on_bad_image=params.get("on_bad_image", "fail"),
            max_pixels=int(params.get("max_pixels", MAX_PIXELS)),
            corrections=params.get("corrections", ""),
            **{name: params[name] for name in DIVISION if name in params},
        )
    except (InputError, OSError, RuntimeError, ValueError) as error:
        return None, f"the dataset could not be loaded ({str(error).splitlines()[0][:200]})"
    if dataset.digest != run.data.tags.get("dataset_digest"):
        return None, f"the dataset has changed since (digest {dataset.digest[:12]} now)"
    split = dataset.splits["test"]
    row_of = {item_id: row for row, item_id in enumerate(split.item_ids.tolist())}
    return lambda item_id: split.read_image(row_of[item_id]), ""
