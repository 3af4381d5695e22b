"""A complete audit of a dataset, from its images and their stored features."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet_mlflow.audit.crossfit import CrossFitted, cross_fit
from resnet_mlflow.audit.cues import Cue, measure_cues
from resnet_mlflow.audit.issues import KINDS, build_issues
from resnet_mlflow.audit.labels import Overlap, WrongLabels, class_overlaps, judge_labels
from resnet_mlflow.audit.measuring import ImageFacts, measure_images
from resnet_mlflow.audit.outliers import far_out, loneliness, not_understood
from resnet_mlflow.audit.pictures import MOST_OF_A_FAULT, Faulty, find_faults
from resnet_mlflow.audit.pool import Pool, join_facts, pool_images
from resnet_mlflow.audit.twins import LEAST_SIDE, Twins, compact_features, copies, find_twins, twin_groups
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.features.identity import FeatureSet

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
# Called with the name of the next step.
OnStep = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings in a dataset.

    Attributes:
        pool: The images of all splits.
        issues: One row per image and kind of issue, see ``issues.build_issues``.
        twins: Pairs that show one picture.
        groups: Group numbers, equal for copies and twins, ``(n_images,)``.
        wrong: Findings on labels of the images that have features, see ``rows``.
        rows: Images that have features.
        judged: Which of these could be judged.
        overlaps: Classes that overlap, the worst first.
        cues: How well brightness, size and similar cues predict labels.
        traits: Faults so common that they characterise the dataset, with their share.
    """

    pool: Pool
    issues: pd.DataFrame
    twins: Twins
    groups: Ints
    wrong: WrongLabels
    rows: Ints
    judged: NDArray[np.bool_]
    overlaps: list[Overlap]
    cues: list[Cue]
    traits: dict[str, float]

    @property
    def leaks(self) -> pd.DataFrame:
        """Return the test images that have a copy or a twin in train or val: ``item_id``, ``path``, ``label``."""
        pool, test = self.pool, self.pool.of_split("test")
        rows = np.flatnonzero(test & np.isin(self.groups, self.groups[~test]))
        return pd.DataFrame(
            {
                "item_id": pool.item_ids[rows].astype(object),
                "path": [pool.paths[row] for row in rows],
                "label": [pool.label_of(int(row)) for row in rows],
            },
        ).astype("str")

    @property
    def metrics(self) -> dict[str, float]:
        """Return the audit's figures under the schema's names."""
        counts = self.issues["kind"].value_counts()
        found = {f"audit/{kind}": float(counts.get(kind, 0)) for kind in KINDS}
        low, high = self.wrong.interval
        found |= {
            "audit/n_images": float(len(self.pool)),
            "audit/wrong_labels": self.wrong.count,
            "audit/wrong_labels_ci_low": low,
            "audit/wrong_labels_ci_high": high,
            "audit/twin_pairs": float(len(self.twins)),
            "audit/test_with_twin": float(len(self.leaks)),
            "audit/overlapping_classes": float(len(self.overlaps)),
        }
        for cue in self.cues:
            found[f"audit/cue_{cue.name}"] = cue.accuracy
            found[f"audit/cue_{cue.name}_ci_low"], found[f"audit/cue_{cue.name}_ci_high"] = cue.interval
            found["audit/cue_chance"] = cue.chance
        return found


