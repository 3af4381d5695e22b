"""Image datasets in the form that MLflow lists."""

import json
from collections.abc import Mapping
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.entities import Run


class TrackedDataset(Dataset):
    """One split of an image dataset for MLflow's lists, with our own content digest.

    MLflow's own digests collide for images: they use only shapes and the first values.
    """

    def __init__(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        self._image_profile = dict(profile)
        super().__init__(CodeDatasetSource(tags={"origin": origin}), name=name, digest=digest)

    @property
    def profile(self) -> dict[str, Any]:
        """Return the number of images, class names and class counts."""
        return self._image_profile

    @property
    def schema(self) -> None:
        """Return nothing: images have no columns."""
        return

    def to_dict(self) -> dict[str, str]:
        """Return the fields that MLflow stores for the dataset."""
        return {**super().to_dict(), "profile": json.dumps(self._image_profile)}

    def _compute_digest(self) -> str:
        raise NotImplementedError("the digest is given, never computed")


def load_class_counts(run: Run, context: str) -> dict[str, int] | None:
    """Return images per class name of the dataset that a run logged in a role; None if it logged none.

    Args:
        run: The run.
        context: ``training``, ``validation`` or ``testing``.
    """
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        profile = json.loads(entry.dataset.profile or "{}")
        if any(tag.value == context for tag in entry.tags) and "class_counts" in profile:
            counts: dict[str, int] = profile["class_counts"]
            return counts
    return None


def load_digests(run: Run) -> dict[str, str]:
    """Return the digest of each dataset that a run logged, by role."""
    found: dict[str, str] = {}
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        role = next((tag.value for tag in entry.tags if tag.key == "mlflow.data.context"), "")
        found[role] = str(entry.dataset.digest)
    return found
