"""Classes of sameness on numbers that the reader can check, and on a run that is really run again."""

from copy import deepcopy
from dataclasses import replace

import mlflow
import numpy as np
import pytest
from run_records import run_id_of

from analysis.repeat import compare_repeated, repeat
from analysis.sameness import Sameness, compare_predictions, expected, shared_digits
from resnet_mlflow.errors import InputError
from resnet_mlflow.tracking import Predictions, get_run, load_predictions


def predictions(*labels, score=0.9):
    scores = np.tile(np.array([score, 1 - score], dtype=np.float32), (len(labels), 1))
    ids = np.array([f"i{i}" for i in range(len(labels))])
    return Predictions(ids, np.array(labels), np.array(labels), scores, ("a", "b"))


@pytest.mark.parametrize(
    ("first", "second", "digits"),
    [
        (0.5, 0.5, 15),
        (float("nan"), float("nan"), 15),
        (0.5, float(np.nextafter(0.5, 1)), 14),
        (0.12345678, 0.12345612, 5),
        (0.9721, 0.9693, 2),
        (0.0, 1.0, 0),
        (1234.5678, 1234.5601, 4),  # of numbers above 1 relative to them
        (0.5, float("inf"), 0),
        (0.5, float("nan"), 0),
        (0.5, None, 0),
    ],
)
def test_shared_digits_of_two_numbers(first, second, digits):
    assert shared_digits([(first, second)]) == shared_digits([(second, first)]) == digits
    assert shared_digits([(0.5, 0.5), (first, second)]) == digits


def test_compare_predictions_matches_items_by_id():
    first = predictions("a", "b", "a")
    parts = (first.item_ids, first.labels, first.predictions, first.scores)
    assert compare_predictions(first, Predictions(*(part[::-1] for part in parts), first.class_names)).same
    near = compare_predictions(first, predictions("a", "b", "a", score=0.9001))
    assert (near.n_items, near.n_changed, near.same) == (3, 0, False)
    assert near.score == pytest.approx(1e-4, rel=1e-2)
    assert compare_predictions(first, predictions("a", "b", "b")).n_changed == 1
    other = compare_predictions(first, predictions("a", "b"))
    assert (other.n_items, other.n_changed, other.same) == (3, 3, False)


@pytest.mark.parametrize(
    ("precisions", "one_machine", "promised"),
    [
        (("fp32", "fp32"), True, Sameness.BIT),
        (("fp32", "fp32"), False, Sameness.DIGITS),
        (("bf16", "bf16"), True, Sameness.DIFFERS),
        (("fp32", "bf16"), False, Sameness.DIFFERS),
        (("fp32", None), True, Sameness.DIFFERS),
    ],
)
def test_expected_follows_precision_and_machine(precisions, one_machine, promised):
    assert expected(precisions, one_machine=one_machine, descends=False) is promised
    of_network = Sameness.DIFFERS if promised is Sameness.DIGITS else promised
    assert expected(precisions, one_machine=one_machine, descends=True) is of_network


def tagged(run, metrics=None, **tags):
    """Return a run with other tags and metrics than it has in the store."""
    values = deepcopy(run)
    values.data.tags.update(tags)
    values.data.metrics.update(metrics or {})
    return values


def test_repeat_names_the_class_that_it_found(study):
    run = get_run(run_id_of(study, "prototype resnet18 s0"))
    test = load_predictions(run.info.run_id)
    moved = {"test/nll": run.data.metrics["test/nll"] + 3e-6}
    near = replace(test, scores=test.scores + np.float32(1e-6))

    def compare(now, metrics=None, precision="fp32", **tags):
        second = tagged(run, metrics, precision=precision, **tags)
        return compare_repeated(tagged(run, precision="fp32"), second, {"test": test}, {"test": now})

    same = compare(test)
    assert (same.found, same.expected, same.same) == (Sameness.BIT, Sameness.BIT, True)
    assert "Found: bit-identical. Promised: bit-identical (fp32, one machine)." in same.to_markdown()

    for elsewhere in ({"worker": "another:1"}, {"processor": "another, 64 threads"}):
        digits = compare(near, moved, **elsewhere)
        assert (digits.found, digits.expected, digits.same) == (Sameness.DIGITS, Sameness.DIGITS, True)
        text = digits.to_markdown()
        promised = "Found: equal to 5 digits. Promised: equal to 4 digits (fp32, any machine)."
        assert f"{promised} The run was reproduced." in text
        assert "another" in text

    drifted = compare(near, moved)  # on the machine that it ran on
    assert (drifted.found, drifted.expected, drifted.same) == (Sameness.DIGITS, Sameness.BIT, False)
    assert "The run was NOT reproduced." in drifted.to_markdown()

    rounded = compare(near, {"test/nll": 9.0}, precision="bf16")
    assert (rounded.found, rounded.expected, rounded.same) == (Sameness.DIFFERS, Sameness.DIFFERS, False)
    assert "Found: differs. Promised: nothing (bf16" in rounded.to_markdown()
    assert "- precision: fp32 then, bf16 now" in rounded.to_markdown()

    trained = {"network": tagged(run, precision="fp32", train_layers="layer4")}
    for name, params in (("mlp", {"head.epochs": "100"}), ("sgd", {"head.epochs": "100", "head.solver": "sgd"})):
        trained[name] = tagged(run, precision="fp32")
        trained[name].data.params.update(params)
    for first in trained.values():
        elsewhere = tagged(first, worker="another:1")
        assert compare_repeated(first, elsewhere, {"test": test}, {"test": near}).expected is Sameness.DIFFERS
    linear = tagged(run, precision="fp32")
    linear.data.params.update({"head.epochs": "100", "head.solver": "lbfgs"})
    elsewhere = tagged(linear, worker="another:1")
    assert compare_repeated(linear, elsewhere, {"test": test}, {"test": near}).expected is Sameness.DIGITS

    flipped = replace(test, predictions=np.where(np.arange(len(test.predictions)) == 0, "?", test.predictions))
    assert compare(flipped, worker="another:1").found is Sameness.DIFFERS


def test_repeat_gives_the_same_predictions_to_the_bit(study):
    run_id = run_id_of(study, "prototype resnet18 s0")
    found = repeat(run_id)
    assert found.found is Sameness.BIT, found.to_markdown()
    assert found.same
    assert found.to_markdown().endswith("The run was reproduced.")
    again = mlflow.get_run(found.second)
    assert again.data.tags["repeat_of"] == run_id
    assert again.info.status == "FINISHED"
    assert found.metrics["test/accuracy"][1] == again.data.metrics["test/accuracy"]
    assert " thread" in again.data.tags["processor"]


def test_repeat_refuses_runs_of_other_stages(study):
    parent = study.frame.loc[study.frame["stage"] == "study", "run_id"].item()
    with pytest.raises(InputError, match=r"must be a FINISHED one of fit_head or finetune .* \(study, FINISHED\)"):
        repeat(parent)
