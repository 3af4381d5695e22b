"""Small images and folders of them, written to disk."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    """Smooth colours that differ by seed, so that JPEG keeps them nearly and content ids differ."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [y * 9 + seed * 3, x * 7 + seed + seed // 256 * 17, (x + y) * 4 + seed * 2]
    return (np.stack(planes, axis=2) % 256).astype(np.uint8)


def write_image(path: Path, seed: int = 0, height: int = 12, width: int = 16, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, height, width)).save(path, **options)
    return path


def write_classes(root: Path, counts: dict[str, int], first_seed: int = 0, suffix: str = ".png") -> Path:
    """Write ``counts`` images per class folder, all different."""
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write_image(root / name / f"{index:03d}{suffix}", seed)
            seed += 1
    return root
