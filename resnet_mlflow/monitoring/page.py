"""The result of a check as one self-contained HTML page, including figures and images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.evaluation.mistakes import thumbnail
from resnet_mlflow.monitoring.changes import Change, Pool
from resnet_mlflow.monitoring.figures import draw_changes
from resnet_mlflow.monitoring.strange import StrangeImage

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Facts:
    """The facts about a check.

    Attributes:
        model: Name and version of the model.
        batch: Description of the images checked.
        n_images: Number of images compared from the batch.
        n_bad: Number of unreadable images.
        n_reference: Number of images in the reference.
        look: Number of this look at the version, from 1.
        level: Maximum probability of a false alarm in this look.
        false_alarms: The same for all looks together.
        alert: Whether a change was detected.
        reason: Result in words.
        power: Power measured at promotion; empty if it was not.
    """

    model: str
    batch: str
    n_images: int
    n_bad: int
    n_reference: int
    look: int
    level: float
    false_alarms: float
    alert: bool
    reason: str
    power: str

    @property
    def summary(self) -> str:
        """Return a sentence on what was compared."""
        unread = f" ({self.n_bad} more unreadable)" if self.n_bad else ""
        return (
            f"{self.n_images:,} images{unread} compared with {self.n_reference:,} held-out training images of "
            f"{self.model}; check {self.look}, level {self.level:.2g}"
        )


def render_page(
    facts: Facts, changes: Sequence[Change], pool: Pool, shown: Sequence[StrangeImage], folder: Path | None
) -> str:
    """Return the page.

    Args:
        facts: Facts about the check.
        changes: Result of each test.
        pool: The batch, with its reference.
        shown: Images that differ most.
        folder: Folder of the images; None if there are only answers.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("report.html.j2").render(
        facts=facts,
        changes=changes,
        figures=list(draw_changes(changes, pool)),
        images=[(one, _picture(folder, one.path)) for one in shown],
        has_pictures=folder is not None,
    )


def _picture(folder: Path | None, path: str) -> str:
    """Return the URL of an image's thumbnail; empty if there is none."""
    if folder is None:
        return ""
    try:
        split = ImageSplit(np.zeros(1, np.int64), np.array([""]), paths=(folder / path,))
        return f"data:image/jpeg;base64,{thumbnail(split.read_image(0))}"
    except BadImageError:
        return ""