def audit_dataset(
    dataset: ImageDataset,
    features: FeatureSet,
    *,
    seed: int = 0,
    num_workers: int = -1,
    on_step: OnStep = str,
    on_images: Callable[[int], object] = int,
    on_fold: Callable[[int], object] = int,
) -> Audit:
    """Return the problems found in a dataset.

    Args:
        dataset: Images and labels.
        features: Features of the same images, except those that cannot be decoded.
        seed: Seed of folds and samples.
        num_workers: Number of threads that decode images; -1 means one per core.
        on_step: Called with the name of each step as it begins.
        on_images: Called with the number of newly measured images.
        on_fold: Called with 1 after each fit of a head.
    """
    on_step("measuring images")
    pool = pool_images(dataset, {})
    facts = join_facts([measure_images(dataset.splits[name], num_workers, on_images) for name in pool.splits])
    pool = pool_images(dataset, {row: error.reason for row, error in facts.errors.items()})
    rows, table = _pooled_features(pool, features)
    twins, groups = _find_groups(pool, facts, rows, table, on_step)
    # Images of one patient or burst confirm each other's label, like near-duplicates.
    together = number_groups(groups, np.concatenate([dataset.splits[name].groups for name in pool.splits]))
    on_step("checking labels")
    fitted = cross_fit(table, pool.labels[rows], together[rows], len(pool.class_names), seed, on_fold)
    wrong = judge_labels(fitted.probabilities, pool.labels[rows])
    on_step("finding outliers")
    lonely = loneliness(compact_features(table), groups[rows])
    on_step("measuring cues")
    cues = measure_cues(facts, pool.labels, together, len(pool.class_names), seed)
    faults = list(find_faults(facts, pool.labels))
    issues = _issues(pool, twins, rows, fitted, wrong, lonely, faults)
    overlaps = class_overlaps(fitted.probabilities, pool.labels[rows])
    traits = {one.fault.name: one.share for one in faults if one.share > MOST_OF_A_FAULT}
    return Audit(pool, issues, twins, groups, wrong, rows, fitted.judged, overlaps, cues, traits)


def _pooled_features(pool: Pool, features: FeatureSet) -> tuple[Ints, Floats]:
    """Return the rows of the images that have features, and the features."""
    skipped = {(item["split"], int(item["row"])) for item in features.meta["skipped"]}
    has_any = np.array(
        [(pool.split_of(row), int(pool.rows[row])) not in skipped for row in range(len(pool))], dtype=bool
    )
    table = np.concatenate([np.asarray(features.splits[name].features) for name in pool.splits])
    return np.flatnonzero(has_any), table


def _find_groups(pool: Pool, facts: ImageFacts, rows: Ints, table: Floats, on_step: OnStep) -> tuple[Twins, Ints]:
    """Return twins among distinct contents, and the groups that twins and copies form."""
    _, firsts = np.unique(pool.item_ids, return_index=True)
    # Only one of several equal files is compared: the others are known copies.
    candidates = np.intersect1d(firsts, rows)
    sides = np.minimum(facts.column("width"), facts.column("height"))[candidates]
    own = np.searchsorted(rows, candidates)
    found = find_twins(facts.thumbs[candidates], table[own], sides >= LEAST_SIDE, on_step)
    first, second = candidates[found.first], candidates[found.second]
    low, high = np.minimum(first, second), np.maximum(first, second)
    twins = Twins(low, high, found.score, found.change)
    same = copies(pool.item_ids)
    groups = twin_groups(len(pool), np.concatenate([low, same[0]]), np.concatenate([high, same[1]]))
    return twins, groups


def _issues(
    pool: Pool,
    twins: Twins,
    rows: Ints,
    fitted: CrossFitted,
    wrong: WrongLabels,
    lonely: Floats,
    faults: list[Faulty],
) -> pd.DataFrame:
    suspects = rows[wrong.suspects(fitted.judged, pool.labels[rows])]
    best = np.zeros(len(pool))
    best[rows] = fitted.probabilities.max(axis=1)
    of_all = np.zeros(len(pool), np.float32)
    of_all[rows] = lonely
    return build_issues(
        pool,
        twins,
        copies(pool.item_ids),
        (_spread(wrong, rows, len(pool)), suspects),
        (_worst_first(rows[far_out(lonely)], of_all), of_all),
        (_few(rows[not_understood(fitted.probabilities)], len(pool)), best),
        faults,
    )


def _worst_first(rows: Ints, figures: Floats) -> Ints:
    return rows[np.argsort(-figures[rows], kind="stable")]


def _few(rows: Ints, n_images: int) -> Ints:
    """Return rows, or none if there are so many that the heads are not reliable."""
    return rows if len(rows) <= MOST_OF_A_FAULT * n_images else rows[:0]


def _spread(wrong: WrongLabels, rows: Ints, n_images: int) -> WrongLabels:
    """Return the label scores by row of the pool; images without features get NaN."""

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        column = np.full(n_images, np.nan)
        column[rows] = values
        return column

    suggested = np.zeros(n_images, np.int64)
    suggested[rows] = wrong.suggested
    return replace(
        wrong,
        wrong=spread(wrong.wrong),
        self_confidence=spread(wrong.self_confidence),
        margin=spread(wrong.margin),
        suggested=suggested,
    )
