"""Speed of extraction relative to the plain peer, the tuned peer and timm, also with deeper networks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.extraction import OURS, WORKERS, turns_of
from benchmarks.harness import Row, alternate, fastest, ratio_row
from benchmarks.images import make_photos, small_folder
from benchmarks.peers import plain, timm_features, tuned
from resnet_mlflow.backbones.networks import build_backbone
from resnet_mlflow.backbones.weights import resolve_weights


def tuned_peer(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of resnet18 relative to the peer with channels_last and bf16 autocast, at both image sizes."""
    return _over(folder, quick, "resnet18", {"channels_last, bf16 autocast": _tuned}, 1.0)


def timm(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of resnet18 relative to timm's model and transform, at both image sizes."""
    return _over(folder, quick, "resnet18", {"timm, eager float32": _timm}, 3.0)


def resnet50(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of resnet50 relative to the plain and the tuned peer, at both image sizes."""
    return _over(folder, quick, "resnet50", {"eager float32": _plain, "channels_last, bf16 autocast": _tuned}, 1.0)


def resnet101(folder: Path, quick: bool) -> list[Row]:
    """Return the speed of resnet101 relative to the plain peer, at both image sizes."""
    return _over(folder, quick, "resnet101", {"eager float32": _plain}, 1.0)


# Numbers of small images and photos, fewer for slower networks.
N_IMAGES = {"resnet18": (4000, 192), "resnet50": (1500, 64), "resnet101": (750, 32)}
Extraction = Callable[[Path, int, int], object]


def _over(
    folder: Path, quick: bool, name: str, peers: dict[str, Callable[[str], Extraction]], target: float
) -> list[Row]:
    n_small, n_photos = (500, 24) if quick else N_IMAGES[name]
    small, what = small_folder(folder / "small", n_small)
    photos = make_photos(folder / "photos", n_photos)
    rows = []
    for images, size, n_images, text in (
        (small, 64, n_small, f"JPEG files of 32 px ({what})"),
        (photos, 224, n_photos, "JPEG photos of 110 kB"),
    ):
        ours = turns_of(images, size, name)
        ours()
        for peer, build in peers.items():
            extract = build(name)
            ways = [partial(extract, images, size, n_workers) for n_workers in WORKERS]
            best = fastest(ways)
            taken = alternate(ours, ways[best], 3 if quick else 5, warm_up=False)
            rows.append(
                ratio_row(
                    f"extraction, {name}, {n_images} {text} at {size} px, over {peer.split(',')[0]}",
                    target,
                    *taken,
                    n_items=n_images,
                    names=(OURS, f"DataLoader with {WORKERS[best]} workers, {peer}"),
                )
            )
    return rows


def _network(name: str) -> plain.nn.Module:
    return plain.backbone(name, build_backbone(name, resolve_weights(name, "random", 0)).state_dict())


def _plain(name: str) -> Extraction:
    return partial(plain.extract, _network(name))


def _tuned(name: str) -> Extraction:
    return partial(tuned.extract, _network(name))


def _timm(name: str) -> Extraction:
    return partial(timm_features.extract, timm_features.network(name))
