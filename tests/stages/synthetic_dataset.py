"""A small folder of pictures in which one of each fault is planted."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

DRAWN = {"train": 20, "test": 8}


def _picture(rng: np.random.Generator, is_disc: bool) -> Image.Image:
    texture = gaussian_filter(rng.normal(size=(48, 48, 3)), (3, 3, 0))
    texture = 110 + 30 * texture / texture.std()
    y, x = np.mgrid[:48, :48]
    left, top = rng.integers(12, 36, 2)
    shape = (x - left) ** 2 + (y - top) ** 2 < 64 if is_disc else abs(x - left) < 4
    texture[shape] = 240
    return Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8))


def make_faulty_folder(parent: Path, names: tuple[str, str] = ("disc", "bar")) -> Path:
    """Return a folder of two classes with a twin, a copy under another label, a broken, a dark and a flat picture.

    One file besides is no image at all.
    """
    rng = np.random.default_rng(0)
    root = parent / "shapes"
    for split, n_images in DRAWN.items():
        for name in names:
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(n_images):
                _picture(rng, name == names[0]).save(folder / f"{place}.png")
    first, second = (root / "train" / name for name in names)
    Image.open(first / "0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "test" / names[0] / "twin.png")
    shutil.copy(first / "1.png", root / "test" / names[1] / "copy.png")
    (first / "broken.png").write_bytes((first / "2.png").read_bytes()[:900])
    (root / "test" / names[1] / "notes.png").write_text("no image")
    Image.fromarray(np.asarray(Image.open(second / "3.png")) // 8).save(second / "dark.png")
    Image.new("RGB", (48, 48), (90, 90, 90)).save(second / "flat.png")
    return root
