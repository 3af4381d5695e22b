"""Folders of images for the benchmarks."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# Number of cells per side and amplitude of a picture's layers, from large shapes to fine ones.
_LAYERS = ((4, 60), (16, 30), (64, 15))
_GRAIN = 14


def make_photos(folder: Path, n_images: int) -> Path:
    """Return a folder with classes of JPEG files of 500 x 375 pixels and about 110 kB each."""
    rng = np.random.default_rng(0)
    for i in range(n_images):
        path = _place(folder, i, n_classes=4)
        Image.fromarray(picture(rng, 500, 375)).save(path, "JPEG", quality=94)
    return folder


def make_small(folder: Path, n_images: int, n_classes: int = 10) -> Path:
    """Return a folder with classes of JPEG files of 32 x 32 pixels; classes differ in their tint."""
    rng = np.random.default_rng(1)
    tints = rng.integers(-40, 41, (n_classes, 3))
    for i in range(n_images):
        pixels = picture(rng, 32, 32).astype(np.int64) + tints[i % n_classes]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(_place(folder, i, n_classes), "JPEG", quality=90)
    return folder


def make_many(folder: Path, n_images: int, n_classes: int = 10) -> Path:
    """Return a folder with classes of JPEG files of 32 x 32 pixels that are cheap to create and all differ in content.

    The pictures repeat; a comment in each file makes its bytes unique, because content ids depend on bytes.
    """
    rng = np.random.default_rng(2)
    pictures = [_jpeg(picture(rng, 32, 32)) for _ in range(200)]
    for i in range(n_images):
        text = f"{i:08d}".encode()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        data = pictures[i % len(pictures)]
        # The comment follows directly after the start marker.
        _place(folder, i, n_classes).write_bytes(data[:2] + comment + data[2:])
    return folder


def small_folder(folder: Path, n_images: int) -> tuple[Path, str]:
    """Return a folder with classes of 32 px JPEG images and its description: CIFAR-10's own if available.

    ``CIFAR10_FOLDER`` names a folder with ``train/<class>/*.jpg``.
    """
    source = os.environ.get("CIFAR10_FOLDER")
    if not source:
        return make_small(folder, n_images), "images made by the benchmark"
    classes = sorted(path for path in (Path(source) / "train").iterdir() if path.is_dir())
    for of_class in classes:
        (folder / of_class.name).mkdir(parents=True)
        for file in sorted(of_class.glob("*.jpg"))[: n_images // len(classes)]:
            shutil.copyfile(file, folder / of_class.name / file.name)
    return folder, "CIFAR-10"


def picture(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Return a picture of random shapes, from coarse to fine, with grain, ``(height, width, 3)``."""
    pixels = np.full((height, width, 3), 128.0)
    for cells, amplitude in _LAYERS:
        coarse = rng.integers(0, 256, (max(1, cells * 3 // 4), cells, 3), dtype=np.uint8)
        layer = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
        pixels += (layer / 127.5 - 1) * amplitude
    pixels += rng.normal(0, _GRAIN, (height, width, 1))
    return pixels.clip(0, 255).astype(np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _place(folder: Path, i: int, n_classes: int) -> Path:
    of_class = folder / f"class{i % n_classes}"
    of_class.mkdir(parents=True, exist_ok=True)
    return of_class / f"{i:06d}.jpg"
