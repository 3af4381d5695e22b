"""Every rule on facts whose answer can be seen, just on both sides of its threshold."""

import numpy as np
import pytest

from resnet_mlflow.registry import Registry
from resnet_mlflow.review import RUN_RULES, Rule, RunFacts, Searched, find

NAMES = ("cat", "dog", "eel")


def codes(**facts):
    return [finding.code for finding in find(RUN_RULES, RunFacts(class_names=NAMES, **facts))]


def counts(train=(50, 50, 50), val=(10, 10, 10), test=(20, 20, 20)):
    return {"train": np.array(train), "val": np.array(val), "test": np.array(test)}


def test_nothing_is_found_in_a_run_that_says_nothing_or_is_sound():
    assert codes() == []
    assert codes(
        class_counts=counts(),
        searched=(Searched("C", 1.0, 1e-3, 1e3, log=True),),
        n_trials=20,
        n_judged_on=5000,
        val_accuracy=0.9,
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("searched", "edge"),
    [
        (Searched("C", 3e5, 1e-6, 1e5, log=True), "high"),  # given from outside, beyond the space
        (Searched("C", 9e4, 1e-6, 1e5, log=True), "high"),
        (Searched("C", 1e4, 1e-6, 1e5, log=True), ""),  # a decade of eleven away
        (Searched("C", 2e-6, 1e-6, 1e5, log=True), "low"),
        (Searched("C", 9.6e4, 1e-6, 1e5), "high"),
        (Searched("C", 9.4e4, 1e-6, 1e5), ""),
        (Searched("dropout", 0.01, 0.0, 0.8), "low"),
        (Searched("dropout", 0.01, 0.0, 0.8, open_below=False), ""),
        (Searched("k", 200, 1, 200, margin=0.0), "high"),
        (Searched("k", 3, 1, 200, margin=0.0), ""),
        (Searched("k", 1, 1, 200, margin=0.0, open_below=False), ""),
    ],
)
def test_w01_knows_the_edge_from_the_middle(searched, edge):
    assert searched.edge == edge
    assert codes(searched=(searched,)) == (["W01"] if edge else [])


def test_w02_counts_trials_against_validation_images():
    assert codes(n_trials=15, n_judged_on=287, val_accuracy=0.95) == []
    assert codes(n_trials=200, n_judged_on=287, val_accuracy=0.95) == ["W02"]
    assert codes(n_trials=15, n_judged_on=287, val_accuracy=0.8) == ["W02"]
    assert codes(n_trials=1, n_judged_on=20, val_accuracy=0.5) == []  # nothing was chosen
    assert codes(n_trials=50, n_judged_on=20, val_accuracy=1.0) == ["W02"]  # 20 of 20 right say little
    (finding,) = find(RUN_RULES, RunFacts(n_trials=100, n_judged_on=500, val_accuracy=0.9))
    assert "may owe up to 3.4 points of accuracy to luck; about 640 images would bring that to 3" in finding.clauses[0]
    assert codes(n_trials=100, n_judged_on=660, val_accuracy=0.9) == []


def test_w03_counts_images_per_class_and_split():
    assert codes(class_counts=counts(test=(20, 9, 20))) == ["W03"]
    assert codes(class_counts=counts(val=(5, 5, 5))) == []
    assert codes(class_counts=counts(val=(5, 0, 5))) == ["W03"]
    assert codes(class_counts=counts(train=(9, 50, 50))) == ["W03"]
    assert codes(class_counts=counts(train=(1, 1, 1)), scarce_by_design=True) == []
    (finding,) = find(RUN_RULES, RunFacts(class_counts=counts(test=(9, 30, 0)), class_names=NAMES))
    assert finding.clauses == ("2 of 3 classes have fewer than 10 test images (eel 0, cat 9)",)


def test_w04_tells_both_ends_apart():
    assert codes(temperature_bound="low") == codes(temperature_bound="high") == ["W04"]
    text = [find(RUN_RULES, RunFacts(temperature_bound=end))[0].clauses for end in ("low", "high")]
    assert text == [
        ("the validation data set no lower limit on the temperature",),
        ("the validation data set no upper limit on the temperature",),
    ]


def test_a_warning_is_one_row_and_one_function():
    rules = Registry("warning", *RUN_RULES.values())
    rules.add(Rule("W99", "No dog", "A run knows no dog.", "Get one.", lambda facts: ()))
    assert find(rules, RunFacts()) == []
    rules.add(Rule("W98", "Cats", "A run knows a cat.", "Mind the dog.", lambda facts: ("a cat",)))
    (finding,) = find(rules, RunFacts())
    assert rules["W98"].message(finding.clauses) == "W98 Cats: a cat. Mind the dog."
    with pytest.raises(ValueError, match="the warning 'W98' twice"):
        rules.add(rules["W98"])


def test_held_out_images_that_train_knows_are_reported():
    assert codes(seen_before={}) == []
    (finding,) = find(RUN_RULES, RunFacts(seen_before={"train/test": (1200, 4000), "val/test": (1, 4000)}))
    assert finding.code == "W11"
    assert finding.clauses == (
        "1,200 of 4,000 test images are also in train or share a group with it",
        "1 of 4,000 test images are also in val or share a group with it",
    )
