"""A robustness test of several classifiers on one backbone, over the test of one of them."""

import shutil
from pathlib import Path

from benchmarks.harness import Row, alternate, limit_row
from benchmarks.images import small_folder
from resnet_mlflow.config import HEADS, FitHeadConfig, RobustnessConfig
from resnet_mlflow.robustness.selection import build_cells
from resnet_mlflow.stages.classifiers import RunClassifier, load_classifier
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.robustness_sources import group_classifiers
from resnet_mlflow.stages.robustness_sweeps import Sweep, choose_split

# One corruption of each family.
CORRUPTIONS = ("gaussian_noise", "motion_blur", "fog", "jpeg_compression")
IMAGE_SIZE = 64
CONFIG = RobustnessConfig()


def heads_together(folder: Path, quick: bool) -> list[Row]:
    """Return the time of a sweep with five heads over that with one, runs in MLflow aside."""
    # A fifth becomes test.
    n_images = 500 if quick else 5_000
    images, what = small_folder(folder / "images", n_images)
    classifiers = [load_classifier(_fit(images, head)) for head in HEADS]
    together, alone = (lambda: _sweep(folder, classifiers)), (lambda: _sweep(folder, classifiers[:1]))
    taken = alternate(together, alone, 3 if quick else 5)
    n_test = len(choose_split(classifiers[0], CONFIG))
    return [
        limit_row(
            f"robustness of {len(classifiers)} heads ({', '.join(HEADS)}) on one resnet18 over that of one, "
            f"{len(CORRUPTIONS)} cells of {n_test} images ({what}) at {IMAGE_SIZE} px, "
            f"fitted on {n_images - n_test} images",
            1.05,
            [five / one for five, one in zip(*taken, strict=True)],
            unit="x",
            ours=f"{min(taken[0]):.3g} s",
            peer=f"{min(taken[1]):.3g} s for {HEADS[0]} alone",
        )
    ]


def _fit(images: Path, head: str) -> str:
    config = FitHeadConfig(dataset=f"folder:{images}", image_size=IMAGE_SIZE, weights="random", head=head)
    return run_fit_head(config).run_id


def _sweep(folder: Path, classifiers: list[RunClassifier]) -> None:
    """Run all cells anew."""
    shutil.rmtree(folder / "cache" / "robustness", ignore_errors=True)
    (group,) = group_classifiers(classifiers)
    Sweep.of(group, choose_split(group.first, CONFIG), CONFIG).run(build_cells(CORRUPTIONS, (3,)))
