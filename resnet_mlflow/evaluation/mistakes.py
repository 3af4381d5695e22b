"""The worst mistakes of a classifier: a table with thumbnails, as data and as one page."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.evaluation.scores import Evaluation

if TYPE_CHECKING:
    import pandas as pd

N_MISTAKES = 50
THUMBNAIL_SIDE = 96
THUMBNAIL = "thumbnail"
# Columns shown for each mistake next to its thumbnail, with their headers.
COLUMNS = {
    "path": "file",
    "group": "group",
    "label": "label",
    "prediction": "prediction",
    "p_prediction": "p(predicted)",
    "p_label": "p(true)",
    "item_id": "item id",
}
_STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --quiet: #5b6472; --paper: #fff; --panel: #f5f6f8; --line: #d9dde3; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7ec; --quiet: #a3adbb; --paper: #14171c; --panel: #1d2127; --line: #363d47; }
}
body { margin: 1.5rem; background: var(--paper); color: var(--text); }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.3rem; margin: 0; }
p { color: var(--quiet); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem; text-align: left; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th { background: var(--panel); }
img { display: block; max-width: 96px; max-height: 96px; }
"""


def worst_rows(evaluation: Evaluation, n: int = N_MISTAKES) -> NDArray[np.int64]:
    """Return the rows of the ``n`` worst mistakes: the largest gaps in probability between prediction and label.

    Example:
        >>> from resnet_mlflow.evaluation.scores import evaluate
        >>> worst_rows(evaluate([0, 0, 1], [[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]], ["a", "b", "c"], ["cat", "dog"]))
        array([1, 0])
    """
    wrong = np.flatnonzero(evaluation.labels != evaluation.predictions)
    p = evaluation.probabilities[wrong]
    places = np.arange(len(wrong))
    lead = p[places, evaluation.predictions[wrong]] - p[places, evaluation.labels[wrong]]
    return wrong[np.argsort(-lead, kind="stable")[:n]]


def mistakes_table(
    evaluation: Evaluation,
    rows: NDArray[np.int64],
    read_image: Callable[[int], NDArray[np.uint8]],
    paths: Sequence[str],
    groups: Sequence[str],
) -> "pd.DataFrame":
    """Return one row per mistake: ``COLUMNS`` and ``thumbnail``, a small JPEG file in base64.

    Args:
        evaluation: The evaluation that the rows refer to.
        rows: Rows of ``evaluation``.
        read_image: Returns the image of a row, ``(height, width, 3)`` uint8.
        paths: File of each row of ``evaluation``.
        groups: Name of each row's group.
    """
    import pandas as pd

    names, p = np.array(evaluation.class_names), evaluation.probabilities
    labels, predictions = evaluation.labels[rows], evaluation.predictions[rows]
    return pd.DataFrame(
        {
            "path": [paths[row] for row in rows],
            "group": [groups[row] for row in rows],
            "label": names[labels],
            "prediction": names[predictions],
            "p_prediction": p[rows, predictions].astype(np.float32),
            "p_label": p[rows, labels].astype(np.float32),
            "item_id": evaluation.item_ids[rows],
            THUMBNAIL: [thumbnail(read_image(int(row))) for row in rows],
        }
    )


def thumbnail(image: NDArray[np.uint8]) -> str:
    """Return an image of ``(height, width, 3)`` as a JPEG file of at most 96 pixels a side, in base64."""
    from PIL import Image

    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    if max(small.size) * 2 <= THUMBNAIL_SIDE:  # pixels of tiny images stay square
        factor = THUMBNAIL_SIDE // max(small.size)
        small = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


def mistakes_page(title: str, table: "pd.DataFrame", n_wrong: int) -> str:
    """Return a self-contained HTML page.

    Args:
        title: Its heading.
        table: Result of ``mistakes_table``.
        n_wrong: Total number of mistakes.
    """
    # A column is empty if no image is a file, or none has a group.
    names = [name for name in COLUMNS if (table[name] != "").any()]
    headers = ("image", *(COLUMNS[name] for name in names))
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "\n".join(_row(record, names) for record in table.to_dict("records"))
    message = f"The {len(table)} of {n_wrong} mistakes in which the predicted class is furthest above the true class."
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1><p>{message}</p>\n"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></main></body></html>\n"
    )


def _row(record: Mapping[Any, Any], names: Sequence[str]) -> str:
    cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in (record[name] for name in names)]
    image = f'<img alt="" src="data:image/jpeg;base64,{escape(str(record[THUMBNAIL]))}">'
    return f"<tr><td>{image}</td>{''.join(f'<td>{escape(text)}</td>' for text in cells)}</tr>"
