"""What to know before comparing a set of runs: the warnings that runs logged, and warnings about the whole set."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.baselines import missing_baselines
from analysis.cells import few_shot, settings_of_tested
from analysis.table import Table
from resnet_mlflow.markdown import two_digits
from resnet_mlflow.registry import Registry
from resnet_mlflow.review import RUN_RULES, TAG, Rule, find

STAGES = ("fit_head", "finetune", "longtail", "robustness")
_SEED = re.compile("s[0-9]+")
SHOWN = 5
# More test images than this are unrealistic.
MOST_ITEMS = 10_000_000
# Limit for texts that runs logged, since runs may come from anyone.
MAX_TEXT = 400


@dataclass(frozen=True, eq=False)
class Reviewed:
    """The runs of an experiment, prepared for review.

    Attributes:
        frame: Runs, as ``runs.load_runs`` returns them.
    """

    frame: pd.DataFrame

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Return the runs of classifiers, with a ``setting`` that is equal for runs that differ only in their seed."""
        cells = self.frame[self.frame["stage"].isin(STAGES) & self.frame["seed"].notna()]
        # A classifier's own run and a test of it are two cells.
        return cells.assign(setting=cells["stage"] + settings_of_tested(cells, self.frame))

    @cached_property
    def done(self) -> pd.DataFrame:
        """Return the cells that have finished."""
        return self.cells[self.cells["status"] == "FINISHED"]

    @cached_property
    def finished(self) -> set[tuple[object, object]]:
        """Return the settings and seeds of finished cells."""
        return set(zip(self.done["setting"], self.done["seed"], strict=True))


