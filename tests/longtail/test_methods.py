"""Names of methods, their combinations, and the heads they apply to."""

import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.longtail.selection import (
    applicable,
    hyperparameters,
    inapplicable,
    method_parts,
    parse_methods,
    select_methods,
)
from resnet_mlflow.registry.heads import HEADS


def test_methods_are_those_of_the_protocol() -> None:
    assert list(METHODS) == [
        "none",
        "resample_balanced",
        "resample_sqrt",
        "resample_progressive",
        "oversample",
        "undersample",
        "smote",
        "reweight_inverse",
        "reweight_sqrt",
        "reweight_effective",
        "focal",
        "ldam_drw",
        "balanced_softmax",
        "logit_adjust_loss",
        "logit_adjust_posthoc",
        "tau_norm",
        "crt",
        "lws",
        "ncm",
    ]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_from_and_why_not_elsewhere(name: str) -> None:
    method = METHODS[name]
    assert method.reference
    assert set(method.heads) <= set(HEADS)
    assert bool(method.applies_to.why_not) == (set(method.heads) != set(HEADS))
    assert all(rule.default in rule.grid for rule in method.hyperparameters.values())
    assert applicable(name, "linear")


def test_parse_methods_puts_none_first_and_each_once() -> None:
    assert parse_methods("focal, none ,focal,balanced_softmax") == ["none", "focal", "balanced_softmax"]
    assert parse_methods("all") == list(METHODS)
    assert parse_methods("all,resample_sqrt+focal")[-1] == "ncm"
    assert "resample_sqrt+focal" in parse_methods("all,resample_sqrt+focal")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "methods must be all or comma-separated names, got ''"),
        (" , ", "methods must be all"),
        ("balanced_sofmax", r"got 'balanced_sofmax'; did you mean 'balanced_softmax'\?"),
        ("force:", "^method must be one of none, resample_balanced, .*, got ''"),
        (
            "resample_balanced+balanced_softmax",
            "^a combination must correct for class frequencies only once, got resample_balanced and balanced_softmax, "
            "which "
            r"both do; write force:resample_balanced\+balanced_softmax to run it anyway$",
        ),
        ("reweight_inverse+logit_adjust_posthoc", "once, got reweight_inverse and logit_adjust_posthoc"),
        ("focal+balanced_softmax", r"one method each .* got 'focal\+balanced_softmax' \(loss, loss\)"),
        ("oversample+resample_sqrt", r"\(sampling, sampling\)"),
        ("crt+focal", r"\(decoupled, loss\)"),
        ("none+focal", r"\(none, loss\)"),
        ("force:logit_adjust_loss+tau_norm", "must not tune the same parameter, .* which both tune tau"),
    ],
)
def test_parse_methods_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_methods(text)


def test_method_parts_of_a_forced_combination() -> None:
    assert method_parts("force:resample_balanced+balanced_softmax") == ("resample_balanced", "balanced_softmax")
    assert method_parts("resample_sqrt+focal+tau_norm".replace("resample_sqrt+", "")) == ("focal", "tau_norm")


def test_select_methods_of_all_leaves_out_what_does_not_apply() -> None:
    assert select_methods("all", "linear") == list(METHODS)
    assert set(METHODS) - set(select_methods("all", "mlp")) == {"ldam_drw", "ncm"}
    assert select_methods("all", "knn") == select_methods("all", "svm")


@pytest.mark.parametrize(("method", "head"), [("ldam_drw", "mlp"), ("oversample", "prototype"), ("crt", "svm")])
def test_select_methods_refuses_a_named_method_that_does_not_apply(method: str, head: str) -> None:
    with pytest.raises(InputError, match=rf"must apply to head {head}, got '{method}' \({method} applies to .*: .*\)"):
        select_methods(f"none,{method}", head)
    assert not applicable(method, head)
    assert inapplicable(f"{method}", "linear") in ("", inapplicable(method, "linear"))


def test_hyperparameters_of_a_combination_are_those_of_its_parts() -> None:
    assert hyperparameters("none") == {}
    assert list(hyperparameters("reweight_effective+focal")) == ["beta", "gamma"]
