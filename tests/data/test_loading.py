import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_images import pixels, write_image
from torchvision.transforms.v2 import functional as reference

from resnet_mlflow.data.datasets import ImageSplit, split_of_arrays
from resnet_mlflow.data.decoding import BadImageError, decode_with_pil
from resnet_mlflow.data.loading import decode_image, iterate_batches, normalize, resize_crop


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


RGB = Image.fromarray(pixels(1, 40, 60))
RGBA = Image.fromarray(np.dstack([pixels(1, 40, 60), pixels(5, 40, 60)[..., 0]]))
GREY_16 = Image.fromarray(pixels(1, 40, 60)[..., 0].astype(np.uint16) * 257)
KINDS = {
    "rgb.jpg": encode(RGB, "JPEG"),
    "progressive.jpg": encode(RGB, "JPEG", progressive=True),
    "grey.jpg": encode(RGB.convert("L"), "JPEG"),
    "cmyk.jpg": encode(RGB.convert("CMYK"), "JPEG"),
    "rotated.jpg": encode(RGB, "JPEG", exif=rotated_exif()),
    "rgb.png": encode(RGB, "PNG"),
    "grey.png": encode(RGB.convert("L"), "PNG"),
    "one_bit.png": encode(RGB.convert("1"), "PNG"),
    "palette.png": encode(RGB.convert("P"), "PNG"),
    "palette_transparent.png": encode(RGB.convert("P"), "PNG", transparency=3),
    "rgb_transparent.png": encode(RGB, "PNG", transparency=(0, 0, 0)),
    "rgba.png": encode(RGBA, "PNG"),
    "grey_alpha.png": encode(RGBA.convert("LA"), "PNG"),
    "grey_16.png": encode(GREY_16, "PNG"),
    "rotated.png": encode(RGB, "PNG", exif=rotated_exif()),
    "a.webp": encode(RGB, "WEBP"),
    "alpha.webp": encode(RGBA, "WEBP", lossless=True),
    "a.gif": encode(RGB, "GIF"),
    "a.bmp": encode(RGB, "BMP"),
    "a.tif": encode(RGB, "TIFF"),
    "a.ppm": encode(RGB, "PPM"),
}


@pytest.mark.parametrize("name", KINDS)
def test_decode_image_gives_the_same_pixels_as_pil(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(KINDS[name])
    image = decode_image(path)
    assert image.dtype == torch.uint8
    assert image.shape == ((3, 60, 40) if name.startswith("rotated") else (3, 40, 60))
    np.testing.assert_array_equal(image.permute(1, 2, 0), decode_with_pil(path))


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))


BAD = {
    "empty.jpg": (b"", "not an image format"),
    "text.jpg": (b"this is a list of birds", "not an image format"),
    "head_only.jpg": (KINDS["rgb.jpg"][:200], ""),
    "half.jpg": (encode(noise(), "JPEG")[:4000], "truncated"),
    "almost_whole.jpg": (encode(noise(), "JPEG")[:-20], "truncated"),
    "half_progressive.jpg": (encode(noise(), "JPEG", progressive=True)[:4000], "truncated"),
    "half.png": (encode(noise(), "PNG")[:9000], "truncated"),
    "half_alpha.png": (encode(noise().convert("RGBA"), "PNG")[:9000], "truncated"),
    "half_cmyk.jpg": (encode(noise().convert("CMYK"), "JPEG")[:6000], "truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_decode_image_notices_damage(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=f"{name} .*{reason}") as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


def test_decode_image_names_a_missing_file(tmp_path):
    with pytest.raises(BadImageError, match=r"gone\.jpg .No such file"):
        decode_image(tmp_path / "gone.jpg")


def by_torchvision(image: torch.Tensor, shorter: int, size: int) -> torch.Tensor:
    height, width = image.shape[1:]
    smaller = min(height, width)
    shape = [side * shorter // smaller for side in (height, width)]
    resized = reference.resize(image, shape, antialias=True)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return resized[:, top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("height", "width", "size", "shorter"),
    [
        (300, 400, 224, 256),  # a photo: 256 and crop
        (400, 300, 224, 256),
        (256, 256, 224, 256),
        (255, 300, 224, 224),  # below 8/7 of the size: nothing of the shorter side is cut off
        (32, 32, 64, 64),
        (28, 40, 64, 64),
        (64, 64, 64, 64),
        (8, 8, 32, 32),
        (1, 3, 32, 32),
    ],
)
def test_resize_crop_follows_its_rule(height, width, size, shorter):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8))
    result = resize_crop(image, size)
    assert result.shape == (3, size, size)
    torch.testing.assert_close(result, by_torchvision(image, shorter, size), rtol=0, atol=1)


def test_resize_crop_leaves_images_of_the_size_as_they_are():
    image = torch.from_numpy(pixels(0, 64, 64)).permute(2, 0, 1)
    assert torch.equal(resize_crop(image, 64), image)


def test_resize_crop_of_a_line_of_pixels_takes_the_middle():
    line = torch.zeros(3, 1, 60000, dtype=torch.uint8)
    line[:, :, 29990:30010] = 200
    assert (resize_crop(line, 224) == 200).all()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> ImageSplit:
    """Photos and small images of several sizes, 70 of them."""
    root = tmp_path_factory.mktemp("mixed")
    shapes = [(32, 32), (150, 200), (32, 32), (20, 48)]
    paths = tuple(
        write_image(root / f"{index:02d}.{'jpg' if index % 3 else 'png'}", index, *shapes[index % len(shapes)])
        for index in range(70)
    )
    labels = np.arange(70) % 2
    return ImageSplit(labels, np.array([path.stem for path in paths]), paths=paths)


def load_all(split: ImageSplit, batch_size: int, num_workers: int, **options: object) -> tuple[torch.Tensor, list[int]]:
    batches = list(iterate_batches(split, 48, batch_size, num_workers, **options))
    return torch.cat([batch.images for batch in batches]), np.concatenate([batch.rows for batch in batches]).tolist()


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 2), (7, 3), (33, 0), (64, 1), (1000, -1)])
def test_iterate_batches_pixels_do_not_depend_on_batches_or_threads(mixed, batch_size, num_workers):
    images, rows = load_all(mixed, batch_size, num_workers)
    assert rows == list(range(70))
    alone = torch.stack([resize_crop(decode_image(path), 48) for path in mixed.paths])
    assert torch.equal(images, alone)


