"""Pictures with coarse and fine structure, and how far two of them are apart."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

Pixels = NDArray[np.uint8]


def pictures(n: int, size: int, width: int = 0) -> Pixels:
    """Random shapes from coarse to fine with grain, uint8 of shape (n, size, width or size, 3)."""
    rng = np.random.default_rng(0)
    width = width or size
    made = []
    for _ in range(n):
        pixels = np.full((size, width, 3), 128.0)
        for cells, amplitude in ((2, 70), (5, 50), (13, 30)):
            coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            pixels += (np.asarray(coarse.resize((width, size), Image.Resampling.BICUBIC)) / 127.5 - 1) * amplitude
        pixels += rng.normal(0, 6, pixels.shape)
        made.append(pixels.clip(0, 255).astype(np.uint8))
    return np.stack(made)


def to_batch(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def to_pixels(batch: torch.Tensor) -> Pixels:
    return np.asarray(batch.permute(0, 2, 3, 1).numpy())


def absolute_distance(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference, in levels of 255."""
    return float(np.abs(first.astype(float) - second).mean())


def structural_distance(first: Pixels, second: Pixels) -> float:
    """One less the mean structural similarity of the grey pictures, over windows of 7 x 7 (Wang et al. 2004)."""
    x, y = (pixels.astype(float).mean(axis=3) for pixels in (first, second))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, (0, 7, 7)))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(1 - similarity.mean())
