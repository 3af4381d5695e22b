"""Pictures that no file is needed for: smooth random textures, each unlike all others."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def textures(n_images: int, seed: int, side: int = 48) -> np.ndarray:
    """Return ``(n_images, side, side, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_images, side, side, 3))
    smooth = gaussian_filter(noise, (0, 2.5, 2.5, 0)) + 2 * gaussian_filter(noise, (0, 8, 8, 0))
    smooth -= smooth.mean(axis=(1, 2), keepdims=True)
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + 45 * smooth, 0, 255).astype(np.uint8)


def grey_copies(images: np.ndarray) -> np.ndarray:
    """Return ``(n_images, 32, 32)`` uint8, as an audit measures them."""
    copies = [Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(copy) for copy in copies])
