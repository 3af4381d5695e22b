"""False alarms of monitor without change, and how its power grows with the change and with the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.features.streaming import extract_split
from resnet_mlflow.heads import build_head
from resnet_mlflow.monitoring.changes import Pool
from resnet_mlflow.monitoring.kernel import fit_space
from resnet_mlflow.monitoring.observed import Meter, observe
from resnet_mlflow.monitoring.reference import Reference
from resnet_mlflow.robustness.selection import CLEAN, CorruptedSet
from resnet_mlflow.robustness.sweep import ImagesUnderTest, choose_images
from resnet_mlflow.serving.looks import level_of_alarm
from resnet_mlflow.stages.preparation import prepare
from resnet_mlflow.statistics import accuracy_interval

NAMES = tuple("0123456789")
FALSE_ALARMS = 0.05
N_TRAIN, N_REFERENCE = 800, 400
N_LOOKS = 20
SEVERITIES, SIZES = (1, 3, 5), (10, 20, 40, 80, 160)
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression")


@dataclass(frozen=True, eq=False)
class _Images:
    """Features and picture measures of all digits under a corruption."""

    features: NDArray[np.float32]
    pictures: NDArray[np.float32]


class _Digits:
    """Digits in front of a resnet18 with random weights."""

    def __init__(self) -> None:
        inputs = prepare(FitHeadConfig(weights="random", precision="fp32"))
        self._size, self._preprocessing = inputs.image_size, inputs.preprocessing
        splits = list(inputs.dataset.splits.values())
        arrays = [np.concatenate([getattr(one, name) for one in splits]) for name in ("labels", "item_ids", "images")]
        self._split = ImageSplit(arrays[0], arrays[1], images=arrays[2])
        self._form = inference_form(build_backbone("resnet18", inputs.weights), "fp32")
        self.clean = self.under(CLEAN)

    def under(self, cell: CorruptedSet) -> _Images:
        split = self._split
        images = ImagesUnderTest(split, self._size, 0, ()) if cell == CLEAN else choose_images(split, self._size, 0)
        meter, features = Meter(len(split), images.corrupting(cell)), np.empty((len(split), 512), np.float32)
        for rows, block in extract_split(
            self._form, split, self._size, change=meter, preprocessing=self._preprocessing
        ):
            features[rows] = block
        return _Images(features, meter.pictures)

    def pools(self, seed: int, others: Sequence[_Images]) -> list[Pool]:
        """Return the images of a random split that are neither training nor reference images, under each corruption."""
        order = np.random.default_rng(seed).permutation(len(self._split))
        train, own, rest = np.split(order, [N_TRAIN, N_TRAIN + N_REFERENCE])
        head = build_head("svm", {}, 0).fit(self.clean.features[train], self._split.labels[train])
        space = fit_space(self.clean.features[train])
        reference = Reference(
            observe(head, None, self.clean.features[own], space, self.clean.pictures[own]), space, NAMES
        )
        return [Pool(reference, observe(head, None, one.features[rest], space, one.pictures[rest])) for one in others]


def false_alarms(folder: Path, quick: bool) -> list[Row]:
    """Return how often batches without change raise an alarm: in first looks, and in any look at one version."""
    digits, n_splits = _Digits(), 10 if quick else 200
    levels = [level_of_alarm(1 + look, FALSE_ALARMS) for look in range(N_LOOKS)]
    first, any_look = 0, 0
    for seed in range(n_splits):
        (pool,) = digits.pools(seed, [digits.clean])
        first += sum(_noticed(pool, [SIZES[seed % len(SIZES)]], levels[:1], seed))
        any_look += any(_noticed(pool, [80] * N_LOOKS, levels, seed))
    return [
        _share(f"batches of {n_splits} without change, each of a random split of digits, that alarm", first, n_splits),
        _share(f"versions of {n_splits} with any alarm in {N_LOOKS} looks without change", any_look, n_splits),
    ]


def _noticed(pool: Pool, sizes: Sequence[int], levels: Sequence[float], seed: int) -> list[bool]:
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(len(pool.images))[:size] for size in sizes]
    return [pool.is_noticed(rows, level) for rows, level in zip(drawn, levels, strict=True)]


def _share(what: str, n_alarms: int, n: int) -> Row:
    return Row(what, n_alarms / n, FALSE_ALARMS, "", False, accuracy_interval(n_alarms, n), f"{n_alarms} of {n}")


def power(folder: Path, quick: bool) -> list[Row]:
    """Return the smallest gain in power by severity and by size of the batch, with the power of all batches."""
    digits, n_batches = _Digits(), 10 if quick else 100
    rows = []
    for corruption in CORRUPTIONS:
        changed = [digits.under(CorruptedSet(corruption, severity)) for severity in SEVERITIES]
        found = _power(digits, changed, n_batches)
        text = "; ".join(
            f"severity {severity}: {', '.join(f'{share:.2f}' for share in shares)}"
            for severity, shares in zip(SEVERITIES, found, strict=True)
        )
        for axis, by in ((0, "severities 1, 3, 5"), (1, f"batches of {', '.join(map(str, SIZES))}")):
            what = f"power of monitor, {corruption}: least gain over {by}"
            rows.append(Row(what, float(np.diff(found, axis=axis).min()), -0.1, "", ours=text if axis else ""))
    return rows


def _power(digits: _Digits, changed: Sequence[_Images], n_batches: int) -> NDArray[np.float64]:
    """Return the share of batches with an alarm in a first look, ``(n_severities, n_sizes)``, over ten splits."""
    level, noticed = level_of_alarm(1, FALSE_ALARMS), np.zeros((len(changed), len(SIZES)))
    for seed in range(10):
        for row, pool in enumerate(digits.pools(seed, changed)):
            rng = np.random.default_rng(seed)
            for column, size in enumerate(SIZES):
                drawn = (rng.permutation(len(pool.images))[:size] for _ in range(n_batches // 10))
                noticed[row, column] += sum(pool.is_noticed(rows, level) for rows in drawn)
    return noticed / n_batches
