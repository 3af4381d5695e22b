"""Sections on what a classifier is, its intended use, and its images."""

from collections.abc import Iterator, Mapping, Sequence

from resnet_mlflow.cards.content import Block, Facts, Missing, Table, Text
from resnet_mlflow.data.datasets import ImageDataset

N_CLASSES = 100
TO_FILL_IN = "To be filled in"
# Files in a dataset's folder that may hold its licence.
LICENSE_FILES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md")
LICENSE_CHARACTERS = 200
_MODEL = {
    "backbone": "backbone",
    "weights of the backbone": "weights",
    "head": "head",
    "run": "run_id",
    "experiment": "experiment",
    "chosen among equal candidates because": "tie",
    "decision": "reason",
    "test difference": "test_difference",
    "its interval": "test_difference_interval",
    "decisions on this test split so far": "test_look",
    "significance level of the last one": "test_difference_level",
}


def write_model(facts: Facts) -> Sequence[Block]:
    """Return the description of the version, and why it was registered."""
    rows = [[name, facts.tags[tag]] for name, tag in _MODEL.items() if facts.tags.get(tag)]
    return [Table(("property", "value"), rows, numbers=False)]


def write_use(facts: Facts) -> Sequence[Block]:
    """Return the classifier's intended use, which only its owner knows."""
    if facts.intended_use:
        return [Text(facts.intended_use)]
    return [
        Missing(
            f"{TO_FILL_IN}: its purpose, its users, what it must not be used for, and whom to contact; pass "
            f"intended_use= to promote."
        )
    ]


def write_data(facts: Facts) -> Iterator[Block]:
    """Yield the description of the images, and their number by class."""
    dataset = facts.dataset
    rows = [
        ["dataset", dataset.name],
        ["source", dataset.source],
        ["digest of classes, images and labels", dataset.digest],
        *([f"digest of {split}", digest] for split, digest in facts.split_digests.items()),
        ["licence", license_of(dataset, facts.data_license)],
    ]
    yield Table(("property", "value"), rows, numbers=False)
    counts, shown = facts.class_counts, list(dataset.class_names)[:N_CLASSES]
    rows = [[name, *(f"{own.get(name, 0):,}" for own in counts.values())] for name in shown]
    total = ["all", *(f"{sum(own.values()):,}" for own in counts.values())]
    yield Table(("class", *counts), [*rows, total])
    if len(shown) < len(dataset.class_names):
        yield Text(f"The first {len(shown)} of {len(dataset.class_names)} classes; {_sizes(counts)}.")


def _sizes(counts: Mapping[str, Mapping[str, int]]) -> str:
    name, first = next(iter(counts.items()))
    return f"in {name} they have {min(first.values()):,} to {max(first.values()):,} images"


def license_of(dataset: ImageDataset, given: str) -> str:
    """Return the licence of the images: as given, from the file in their folder, or unknown."""
    if given:
        return given
    for name in LICENSE_FILES if dataset.root else ():
        assert dataset.root is not None
        path = dataset.root / name
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace")[: 10 * LICENSE_CHARACTERS].split("\n")
            first = next((line.strip() for line in lines if line.strip()), "an empty file")
            return f"{first[:LICENSE_CHARACTERS]} (first line of {name} in the dataset's folder)"
    return f"{TO_FILL_IN}: pass data_license= to promote, or put a LICENSE file in the dataset's folder"


def write_splits(facts: Facts) -> Iterator[Block]:
    """Yield the division of the images, and any overlap between splits."""
    dataset = facts.dataset
    rows = [[name, f"{len(split):,}", f"{len(set(split.groups.tolist())):,}"] for name, split in dataset.splits.items()]
    yield Table(("split", "images", "groups"), rows)
    origin = "was drawn from all images" if dataset.test_is_drawn else "came with the dataset"
    val = "its own" if "val" in dataset.splits else "drawn from train by the run's seed"
    yield Text(f"The test split {origin}; validation is {val}. Drawn splits never divide a group: {_groups(facts)}.")
    yield Text(f"Images in two splits: {_list_counts(dataset.n_duplicates_across_splits)}.")
    if dataset.n_groups_across_splits != dataset.n_duplicates_across_splits:
        yield Text(f"Images of groups in two splits: {_list_counts(dataset.n_groups_across_splits)}.")
    if dataset.n_left_out:
        yield Text(f"Left out: {', '.join(f'{n:,} {why}' for why, n in dataset.n_left_out.items())}.")


def _groups(facts: Facts) -> str:
    if facts.group_by:
        return f"images that share {facts.group_by}, and copies of an image, form a group"
    return "copies of an image form a group; no other grouping was given (group_by=)"


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} in {pair}" for pair, n in counts.items()) or "none"
