"""Audits of planted faults: finding twins, scores without them, ranking and counting wrong labels; time and memory."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.audit_weights import N_SEEN
from benchmarks.growth import fit_exponent
from benchmarks.harness import Row, limit_row
from benchmarks.images import make_small, picture
from benchmarks.peers import cleanlab_ranking
from benchmarks.planting import flip_labels, plant_twins
from benchmarks.workspace import run_entry_point
from resnet_mlflow.audit.crossfit import cross_fit
from resnet_mlflow.audit.labels import count_wrong, judge_labels
from resnet_mlflow.audit.twins import find_twins
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import ExtractConfig
from resnet_mlflow.data.datasets import build_dataset, split_of_arrays
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.heads import build_head
from resnet_mlflow.statistics import accuracy_interval

N_IMAGES, N_CLASSES = 5000, 10
Images, Ints = NDArray[np.uint8], NDArray[np.int64]


def twins(folder: Path, quick: bool) -> list[Row]:
    """Return recall and precision for twins planted across train and test, a twentieth of the images."""
    n_draws, n_images = (1, 1000) if quick else (3, N_IMAGES)
    images, _, what = pool(4 * n_images)
    recalls, precisions, others = [], [], 0
    for draw in range(n_draws):
        rng = np.random.default_rng(draw)
        own = images[rng.permutation(len(images))[: n_images - n_images // 20]]
        # The data's own twins would count as false: they are removed beforehand, with a looser threshold.
        own, n_own = _without_own_twins(own)
        originals = rng.permutation(len(own))[: n_images // 20]
        copies, _ = plant_twins(own, originals, draw)
        found = find_twins(grey(np.concatenate([own, copies])))
        expected = {(int(row), len(own) + place) for place, row in enumerate(originals)}
        hits = expected & set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        recalls.append(len(hits) / len(expected))
        precisions.append(len(hits) / max(len(found), 1))
        others += n_own
    text = f"{n_images // 20} twins among {n_images} images ({what})"
    peer = f"{others / n_draws:.0f} pictures that are twins without planting left out"
    return [
        _at_least(f"recall of {text}", 0.95, recalls, ours=peer),
        _at_least(f"precision of {text}", 0.95, precisions, ours=peer),
    ]


def scores(folder: Path, quick: bool) -> list[Row]:
    """Return in how many draws the score without twins is in the interval of the clean data's score."""
    n_draws, n_images = (3, 500) if quick else (20, N_IMAGES)
    images, labels, what = pool(2 * n_images)
    originals = np.random.default_rng(0).permutation(len(images))[: n_images // 2]
    copies, _ = plant_twins(images, originals, 0)
    features = network_features(np.concatenate([images, copies]), np.concatenate([labels, labels[originals]]), folder)
    thumbs = grey(np.concatenate([images, copies]))
    inside, shifts = 0, []
    for draw in range(n_draws):
        rows, twin_rows = _draw_with_twins(len(images), originals, n_images, draw)
        train, clean, kept = np.split(rows, [4 * n_images // 5, 4 * n_images // 5 + n_images // 20])
        all_labels = np.concatenate([labels, labels[originals]])
        head = build_head("linear", {"C": 0.01}, 0).fit(features[train], all_labels[train])
        right = head.predict(features) == all_labels
        test = np.concatenate([kept, twin_rows])
        found = find_twins(thumbs[np.concatenate([train, test])])
        leaks = np.unique(found.second[(found.first < len(train)) & (found.second >= len(train))]) - len(train)
        apart = np.setdiff1d(np.arange(len(test)), leaks)
        whole = np.concatenate([clean, kept])
        low, high = accuracy_interval(int(right[whole].sum()), len(whole))
        without = float(right[test[apart]].mean())
        inside += low <= without <= high
        shifts.append((float(right[test].mean()), without, float(right[whole].mean())))
    with_twins, without, true = np.mean(shifts, axis=0)
    text = f"with twins {with_twins:.3f}, without {without:.3f}, clean data {true:.3f} on average"
    what = f"draws in which the score without twins lies in the clean data's interval, of {n_draws} ({what})"
    return [Row(what, inside, 19 if n_draws == 20 else n_draws - 1, unit="", ours=text)]


def labels(folder: Path, quick: bool) -> list[Row]:
    """Return the average precision of the ranking relative to cleanlab's, and the coverage of the count's interval."""
    n_draws, n_images = (3, 1000) if quick else (20, N_IMAGES)
    images, classes, what = pool(4 * n_images)
    features = network_features(images, classes, folder)
    n_wrong, inside, ranked, counts = n_images // 20, 0, [], []
    ratios: dict[str, list[float]] = {method: [] for method in cleanlab_ranking.METHODS}
    for draw in range(n_draws):
        rows = np.random.default_rng(100 + draw).permutation(len(classes))[:n_images]
        given = flip_labels(classes[rows], n_wrong, N_CLASSES, draw)
        fitted = cross_fit(features[rows], given, np.arange(n_images), N_CLASSES, draw)
        wrong = given != classes[rows]
        ranked.append(_average_precision(judge_labels(fitted.probabilities, given).ranking, wrong))
        count, (low, high), _ = count_wrong(fitted.probabilities, given)
        inside += low <= n_wrong <= high
        counts.append((count, low, high))
        peers = cleanlab_ranking.scores(fitted.probabilities, given) or {}
        for method, quality in peers.items():
            ratios[method].append(ranked[-1] / _average_precision(np.argsort(quality, kind="stable"), wrong))
    middle = [f"{value:.0f}" for value in np.mean(counts, axis=0)]
    text = f"mean count {middle[0]}, mean interval {middle[1]} to {middle[2]}"
    what = f"{n_wrong} of {n_images} labels wrong ({what})"
    rows = [
        Row(
            f"draws in which the interval holds the number, {what}, of {n_draws}",
            inside,
            0.9 * n_draws,
            unit="",
            ours=text,
        )
    ]
    ours = f"average precision {np.mean(ranked):.3f}"
    for method, values in ratios.items():
        if values:
            rows.append(
                _at_least(f"average precision of the ranking over cleanlab's {method}, {what}", 1.0, values, ours=ours)
            )
    return rows


def whole(folder: Path, quick: bool) -> list[Row]:
    """Return time and memory of the entry point with features in the store, and the growth of the time."""
    sizes = [500, 1000] if quick else [6250, 12_500, 25_000, 50_000]
    taken, memory = [], []
    for n_images in sizes:
        images = _folder_of(folder / str(n_images), n_images)
        given = ("--dataset", f"folder:{images}", "--image_size", "32", "--weights", weights())
        run_entry_point("extract", *given, "--share_features", "false")
        done = run_entry_point("audit", *given)
        taken.append(done.taken_s)
        memory.append(done.peak_rss_mib)
    text = ", ".join(
        f"{size}: {seconds:.0f} s, {peak:.0f} MiB" for size, seconds, peak in zip(sizes, taken, memory, strict=True)
    )
    what = f"`audit` of {sizes[-1]} images of 32 px with features in the store"
    return [
        limit_row(what, 300, [taken[-1]], unit="s", ours=text),
        limit_row(f"peak memory of {what}", 3072, [memory[-1]], unit="MiB"),
        limit_row(f"growth of {what} with the images, exponent", 1.1, [fit_exponent(sizes, taken)], unit="", ours=text),
    ]


def _at_least(what: str, target: float, values: list[float], ours: str = "") -> Row:
    text = f"{what} ({len(values)} draws)"
    return Row(text, float(np.mean(values)), target, unit="", spread=(min(values), max(values)), ours=ours)


def _without_own_twins(images: Images) -> tuple[Images, int]:
    from unittest.mock import patch

    with patch("resnet_mlflow.audit.twins.LEAST_SCORE", 0.85):
        found = find_twins(grey(images))
    rows = np.union1d(found.first, found.second)
    return np.delete(images, rows, axis=0), len(rows)


def _draw_with_twins(n_pool: int, originals: Ints, n_images: int, draw: int) -> tuple[Ints, Ints]:
    """Return rows of train, of a twentieth and three twentieths for test, and those of copies of training pictures."""
    rng = np.random.default_rng(1000 + draw)
    chosen = rng.permutation(len(originals))[: n_images // 20]
    others = rng.permutation(np.setdiff1d(np.arange(n_pool), originals[chosen]))
    n_train = 4 * n_images // 5 - len(chosen)
    rows = np.concatenate([originals[chosen], others[: n_train + n_images // 5]])
    return rows, n_pool + chosen


def _average_precision(ranking: Ints, wrong: NDArray[np.bool_]) -> float:
    hits = wrong[ranking]
    return float((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean())


@lru_cache(maxsize=2)
def pool(n_images: int) -> tuple[Images, Ints, str]:
    """Return images, labels and their description: from CIFAR-10 only images that ``audit_weights`` has not seen."""
    source = os.environ.get("CIFAR10_FOLDER")
    if not source:
        rng = np.random.default_rng(3)
        labels = rng.integers(0, N_CLASSES, n_images)
        tints = rng.integers(-40, 41, (N_CLASSES, 3))
        images = [np.clip(picture(rng, 32, 32) + tints[label], 0, 255).astype(np.uint8) for label in labels]
        return np.stack(images), labels, "pictures made here"
    classes = sorted(path for path in Path(source, "train").iterdir() if path.is_dir())
    each = n_images // len(classes)
    paths = [path for name in classes for path in sorted(name.glob("*.jpg"))[N_SEEN : N_SEEN + each]]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    return images, np.array([classes.index(path.parent) for path in paths]), "CIFAR-10"


def weights() -> str:
    """Return the weights for the features: a file of ``audit_weights`` named by ``AUDIT_WEIGHTS``, else random ones."""
    return os.environ.get("AUDIT_WEIGHTS", "random")


def network_features(images: Images, labels: Ints, folder: Path) -> NDArray[np.float32]:
    """Return resnet18's features at 32 pixels."""
    splits = {"train": split_of_arrays(images, labels), "test": split_of_arrays(images[:2], labels[:2])}
    names = [str(label) for label in range(N_CLASSES)]
    dataset = build_dataset(name="pool", class_names=names, splits=splits, default_image_size=32, source="")
    config = ExtractConfig(weights=weights(), image_size=32)
    resolved = resolve_weights("resnet18", weights(), 0)
    found = extract_features(dataset, config, FeatureStore(folder / "features"), resolved, show_progress=False)
    return np.asarray(found.splits["train"].features)


def grey(images: Images) -> Images:
    """Return grey copies of 32-pixel images, as an audit compares them."""
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])


def _folder_of(folder: Path, n_images: int) -> Path:
    """Return a folder of classes with that many images of CIFAR-10, or generated pictures."""
    source = os.environ.get("CIFAR10_FOLDER")
    if not source:
        return make_small(folder, n_images)
    for name in sorted(path for path in Path(source, "train").iterdir() if path.is_dir()):
        (folder / name.name).mkdir(parents=True)
        for path in sorted(name.glob("*.jpg"))[: n_images // N_CLASSES]:
            (folder / name.name / path.name).symlink_to(path.resolve())
    return folder
