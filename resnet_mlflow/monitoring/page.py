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
        batch: What was looked at, in words.
        n_images: Images of the batch that were compared.
        n_bad: Images that could not be read.
        n_reference: Images of the reference.
        look: Which of the version's looks it is, from 1.
        level: Chance of a false alarm of this look, at most.
        false_alarms: The same of all looks together.
        alert: Whether a change was noticed.
        reason: What came of it, in words.
        power: What was measured at promotion; empty where nothing was.
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
        """Return what was compared with what, in a sentence."""
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
        facts: What the look rests on.
        changes: What each test says.
        pool: The batch, beside its reference.
        shown: Images that differ most.
        folder: Where they are read from; None where there are answers alone.
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
    """Return the address of an image's thumbnail; empty where there is none."""
    if folder is None:
        return ""
    try:
        split = ImageSplit(np.zeros(1, np.int64), np.array([""]), paths=(folder / path,))
        return f"data:image/jpeg;base64,{thumbnail(split.read_image(0))}"
    except BadImageError:
        return ""
