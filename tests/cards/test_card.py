"""A card of a small classifier whose classes have hostile names: what it says, and that nothing is injected or lost."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from resnet_mlflow.cards.content import Facts, Section, Text
from resnet_mlflow.cards.render import to_markdown, to_page
from resnet_mlflow.cards.sections import SECTIONS
from resnet_mlflow.data.datasets import build_dataset, split_of_arrays
from resnet_mlflow.evaluation.scores import evaluate
from resnet_mlflow.evaluation.slices import score_slices

HOSTILE = '<script>alert("1")</script>'
NAMES = (HOSTILE, "a|b [x](javascript:alert(1))", "$\\frac{1$ 金魚")
POWER = {
    "sentence": "Notices strong fog with 40 images or more.",
    "target_power": 0.8,
    "false_alarms": {"alarms": 3, "batches": 200},
    "curves": [
        {"corruption": "fog", "severity": 5, "n_images": [10, 40, 160], "power": [0.2, 0.85, 1.0], "noticed_from": 40},
        {"corruption": "blur", "severity": 1, "n_images": [10, 160], "power": [0.05, 0.1], "noticed_from": None},
    ],
}  # fmt: skip

CORRUPTED = {"mild/accuracy": 0.8, "mild/consistency": 0.9, "fog/accuracy": 0.3}


@pytest.fixture(scope="module")
def facts():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    images = rng.integers(0, 255, (120, 24, 32, 3), dtype=np.uint8)
    dataset = build_dataset(
        name="folder:/data/birds",
        class_names=NAMES,
        splits={"all": split_of_arrays(images, labels)},
        default_image_size=32,
        source="/data/birds",
    )
    test = dataset.splits["test"]
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], len(test)) * 0.5
    probabilities[np.arange(len(test)), test.labels] += 0.5
    evaluation = evaluate(test.labels, probabilities[:, [1, 0, 2]], test.item_ids, NAMES)
    ends = {"": 0.5, "_ci_low": 0.4, "_ci_high": 0.6}
    scores = ("accuracy", "balanced_accuracy", "macro_f1")
    return Facts(
        model="birds",
        version="3",
        run_name="svm resnet18 s0",
        dataset=dataset,
        tags={"run_id": "1f", "backbone": "resnet18", "promises": "the true class is in the set for 90 % of images"},
        evaluation=evaluation,
        class_counts={name: dataset.class_counts(name) for name in dataset.splits},
        metrics={f"{split}/{name}{end}": v for split in ("val", "test") for name in scores for end, v in ends.items()},
        splits=("val", "test"),
        slices=score_slices(evaluation.labels == evaluation.predictions, {"site": ["north", "<b>south"] * 12}),
        promotion={"answering/test_coverage": 0.91, "ood/digits/knn/auroc": 0.99, "ood/digits/knn/n_images": 300.0},
        robustness={"2e": {f"robustness/{name}": value for name, value in CORRUPTED.items()}},
        power=POWER,
        runs=[("fit and test", "1f", 12.5, 7200.0), ("features", "3c", 5.0, None)],
        commands=["python -m entrypoints.fit_head --head svm"],
        origins={"dataset": dataset.digest},
    )  # fmt: skip


def test_a_card_has_every_section_and_says_what_was_measured(facts):
    page, text = to_page(facts), to_markdown(facts)
    for row in SECTIONS.values():
        assert f'<section id="{row.name}">' in page
        assert f"\n## {row.title}\n" in text
    message = {
        "0.5000 (0.4000 to 0.6000)": "scores",
        "site=north": "slices",
        "The true class is in the set for 90 %": "promises",
        "0.9100": "what came of them",
        "| digits       | knn   | 300    | 0.990 |": "other images",
        "| mild   | 0.8000   | 0.9000": "corruptions",
        "fog 0.300": "the worst corruption",
        "Notices strong fog with 40 images or more.": "power",
        "| fog 5      | 40 images or more": "power by corruption",
        "not within the sizes tested": "what is not noticed",
        "3 of 200 batches": "false alarms",
        "2.00 Wh": "energy",
        "python -m entrypoints.fit_head --head svm": "how to repeat it",
        facts.dataset.digest: "the dataset's digest",
    }
    missing = [what for words, what in message.items() if words not in text]
    assert not missing
    # Calibration, power, and pictures of both classes that are taken for each other.
    assert page.count('src="data:image/png;base64,') == 2
    assert page.count('src="data:image/jpeg;base64,') >= 6
    assert "http" not in re.sub(r'base64,[^"]*', "", page), "nothing is loaded from elsewhere"
    assert [base64.b64decode(one)[:4] for one in re.findall(r'png;base64,([^"]*)', page)] == [b"\x89PNG"] * 2


def test_every_column_of_a_card_has_a_header(facts):
    assert "<th" in to_page(facts)
    assert '<th scope="col"></th>' not in to_page(facts)


def test_a_card_injects_no_name(facts):
    page, text = to_page(facts), to_markdown(facts)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in page
    assert "<b>" not in page
    assert "<script" not in text
    assert "](javascript:" not in text
    assert "a\\|b" in text


def test_a_card_says_what_was_not_measured_and_how_to_get_it(facts):
    empty = replace(facts, tags={}, slices=None, promotion={}, robustness={}, power=None, runs=(), commands=())
    page, text = to_page(empty), to_markdown(empty)
    for name in ("answering", "unlike", "corruptions", "power", "cost"):
        message = f"Not measured: {SECTIONS[name].otherwise}"
        assert f"\n> {message}\n" in text
        assert message in page
    assert "To be filled in: its purpose" in text
    assert "To be filled in: pass data_license=" in text
    assert "Slices: none" in text


@pytest.mark.parametrize("broken", [{}, {**POWER, "curves": [{}]}, {**POWER, "target_power": "high"}])
def test_a_card_says_that_a_power_curve_cannot_be_read(facts, broken):
    assert "power_curve.json was not written by promote" in to_markdown(replace(facts, power=broken))


def test_a_license_is_as_given_or_as_the_folder_says(facts, tmp_path):
    (tmp_path / "LICENSE").write_text("\nCC BY 4.0\nmore\n")
    in_folder = replace(facts, dataset=replace(facts.dataset, root=tmp_path))
    assert "CC BY 4.0 (first line of LICENSE in the dataset's folder)" in to_markdown(in_folder)
    assert "| MIT " in to_markdown(replace(in_folder, data_license="MIT"))


def test_one_row_adds_a_section(facts, monkeypatch):
    rows = dict(SECTIONS._rows)
    monkeypatch.setattr(SECTIONS, "_rows", rows)
    SECTIONS.add(Section("contact", "Whom to ask", lambda _: [Text("Ada")], "nobody"))
    assert to_markdown(facts).endswith("\n## Whom to ask\n\nAda\n")
    assert '<section id="contact">' in to_page(facts)


def test_a_card_of_many_classes_says_which_it_shows(facts):
    names = tuple(f"class {number}" for number in range(120))
    labels = np.arange(120)
    predicted = np.where(labels < 110, labels, 0)
    many = evaluate(labels, np.eye(120)[predicted], [f"{n}" for n in labels], names)
    text = to_markdown(replace(facts, evaluation=many))
    assert "The 100 of 120 classes with the lowest recall" in text
    assert "| class 119 | 1 " in text
    assert "class 109 " not in text
