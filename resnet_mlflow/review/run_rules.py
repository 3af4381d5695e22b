"""The warnings of single runs, logged by the run as tag ``warning.<code>`` and in its note."""

from collections.abc import Iterator

import numpy as np

from resnet_mlflow.markdown import two_digits
from resnet_mlflow.registry import Registry
from resnet_mlflow.review.facts import EDGE, RunFacts
from resnet_mlflow.review.rule import Rule
from resnet_mlflow.statistics import images_for_luck, luck_of_the_best

# Fewer images of a class say little about it: one of 10 changes its recall by 10 points.
FEWEST = {"train": 10, "val": 5, "test": 10}
MOST_LUCK = 0.03
SHOWN_CLASSES = 3


def at_edge_of_space(facts: RunFacts) -> Iterator[str]:
    """Yield the parameters whose chosen value is at an edge of the searched range."""
    for one in facts.searched:
        if one.edge:
            yield f"{one.name} = {one.value:.4g} is at the {one.edge} end of {one.low:g} to {one.high:g}"


def more_trials_than_images_bear(facts: RunFacts) -> Iterator[str]:
    """Yield the amount by which chance alone may have raised the score of the best trial, if it is large."""
    if not facts.n_judged_on:
        return
    luck = luck_of_the_best(facts.n_trials, facts.n_judged_on, facts.val_accuracy)
    if luck > MOST_LUCK:
        wanted = two_digits(images_for_luck(MOST_LUCK, facts.n_trials, facts.n_judged_on, facts.val_accuracy))
        yield (
            f"the best of {facts.n_trials:,} trials on {facts.n_judged_on:,} validation images may owe up to "
            f"{100 * luck:.1f} points of accuracy to luck; about {wanted} images would bring that to "
            f"{100 * MOST_LUCK:g}"
        )


def classes_with_few_images(facts: RunFacts) -> Iterator[str]:
    """Yield the splits in which classes have too few images for a meaningful score."""
    for split, counts in facts.class_counts.items():
        fewest = FEWEST[split]
        (small,) = np.nonzero(counts < fewest)
        if len(small) and not (split == "train" and facts.scarce_by_design):
            order = small[np.argsort(counts[small], kind="stable")]
            text = ", ".join(f"{facts.class_names[label]} {counts[label]}" for label in order[:SHOWN_CLASSES])
            more = ", ..." if len(order) > SHOWN_CLASSES else ""
            yield f"{len(small)} of {len(counts)} classes have fewer than {fewest} {split} images ({text}{more})"


def temperature_at_bound(facts: RunFacts) -> Iterator[str]:
    """Yield the end of its range at which the temperature is, if any."""
    if facts.temperature_bound:
        end = "lower" if facts.temperature_bound == "low" else "upper"
        yield f"the validation data set no {end} limit on the temperature"


def held_out_images_seen_before(facts: RunFacts) -> Iterator[str]:
    """Yield the number of held-out images that are also in an earlier split, if any."""
    for pair, (n_seen, n_all) in facts.seen_before.items():
        first, second = pair.split("/")
        yield f"{n_seen:,} of {n_all:,} {second} images are also in {first} or share a group with it"


RUN_RULES: Registry[Rule[RunFacts]] = Registry(
    "warning",
    Rule(
        "W01",
        "Tuned value at the edge of its search space",
        f"A value chosen on validation data lies in the outer {100 * EDGE:g} % of its range (on a log scale if it is "
        f"searched so), or is the first or last of at least three grid values, and the parameter allows values beyond "
        f"it.",
        "Widen the search space at that end (search_space=FILE; for long-tail methods n_trials), or set the value "
        "yourself.",
        at_edge_of_space,
    ),
    Rule(
        "W02",
        "Validation too small for so many trials",
        f"Even if all trials were equally good, the best would look better than it is by more than "
        f"{100 * MOST_LUCK:g} points of accuracy, assuming independent errors.",
        "Raise val_fraction, pass cv_folds (which scores trials on every training image), or run fewer trials.",
        more_trials_than_images_bear,
    ),
    Rule(
        "W03",
        "Classes with too few images",
        f"A class has fewer than {FEWEST['train']} training, {FEWEST['val']} validation or {FEWEST['test']} test "
        "images. Training images of few-shot and long-tail runs are few by design and do not count.",
        "Add images or merge classes; read balanced accuracy and single classes with their intervals.",
        classes_with_few_images,
    ),
    Rule(
        "W04",
        "Calibration temperature at its bound",
        "The lowest allowed temperature fits as well as any, because there are too few validation errors to limit "
        "confidence; or the highest does, because the scores carry no information.",
        "Do not trust probabilities, NLL and ECE; use more or harder validation images, or pass calibration=none.",
        temperature_at_bound,
    ),
    Rule(
        "W11",
        "Held-out images seen in training",
        "Images of val or test have a copy in train (or val), or belong to a group (group_by) that is also there.",
        "Pass duplicates=drop_from_train or crossing_groups=drop_from_train, and compare.",
        held_out_images_seen_before,
    ),
)
