"""How often promises of answers hold over random splits of digits, and what rules add to the cost of a request."""

import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import betabinom

from benchmarks.harness import Row, alternate, ratio_row
from benchmarks.images import make_photos, picture
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.data.datasets import split_of_arrays
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import FeatureSplit, joined_features
from resnet_mlflow.features.streaming import extract_split
from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.preprocessing import unit_length
from resnet_mlflow.registry.ood_scores import OOD_SCORES
from resnet_mlflow.serving.classifier import Classifier, Description
from resnet_mlflow.serving.model import ServedClassifier
from resnet_mlflow.stages.extract import extract_untracked
from resnet_mlflow.stages.preparation import Inputs, prepare
from resnet_mlflow.uncertainty.answering import AnswerRule, Confidences, fit_answering
from resnet_mlflow.uncertainty.conformal import SetRule, fit_sets
from resnet_mlflow.uncertainty.detection import detect
from resnet_mlflow.uncertainty.rules import Rules
from resnet_mlflow.uncertainty.scores import N_KEPT
from resnet_mlflow.uncertainty.unlike import UnlikeRule, fit_score, score_images

N_SPLITS, COVERAGE = 50, 0.9
NAMES = [str(digit) for digit in range(10)]
SIZES = (600, 800, 1300)  # train, validation, calibration, test: 600, 200, 500, 497


def promises(folder: Path, quick: bool) -> list[Row]:
    """Return how often promises of sets and answers hold on digits, and how well scores detect other images."""
    inputs, items, test = _digits()
    splits = list(_splits(items, 10 if quick else N_SPLITS))
    return [*_sets(splits), *_answers(splits), *_others(inputs, items, test)]


def _digits() -> tuple[Inputs, FeatureSplit, FeatureSplit]:
    config = FitHeadConfig(weights="random", precision="fp32")
    inputs = prepare(config)
    splits = extract_untracked(config, inputs).splits
    return inputs, joined_features(list(splits.values())), splits["test"]


def _splits(items: FeatureSplit, n_splits: int) -> Iterator[list[FeatureSplit]]:
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(items))
        yield [items.select(rows) for rows in np.split(order, SIZES)]


def _sets(splits: list[list[FeatureSplit]]) -> Iterator[Row]:
    """Yield coverage of 90 % sets of the prototype head, whose accuracy is below 90 %."""
    covered, inside, classes, sizes = [], 0, np.zeros((2, 10)), []
    for train, val, own, test in splits:
        head = build_head("prototype", {}, 0).fit(train.features, train.labels).calibrate(val.features, val.labels)
        probabilities, tested = head.predict_proba(own.features), head.predict_proba(test.features)
        rule = fit_sets(probabilities, own.labels, COVERAGE, "all", NAMES)
        sets = rule.sets(tested, NAMES, may_be_empty=True)
        hits = sets[np.arange(len(test)), test.labels]
        rank = int(np.ceil((len(own) + 1) * COVERAGE))
        low, high = betabinom.interval(0.95, len(test), rank, len(own) + 1 - rank)
        covered.append(float(hits.mean()))
        sizes.append(float(sets.sum(axis=1).mean()))
        inside += low <= hits.sum() <= high
        per_class = replace(rule, per="class").sets(tested, NAMES, may_be_empty=True)
        own_class = per_class[np.arange(len(test)), test.labels]
        classes += np.stack([np.bincount(test.labels, own_class, 10), np.bincount(test.labels, minlength=10)])
    share, n = classes[0] / classes[1], len(splits)
    text = f"mean {np.mean(covered):.4f}, from {min(covered):.4f} to {max(covered):.4f}; {np.mean(sizes):.2f} classes"
    yield Row(f"90 % sets of {n} splits of digits within binomial limits of 95 %", inside / n, 0.86, "", ours=text)
    text = f"largest {share.max():.4f}, over {n} splits"
    yield Row("coverage of the class that 90 % sets per class cover least", float(share.min()), 0.878, "", ours=text)


