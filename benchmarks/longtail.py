"""Long-tail comparisons: all methods on stored features, and one method relative to the network run in every epoch."""

from pathlib import Path

from benchmarks.extraction import WEIGHTS, extract
from benchmarks.harness import Row, alternate, limit_row, ratio_row
from benchmarks.images import make_many, small_folder
from benchmarks.peers import plain
from benchmarks.workspace import run_entry_point
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.features.identity import partition
from resnet_mlflow.longtail.fitting import fit_method

EPOCHS = 10
N_FEATURES = 512
N_CLASSES = 10
IMAGE_SIZE = 32
VAL_FRACTION = 0.2


def all_methods(folder: Path, quick: bool) -> list[Row]:
    """Return seconds for all methods with three seeds on a linear head, with stored features, including tracking."""
    # A fifth becomes test, a fifth of the rest validation: the largest class keeps 5000 images, all classes 12406.
    n_images, factor = (2_000, 20) if quick else (78_125, 100)
    make_many(folder / "images", n_images)
    data = ("--dataset", f"folder:{folder / 'images'}", "--image_size", str(IMAGE_SIZE), "--weights", "random")
    run_entry_point("extract", *data, "--share_features", "false")
    done = run_entry_point("longtail", *data, "--imbalance_factor", str(factor), "--seeds", "0,1,2")
    n_rows = sum(int(0.64 * n_images / N_CLASSES * factor ** (-i / (N_CLASSES - 1))) for i in range(N_CLASSES))
    what = f"`longtail`, all methods, 3 seeds, linear head, {n_rows} x {N_FEATURES} features that are there"
    return [limit_row(what, 180.0, [done.taken_s], unit="s", ours=f"{done.peak_rss_mib:.0f} MiB at its peak")]


def one_method(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of fitting a method on stored features, relative to running the network in every epoch."""
    n_images = 300 if quick else 2_000
    images, what = small_folder(folder / "ours", n_images)
    _, found = extract(images, IMAGE_SIZE, folder / "store")
    splits = partition(found, VAL_FRACTION, seed=0)
    peers_images, _ = small_folder(folder / "peers", len(splits["train"]))
    network = plain.backbone("resnet18", build_backbone("resnet18", WEIGHTS).state_dict())
    taken = alternate(
        lambda: fit_method("balanced_softmax", "linear", {"epochs": EPOCHS}, splits, seed=0),
        lambda: list(plain.finetune_fc(network, N_FEATURES, N_CLASSES, peers_images, IMAGE_SIZE, EPOCHS)),
        1 if quick else 5,
    )
    return [
        ratio_row(
            f"a long-tail method on stored features, resnet18, {EPOCHS} epochs, {len(splits['train'])} images ({what}) "
            f"at {IMAGE_SIZE} px, over the peer's",
            20,
            *taken,
            names=("balanced softmax on features", "whole network every epoch"),
        )
    ]
