"""Speed from folders of images to batches, relative to a plain loop that decodes and resizes with Pillow."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Row, alternate, ratio_row
from benchmarks.images import picture
from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.loading import iterate_batches
from resnet_mlflow.devices import n_cores

IMAGE_SIZE = 224


def folders(folder: Path, quick: bool) -> list[Row]:
    """Return images/s for PNG and JPEG photos, and for small PNG files, relative to the plain loop."""
    n_photos, n_small = (64, 500) if quick else (256, 4000)
    return [
        _over_loop(folder / "png", "PNG", 500, 375, n_photos, IMAGE_SIZE, quick),
        _over_loop(folder / "jpeg", "JPEG", 500, 375, n_photos, IMAGE_SIZE, quick),
        _over_loop(folder / "small", "PNG", 32, 32, n_small, 64, quick),
    ]


def _over_loop(folder: Path, image_format: str, width: int, height: int, n_images: int, size: int, quick: bool) -> Row:
    split = _write(folder, image_format, width, height, n_images)
    ours, peer = partial(_through_threads, split, size), partial(_plain_loop, split, size)
    what = (
        f"{n_images} {image_format} files of {width} x {height} pixels, read, decoded and at {size} px, over Pillow's"
    )
    names = (f"{n_cores()} threads", "Pillow in a loop")
    return ratio_row(what, 1.0, *alternate(ours, peer, 3 if quick else 7), n_items=n_images, names=names)


def _write(folder: Path, image_format: str, width: int, height: int, n_images: int) -> ImageSplit:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    pictures = [_encoded(picture(rng, width, height), image_format) for _ in range(min(n_images, 32))]
    paths = tuple(folder / f"{i:05d}" for i in range(n_images))
    for i, path in enumerate(paths):
        path.write_bytes(pictures[i % len(pictures)])
    ids = np.array([path.name for path in paths])
    return ImageSplit(np.zeros(n_images, dtype=np.int64), ids, paths=paths)


def _encoded(pixels: np.ndarray, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def _through_threads(split: ImageSplit, size: int) -> None:
    for _ in iterate_batches(split, size, 128, -1):
        pass


def _plain_loop(split: ImageSplit, size: int) -> None:
    assert split.paths is not None
    to = round(size * 8 / 7) if size >= IMAGE_SIZE else size
    for path in split.paths:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        shorter = min(image.size)
        width, height = (round(side * to / shorter) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        np.asarray(resized.crop((left, top, left + size, top + size)))
