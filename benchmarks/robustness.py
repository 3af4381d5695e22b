"""A robustness test of several classifiers on one backbone relative to that of one, and its growth with the images."""

import shutil
from pathlib import Path

from benchmarks.growth import growth_row, time_growth
from benchmarks.harness import Row, Work, alternate, limit_row
from benchmarks.images import make_photos, small_folder
from resnet_mlflow.config import FitHeadConfig, RobustnessConfig
from resnet_mlflow.registry.heads import HEADS
from resnet_mlflow.robustness.selection import build_cells
from resnet_mlflow.stages.classifiers import RunClassifier, load_classifier
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.robustness_sources import group_classifiers
from resnet_mlflow.stages.robustness_sweeps import Sweep, choose_split

# One corruption of each family.
CORRUPTIONS = ("gaussian_noise", "motion_blur", "fog", "jpeg_compression")
SMALL, LARGE = 64, 224


def heads_together(folder: Path, quick: bool) -> list[Row]:
    """Return the time of a sweep with five heads relative to one, without MLflow: small images, then photos.

    They differ in the cost of the network, compared with that of the heads: 1.3 and 17 ms per image.
    """
    small, what = small_folder(folder / "small", 500 if quick else 5_000)
    rows = [_together(folder, small, f"images ({what})", SMALL, 3 if quick else 5)]
    if not quick:
        rows.append(_together(folder, make_photos(folder / "photos", 800), "photos", LARGE, 5))
    return rows


def growth(folder: Path, quick: bool) -> list[Row]:
    """Return the exponent of a sweep's time, by number of tested images."""
    # A fifth becomes test, from which samples are drawn.
    base, turns = (25, 1) if quick else (125, 5)
    images, what = small_folder(folder / "growing", 5 * 8 * base)
    classifier = load_classifier(_fit(images, SMALL, "svm"))

    def work_of(n_images: int) -> Work:
        return lambda: _sweep(folder, [classifier], max_images=n_images)

    costs = time_growth(work_of, base, turns)
    return [growth_row(f"a robustness sweep with its images ({what}) at {SMALL} px", 1.05, costs)]


def _together(folder: Path, images: Path, what: str, image_size: int, turns: int) -> Row:
    classifiers = [load_classifier(_fit(images, image_size, head)) for head in HEADS]
    together, alone = (lambda: _sweep(folder, classifiers)), (lambda: _sweep(folder, classifiers[:1]))
    taken = alternate(together, alone, turns)
    n_train, n_test = (len(classifiers[0].inputs.dataset.splits[name]) for name in ("train", "test"))
    return limit_row(
        f"robustness of {len(classifiers)} heads ({', '.join(HEADS)}) on one resnet18 over that of one, "
        f"{len(CORRUPTIONS)} cells of {n_test} {what} at {image_size} px, fitted on {n_train}",
        1.05,
        [five / one for five, one in zip(*taken, strict=True)],
        unit="x",
        ours=f"{min(taken[0]):.3g} s",
        peer=f"{min(taken[1]):.3g} s for {next(iter(HEADS))} alone",
    )


def _fit(images: Path, image_size: int, head: str) -> str:
    config = FitHeadConfig(dataset=f"folder:{images}", image_size=image_size, weights="random", head=head)
    return run_fit_head(config).run_id


def _sweep(folder: Path, classifiers: list[RunClassifier], max_images: int = 0) -> None:
    """Run all cells again."""
    shutil.rmtree(folder / "cache" / "robustness", ignore_errors=True)
    config = RobustnessConfig(max_images=max_images)
    (group,) = group_classifiers(classifiers)
    Sweep.of(group, choose_split(group.first, config), config).run(build_cells(CORRUPTIONS, (3,)))