def _answers(splits: list[list[FeatureSplit]]) -> Iterator[Row]:
    for name in ("svm", "linear"):
        for answer_error in (0.02, 0.05):
            held, shares, errors = 0, [], []
            for train, val, own, test in splits:
                head = build_head(name, {}, 0).fit(train.features, train.labels).calibrate(val.features, val.labels)
                others, calibration, tested = (_confidences(head, one) for one in (val, own, test))
                try:
                    threshold = fit_answering(calibration, others, answer_error).threshold
                except InputError:  # these 500 images are not enough evidence: nothing is answered
                    threshold = np.inf
                n_answered, n_wrong = tested.from_on(threshold)
                held += n_wrong <= answer_error * n_answered
                shares.append(n_answered / len(test))
                errors.append(n_wrong / max(n_answered, 1))
            text = f"answers {np.mean(shares):.1%}, wrong {np.mean(errors):.2%}; nothing in {shares.count(0.0)} splits"
            what = (
                f"splits of digits of {len(splits)} in which {name} is wrong on at most {answer_error:.0%} of answers"
            )
            yield Row(what, held / len(splits), 0.95, "", ours=text)


def _confidences(head: Any, items: FeatureSplit) -> Confidences:
    return Confidences.of(head.logits_and_leads(items.features)[1], head.predict(items.features), items.labels)


def _others(inputs: Inputs, items: FeatureSplit, test: FeatureSplit) -> Iterator[Row]:
    train = items.select(np.flatnonzero(~np.isin(items.item_ids, test.item_ids)))
    head = build_head("svm", {}, 0).fit(train.features, train.labels)
    images, text = _other_images()
    form = inference_form(build_backbone("resnet18", inputs.weights), "fp32")
    blocks = extract_split(form, split_of_arrays(images, [0] * len(images)), inputs.image_size)
    features = np.concatenate([block for _, block in blocks])
    for name in OOD_SCORES:
        kept = fit_score(name, train.features, train.labels)
        own, other = (score_images(name, kept, one, head.logits(one)) for one in (test.features, features))
        found = detect(own, other)
        target = 0.95 if name == "knn" else 0.5
        fpr = f"FPR {found.fpr95:.3f} at 95 % TPR"
        yield Row(f"AUROC of {name}, digits against {text}", found.auroc, target, "", True, found.auroc_interval, fpr)


def _other_images() -> tuple[NDArray[np.uint8], str]:
    """Return 1000 images of 32 x 32 pixels and their description: CIFAR-10's test images if available."""
    if source := os.environ.get("CIFAR10_FOLDER"):
        paths = sorted(Path(source, "test").rglob("*.jpg"))[::10][:1000]
        return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]), f"{len(paths)} of CIFAR-10"
    rng = np.random.default_rng(0)
    return np.stack([picture(rng, 32, 32) for _ in range(1000)]), "1000 made pictures"


def request_cost(folder: Path, quick: bool) -> list[Row]:
    """Return the time of a served resnet18 without rules relative to that with all of them, for 1 and 64 photos."""
    files = [path.read_bytes() for path in sorted(make_photos(folder / "photos", 64).rglob("*.jpg"))]
    plain, ruled = _served()
    rows = []
    for n_files, turns in ((1, 20 if quick else 200), (64, 3 if quick else 15)):
        table = pd.DataFrame({"image": [base64.b64encode(file).decode() for file in files[:n_files]]})
        taken = alternate(partial(ruled.predict, table), partial(plain.predict, table), turns)
        names = ("with sets, answering, nearest of 2000 images and light", "without rules")
        what = f"request of {n_files} photos, resnet18 at 224 px, without rules over with"
        rows.append(ratio_row(what, 1 / 1.1, *taken, n_items=n_files, names=names))
    return rows


def _served() -> tuple[ServedClassifier, ServedClassifier]:
    """Return a served SVM of ten classes without and with rules; its score keeps the maximum number of images."""
    config = FitHeadConfig(weights="random")
    inputs = prepare(config)
    train = extract_untracked(config, inputs).splits["train"]
    head = build_head("svm", {}, 0).fit(train.features, train.labels)
    bank = unit_length(np.random.default_rng(0).normal(size=(N_KEPT, 512)).astype(np.float32))
    rules = Rules(
        "cross_fit",
        SetRule(COVERAGE, "class", 0.5, by_class=dict.fromkeys(NAMES, 0.4)),
        AnswerRule(0.02, 0.98, 0.5, 1000, 900, 3),
        UnlikeRule("knn", 0.95, 0.3),
        limits={"too dark": 0.2, "too bright": 0.8, "too little contrast": 0.1},
        arrays={"bank": bank},
    )
    description, backbone = (
        Description("resnet18", tuple(NAMES), 224, "fp32"),
        build_backbone("resnet18", inputs.weights),
    )
    plain, ruled = (Classifier(description, backbone, head, rules=one) for one in (None, rules))
    return ServedClassifier(plain), ServedClassifier(ruled)
