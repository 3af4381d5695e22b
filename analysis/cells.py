"""Finished classifiers of one dataset, and their scores over seeds: the basis of every table."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from analysis.intervals import HELD_OUT, interval_columns, score_of_seeds
from analysis.schema import defaults_of
from analysis.table import RUN_IDS, SEEDS
from resnet_mlflow.errors import InputError
from resnet_mlflow.statistics import distinct_seeds
from resnet_mlflow.tracking import PROTOCOL

CONFIG = "config."
VARIANT = "variant"
# A metric that only cross-validations log.
FOLDS_SCORE = "cv_accuracy"
# Columns that place a cell, but do not say how it differs from its neighbours.
NOT_A_VARIANT = frozenset(
    f"{CONFIG}{name}"
    for name in (
        "dataset",
        "seed",
        "seeds",
        "methods",
        "cache_dir",
        "data_dir",
        "num_workers",
        "share_features",
        "corrections",
    )
) | {f"{CONFIG}device", f"{CONFIG}attention_maps", f"{CONFIG}weights", f"{CONFIG}weights_seed"}


def finished_cells(frame: pd.DataFrame, *stages: str) -> pd.DataFrame:
    """Return the newest finished run of every setting and seed, of one dataset, without cross-validations.

    Scores on a test split and scores over folds differ in test images and training images: no table mixes them.

    Args:
        frame: Runs, newest first, as ``runs.load_runs`` returns them.
        stages: The stages to keep.

    Raises:
        InputError: If the runs have several dataset digests, because their scores are on different items.
    """
    return _newest(frame[~cross_validated(frame)], *stages)


def cross_validated_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the newest finished cross-validation of every setting and seed, of one dataset.

    Raises:
        InputError: As ``finished_cells``.
    """
    done = frame[cross_validated(frame)]
    return _newest(
        done[done[FOLDS_SCORE].notna()] if FOLDS_SCORE in done else done.iloc[:0], "fit_head", "finetune", "longtail"
    )