@pytest.mark.parametrize("shape", [(11, 28, 28), (11, 32, 32, 3), (11, 96, 100, 3)])
def test_iterate_batches_of_arrays_gives_the_pixels_of_one_at_a_time(shape):
    arrays = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    split = split_of_arrays(arrays, np.zeros(11))
    images, _ = load_all(split, 4, 2)
    alone = [resize_crop(torch.from_numpy(split.read_image(row).copy()).permute(2, 0, 1), 48) for row in range(11)]
    assert torch.equal(images, torch.stack(alone))


def test_iterate_batches_gives_the_asked_rows_in_order(mixed):
    everything, _ = load_all(mixed, 16, 2)
    images, rows = load_all(mixed, 2, 2, rows=[5, 3, 69, 3])
    assert rows == [5, 3, 69, 3]
    assert torch.equal(images, everything[rows])
    (batch, *_) = iterate_batches(mixed, 48, 16, 1)
    assert batch.images.shape == (16, 3, 48, 48)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert list(iterate_batches(mixed, 48, 16, 1, rows=[])) == []


@pytest.fixture
def damaged(tmp_path: Path) -> ImageSplit:
    """Six images of which 1, 2 and 5 are cut off."""
    paths = tuple(write_image(tmp_path / f"{index}.jpg", index, 40, 40) for index in range(6))
    for row in (1, 2, 5):
        paths[row].write_bytes(paths[row].read_bytes()[:-100])
    return ImageSplit(np.zeros(6, dtype=np.int64), np.array(list("abcdef")), paths=paths)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_iterate_batches_skips_and_reports_bad_images(damaged, batch_size, num_workers):
    skipped = []
    options = {"skip_bad": True, "on_skip": lambda row, error: skipped.append((row, error.path.name))}
    images, rows = load_all(damaged, batch_size, num_workers, **options)
    assert rows == [0, 3, 4]
    assert skipped == [(1, "1.jpg"), (2, "2.jpg"), (5, "5.jpg")]
    assert torch.equal(images, torch.stack([resize_crop(decode_image(damaged.paths[row]), 48) for row in rows]))


def test_iterate_batches_fails_at_the_first_bad_image(damaged):
    with pytest.raises(BadImageError, match=r"/1\.jpg"):
        list(iterate_batches(damaged, 48, 2, 2))


def test_iterate_batches_stops_its_threads_when_it_is_left(mixed):
    batches = iterate_batches(mixed, 48, 4, 3)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_normalize_subtracts_the_mean_and_divides_by_the_deviation(memory_format):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7), dtype=np.uint8))
    result = normalize(images, memory_format=memory_format)
    expected = reference.normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert result.is_contiguous(memory_format=memory_format)
    assert normalize(images, torch.bfloat16).dtype == torch.bfloat16
    # Black in red: -0.485 / 0.229
    assert normalize(torch.zeros(1, 3, 1, 1, dtype=torch.uint8))[0, 0, 0, 0].item() == pytest.approx(-2.1179, abs=1e-4)