def warnings_of(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each warning that runs logged, then for each problem that makes their comparison unfair.

    Args:
        frame: Runs, as ``runs.load_runs`` returns them.
    """
    reviewed = Reviewed(frame)
    for code, rule in RUN_RULES.items():
        if logged := _logged(reviewed.done, f"{TAG}{code}"):
            yield rule.message(_first(logged))
    for finding in find(EXPERIMENT_RULES, reviewed):
        yield EXPERIMENT_RULES[finding.code].message(_first(finding.clauses))


def warnings_of_tables(tables: Sequence[Table]) -> Iterator[str]:
    """Yield a line for each warning that needs tables, because these read the runs' predictions."""
    for finding in find(TABLE_RULES, tables):
        yield TABLE_RULES[finding.code].message(_first(finding.clauses))


def _logged(done: pd.DataFrame, column: str) -> list[str]:
    """Return the texts that runs logged with a code, with the names of the runs, the most frequent text first."""
    logged_runs = done[done[column].notna()]
    texts = logged_runs[column].map(lambda text: " ".join(text.split())[:MAX_TEXT])
    names = {text: [str(name) for name in own["name"]] for text, own in logged_runs.groupby(texts, sort=False)}
    order = sorted(names, key=lambda text: -len(names[text]))
    return [f"{text} ({_runs(names[text])})" for text in order]


def _runs(names: Sequence[str]) -> str:
    first = sorted(names)[0]
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def _small_differences(tables: Sequence[Table]) -> Iterator[str]:
    """Yield the differences in tables for which there are too few test images."""
    for table in tables:
        for doubt in table.doubts:
            if doubt.n_items < doubt.n_needed <= MOST_ITEMS:
                yield (
                    f"table {table.name}, {doubt.claim} by {doubt.difference:.4f} needs about "
                    f"{two_digits(doubt.n_needed)} test images, there are {doubt.n_items:,}"
                )


def _leaked(tables: Sequence[Table]) -> Iterator[str]:
    """Yield both scores of classifiers that were tested on images with a near-duplicate in train."""
    for table in tables:
        # If there are several datasets, a table's name contains that of its dataset.
        if table.name.split("-")[0] != "twins":
            continue
        for row in table.frame.to_dict("records"):
            if row["n twins"] > 0:
                name = " ".join(str(row[label]) for label in ("backbone", "head", "strategy") if row[label])
                low, high = row["without twins low"], row["without twins high"]
                yield (
                    f"{name} {row['all']:.3f}; without the {row['n twins']:,.0f} test images that have a "
                    f"near-duplicate in train "
                    f"{row['without twins']:.3f} ({low:.3f} to {high:.3f})"
                )


def _unfinished(reviewed: Reviewed) -> Iterator[str]:
    """Yield the settings that lack a seed that another setting of the same parent and stage has."""
    lines: dict[str, None] = {}
    nested = reviewed.cells[reviewed.cells["parent"].notna()]
    # Few-shot samples have their own seeds.
    for _, group in nested.groupby([nested["parent"], nested["stage"], few_shot(nested)]):
        seeds = sorted(set(group["seed"]))
        for setting, own in group.groupby("setting"):
            missing = [seed for seed in seeds if (setting, seed) not in reviewed.finished]
            if missing:
                name = _without_seed(str(own["name"].iloc[0]))
                lines[f"{name} lacks seed {', '.join(map(str, missing))}"] = None
    yield from lines


def _failed(reviewed: Reviewed) -> Iterator[str]:
    broken = reviewed.cells[reviewed.cells["status"].isin(["FAILED", "KILLED"])]
    for row in broken.itertuples():
        if (row.setting, row.seed) not in reviewed.finished:
            yield f"{row.name} ({row.status}{_reason(row.error)})"


def _mixed(reviewed: Reviewed) -> Iterator[str]:
    for column, word in (("version", "versions"), ("commit", "commits")):
        values = sorted(reviewed.done[column].dropna().unique())
        if len(values) > 1:
            yield f"{word} {', '.join(str(value)[:12] for value in values)}"


def _uncommitted(reviewed: Reviewed) -> Iterator[str]:
    if (n_dirty := int((reviewed.done["dirty"] == "true").sum())) > 0:
        yield f"{n_dirty} run{'s' if n_dirty > 1 else ''}"


def _reason(error: object) -> str:
    return f": {error}" if isinstance(error, str) else ""


def _without_seed(name: str) -> str:
    return " ".join(word for word in name.split(" ") if not _SEED.fullmatch(word))


def _first(items: Sequence[str]) -> list[str]:
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [*items[:SHOWN], *more]


TABLE_RULES: Registry[Rule[Sequence[Table]]] = Registry(
    "warning",
    Rule(
        "W05",
        "Fewer test images than a difference needs",
        "A table shows a gain over a baseline, or a lead of the best row over its closest competitor, that is not "
        "significant but would be with more test images (80 % power, if the true difference is as found).",
        "Use more test images, or do not claim the difference.",
        _small_differences,
    ),
    Rule(
        "W12",
        "Test images with a near-duplicate in train",
        "An audit of the data found test images that are also in train or val.",
        "Use the second score, or mark the near-duplicates as drop in issues.csv and pass it as corrections.",
        _leaked,
    ),
)
EXPERIMENT_RULES: Registry[Rule[Reviewed]] = Registry(
    "warning",
    Rule(
        "W06",
        "A strong baseline is missing",
        "Fine-tuned networks without a linear head on frozen features of the same backbone, heads without the linear "
        "one, or long-tail methods without `none` or without logit adjustment.",
        "Run the baseline on the same data: what does not beat it is not worth considering.",
        lambda reviewed: missing_baselines(reviewed.done),
    ),
    Rule(
        "W07",
        "Unfinished seeds",
        "A setting lacks a seed that another setting of the same study has.",
        "Run the study again: finished cells are skipped.",
        _unfinished,
    ),
    Rule(
        "W08",
        "Cells without a result",
        "A run failed or was killed, and no run with its setting and seed has finished since.",
        "Fix the cause and run it again.",
        _failed,
    ),
    Rule(
        "W09",
        "Mixed code",
        "Finished runs come from several versions of the project, or from several commits.",
        "Compare runs of one version, or run the older ones again.",
        _mixed,
    ),
    Rule(
        "W10",
        "Uncommitted changes",
        "Finished runs came from a working tree with uncommitted changes.",
        "Commit, and repeat the runs that you want to publish.",
        _uncommitted,
    ),
)
_GIVEN: Mapping[str, Rule[object]] = {**RUN_RULES, **TABLE_RULES, **EXPERIMENT_RULES}  # type: ignore[dict-item]
# All warnings, wherever they come from, in the order of codes.
ALL_RULES: Mapping[str, Rule[object]] = {code: _GIVEN[code] for code in sorted(_GIVEN)}
