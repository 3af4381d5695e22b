"""The findings of an audit as one self-contained HTML page, including the images."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from resnet_mlflow.audit.audit import Audit
from resnet_mlflow.audit.issues import KINDS
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.decoding import BadImageError

TEMPLATES = Path(__file__).parent / "templates"
_SIDE, _QUALITY = 160, 80
# A hundred classes that features separate badly have thousands of pairs.
_MOST_OVERLAPS = 20
_SHOWN = ("kind", "split", "path", "label", "suggested", "score", "details", "other_split", "other_path", "other_label",
          "item_id", "other_item_id")  # fmt: skip


def render_page(title: str, facts: Sequence[str], audit: Audit, dataset: ImageDataset, n_shown: int) -> str:
    """Return the page.

    Args:
        title: Heading of the page.
        facts: Basis of the findings; small lines below the heading.
        audit: The findings.
        dataset: The dataset to read pictures from.
        n_shown: Number of issues with pictures; the worst of each kind, kinds in turn.
    """
    issues = audit.issues
    pictures = _Pictures(dataset)
    rows = [_entry(issues.iloc[place], place, pictures) for place in _chosen(issues["kind"].tolist(), n_shown)]
    shown = f"All {len(issues):,} issues."
    if len(rows) < len(issues):
        shown = f"The worst {len(rows):,} of {len(issues):,} issues; issues.csv lists all of them."
    titles = {kind.name: kind.title for kind in KINDS.values()}
    names = list(dataset.class_names)
    data = {"issues": rows, "pictures": pictures.urls, "titles": titles, "class_names": names}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("audit.html.j2").render(
        title=title,
        facts=facts,
        kinds=_kinds(audit),
        remarks=remarks_of(audit),
        cues=audit.cues,
        overlaps=_overlaps(audit),
        n_overlaps=len(audit.overlaps),
        shown=shown,
        splits=audit.pool.splits,
        class_names=names,
        data=_json(data),
    )


def _kinds(audit: Audit) -> list[dict[str, Any]]:
    """Return the kinds of issue found, in the form for the page."""
    counts = audit.issues["kind"].value_counts()
    return [
        {"name": kind.name, "title": kind.title, "count": int(counts[kind.name]), "advice": kind.advice}
        for kind in KINDS.values()
        if kind.name in counts
    ]


def _overlaps(audit: Audit) -> list[dict[str, Any]]:
    names = audit.pool.class_names
    return [
        {
            "names": f"{names[one.first]}, {names[one.second]}",
            "error": one.error,
            "interval": one.interval,
            "n_images": one.n_images,
        }
        for one in audit.overlaps[:_MOST_OVERLAPS]
    ]


def remarks_of(audit: Audit) -> list[str]:
    """Return remarks on the dataset, one sentence each."""
    low, high = audit.wrong.interval
    remarks = [
        f"Wrong labels: about {audit.wrong.count:,.0f} of {len(audit.rows):,} ({low:,.0f} to {high:,.0f})."
        if audit.wrong.count >= 1
        else f"Wrong labels: the heads give no evidence of any; up to {high:,.0f} of {len(audit.rows):,} may be wrong."
    ]
    if n_leaks := len(audit.leaks):
        remarks.append(
            f"Test images with a copy or a near-duplicate in train or val: {n_leaks:,}. Test scores include images "
            f"seen in training."
        )
    remarks += [
        f"{KINDS[name].title}: {share:.0%} of the images; this is typical of the dataset, so none of them is listed."
        for name, share in audit.traits.items()
    ]
    remarks += [
        f"{cue.name.capitalize()} alone reveals the label: accuracy {cue.accuracy:.3f} ({cue.interval[0]:.3f} to "
        f"{cue.interval[1]:.3f}) where chance is {cue.chance:.3f}."
        for cue in audit.cues
        if cue.gives_away
    ]
    return remarks


def _chosen(kinds: Sequence[str], n_shown: int) -> list[int]:
    """Return positions of issues: the worst of every kind, then the next of each, in the order of the table."""
    seen: dict[str, int] = {}
    rank = []
    for kind in kinds:
        rank.append(seen.get(kind, 0))
        seen[kind] = rank[-1] + 1
    order = np.argsort(np.array(rank, dtype=np.int64), kind="stable")[:n_shown]
    return sorted(order.tolist())


def _entry(issue: Any, place: int, pictures: "_Pictures") -> dict[str, Any]:
    entry = {name: issue[name] for name in _SHOWN} | {"place": place, "score": float(issue["score"])}
    entry["picture"] = pictures.add(issue["split"], issue["path"], issue["item_id"])
    if issue["other_split"]:
        entry["other_picture"] = pictures.add(issue["other_split"], issue["other_path"], issue["other_item_id"])
    return entry


class _Pictures:
    """Pictures as data URLs, each once."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.urls: list[str] = []
        self._row_of = {
            (name, path, item_id): row
            for name, split in dataset.splits.items()
            for row, (path, item_id) in enumerate(
                zip(dataset.relative_paths(split), split.item_ids.tolist(), strict=True)
            )
        }
        self._known: dict[tuple[str, str, str], int] = {}

    def add(self, split: str, path: str, item_id: str) -> int:
        """Return the number of an image's picture; its URL is empty if it cannot be read."""
        place = (split, path, item_id)
        if place not in self._known:
            self._known[place] = len(self.urls)
            self.urls.append(self._url(split, self._row_of[place]) if place in self._row_of else "")
        return self._known[place]

    def _url(self, split: str, row: int) -> str:
        try:
            image = Image.fromarray(self.dataset.splits[split].read_image(row))
        except BadImageError:
            return ""
        image.thumbnail((_SIDE, _SIDE))
        written = io.BytesIO()
        image.save(written, "WEBP", quality=_QUALITY)
        return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def _json(value: object) -> Markup:
    # A name that contains </script> must not end the script.
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