def cross_validated(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return which runs are cross-validated configurations; runs of single folds have a stage of their own."""
    return frame[PROTOCOL] == "cross-validation"


def _newest(frame: pd.DataFrame, *stages: str) -> pd.DataFrame:
    done = frame[frame["stage"].isin(stages) & (frame["status"] == "FINISHED") & frame["seed"].notna()]
    digests = done["dataset_digest"].dropna().unique()
    if len(digests) > 1:
        text = ", ".join(sorted(f"{row.dataset} {row.dataset_digest:.12}" for row in _first_of_each(done)))
        raise InputError(f"the runs of a table must share one dataset digest, got {text}; filter by dataset or date")
    return done.drop_duplicates(["setting", "seed"]).sort_values("seed", kind="stable")


def _first_of_each(done: pd.DataFrame) -> Any:
    return done.drop_duplicates("dataset_digest").itertuples()


def split_by_dataset(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the runs of each dataset digest, keyed by it, the digest with the most runs first."""
    counts = frame["dataset_digest"].value_counts()
    return {str(digest): frame[frame["dataset_digest"] == digest] for digest in counts.index}


def settings_of_tested(cells: pd.DataFrame, frame: pd.DataFrame) -> "pd.Series[Any]":
    """Return the setting of each run, or of the classifier that it tested if the frame contains that classifier's run.

    Seeds of one classifier are different runs, so by their run ids each test would be a setting of its own.
    """
    settings = frame.drop_duplicates("run_id").set_index("run_id")["setting"]
    tested = cells["classifier_run"].map(settings)
    return tested.where(tested.notna(), cells["setting"])


def frozen_or_tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of heads and fine-tunings that saw all training images."""
    cells = finished_cells(frame, "fit_head", "finetune")
    return cells[~few_shot(cells)]


def few_shot(cells: pd.DataFrame) -> "pd.Series[bool]":
    """Return which cells were trained on only a few images per class."""
    return cells[PROTOCOL] == "few-shot"


def config_column(cells: pd.DataFrame, name: str, default: Any) -> "pd.Series[Any]":
    """Return a typed parameter of all cells, with a default for cells that lack it."""
    if CONFIG + name not in cells:
        return pd.Series(default, index=cells.index)
    column = cells[CONFIG + name]
    return column.astype(object).where(column.notna(), default)


def best_by_validation(frame: pd.DataFrame, labels: Sequence[str]) -> "pd.Series[Any] | None":
    """Return the row of ``score_rows`` with the highest validation accuracy; None if no run has one.

    Args:
        frame: Runs of one dataset.
        labels: Columns that name a row.
    """
    rows = best_settings(frozen_or_tuned(frame), labels)
    rows = rows[rows["val/accuracy"].notna()]
    return None if rows.empty else rows.iloc[0]


def best_settings(cells: pd.DataFrame, labels: Sequence[str], metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Return ``score_rows``, best first; of rows with equal labels, only the one with the best validation accuracy.

    Args:
        cells: As ``finished_cells`` returns them.
        labels: Columns that name a row.
        metrics: Metrics to summarise in addition to validation accuracy.
    """
    rows = score_rows(cells, labels, ["val/accuracy", *metrics])
    rows = rows.sort_values("val/accuracy", ascending=False, kind="stable")
    return rows.drop_duplicates(list(labels)).reset_index(drop=True)


def score_rows(cells: pd.DataFrame, labels: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row per setting: its labels, other parameters that distinguish it, and each metric over seeds.

    Args:
        cells: As ``finished_cells`` returns them.
        labels: Columns that name a row.
        metrics: Metrics to summarise.

    Returns:
        The labels; ``variant``, parameters that distinguish rows with equal labels; for each metric ``x`` (mean over
        seeds), ``x std``, ``x n`` (number of seeds with different results), ``x low`` and ``x high`` (interval over
        seeds and items together; with one seed, over items), ``x seeds low``, ``x items low`` and so on (its parts);
        ``held out`` (see ``intervals.HELD_OUT``); ``seeds`` and ``run_ids``, both ascending by seed.
    """
    groups = [group for _, group in cells.groupby("setting", sort=False)]
    rows = [_labelled(group, labels) | _scores(group, metrics) for group in groups]
    table = pd.DataFrame(rows, columns=None if rows else [*labels, *metrics, SEEDS, RUN_IDS])
    firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=cells.columns)
    table.insert(len(labels), VARIANT, variants(firsts, labels))
    return table


def _labelled(group: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    first = group.iloc[0]
    return {name: "" if pd.isna(first[name]) else first[name] for name in labels}


def _scores(group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Any]:
    distinct, held_out = _distinct(group), _held_out(group)
    row: dict[str, Any] = {HELD_OUT: held_out}
    for metric in metrics:
        score = score_of_seeds(distinct, metric, held_out)
        std = float(distinct[metric].std(ddof=1)) if score.n_seeds > 1 else math.nan
        row |= {metric: score.mean, f"{metric} std": std, f"{metric} n": score.n_seeds}
        row |= interval_columns(metric, score)
    return row | {SEEDS: [int(seed) for seed in group["seed"]], RUN_IDS: list(group["run_id"])}


def _distinct(group: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without those that repeat the results of another run."""
    telling = [name for name in map(str, group) if name.endswith(("/nll", "/ece"))]
    rows = [{str(name): float(value) for name, value in row.items()} for row in group[telling].to_dict("records")]
    return group.iloc[distinct_seeds(dict(enumerate(rows)))]


def _held_out(group: pd.DataFrame) -> float:
    """Return the number of images that a seed draws for validation, divided by the number left for training.

    Samples of a few images per class hardly overlap.
    """
    fraction = float(config_column(group, "val_fraction", 0.0).iloc[0])
    return 0.0 if few_shot(group).any() else fraction / (1 - fraction)


def variants(rows: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Return, per run, the parameters that differ from another run with the same labels and are not the default.

    Args:
        rows: Runs.
        labels: Columns that name a run; parameters among them are ignored.
    """
    texts = [""] * len(rows)
    keys: dict[Hashable, list[int]] = {}
    for position, key in enumerate(rows[list(labels)].astype(str).itertuples(index=False, name=None)):
        keys.setdefault(key, []).append(position)
    ignored = NOT_A_VARIANT | {CONFIG + name for name in labels}
    names = [name for name in map(str, rows) if name.startswith(CONFIG) and name not in ignored]
    for positions in keys.values():
        same = rows.iloc[positions]
        # Rows differ if their values differ, whatever the types.
        differing = [name for name in [*names, "weights"] if len(positions) > 1 and len(set(map(str, same[name]))) > 1]
        for position in positions:
            row = rows.iloc[position]
            shown = [name for name in differing if not _is_default(row, name)]
            texts[position] = ", ".join(f"{name.removeprefix(CONFIG)}={row[name]}" for name in shown)
    return texts


def _is_default(row: "pd.Series[Any]", name: str) -> bool:
    """Return whether a run has the default value of a parameter."""
    defaults, parameter = defaults_of(str(row.get("stage", ""))), name.removeprefix(CONFIG)
    return parameter in defaults and str(defaults[parameter]) == str(row[name])
