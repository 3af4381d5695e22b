import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_mlflow.data.decoding import BadImageError, decode_with_pil, image_format
from resnet_mlflow.errors import InputError


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_image_format_knows_what_pil_writes(name):
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, name)
    assert image_format(file.getvalue()[:12]) == name


@pytest.mark.parametrize("head", [b"", b"hello world.", b"P7 or other", b"RIFF1234WAVE", b"<svg xmlns="])
def test_image_format_refuses_what_is_no_image(head):
    assert image_format(head) is None


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_decode_with_pil_puts_transparency_on_white(tmp_path):
    grey_alpha = Image.fromarray(np.array([[[0, 0], [0, 255], [0, 51]]], dtype=np.uint8), "LA")
    decoded = decode_with_pil(save(tmp_path / "a.png", grey_alpha))
    assert decoded.tolist() == [[[255] * 3, [0] * 3, [204] * 3]]


def test_decode_with_pil_puts_the_transparent_colour_of_a_palette_on_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    decoded = decode_with_pil(save(tmp_path / "a.png", palette, transparency=0))
    assert decoded.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_decode_with_pil_scales_16_bits(tmp_path):
    grey = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))
    decoded = decode_with_pil(save(tmp_path / "a.png", grey))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_decode_with_pil_takes_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode_with_pil(path)[0, 0].tolist() == [255, 0, 0]


def test_decode_with_pil_turns_upright(tmp_path):
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first column is the top row, seen from the right
    decoded = decode_with_pil(save(tmp_path / "a.png", image, exif=exif))
    assert decoded.shape == (2, 1, 3)
    assert decoded[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image format"),
        (b"birds", "not an image format"),
        (b"\xff\xd8\xff\xe0", "."),
        (None, "No such file"),
    ],
)
def test_decode_with_pil_names_the_file_and_the_reason(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadImageError, match=f"cannot be decoded: .*a.jpg .*{reason}.*on_bad_image=skip") as caught:
        decode_with_pil(path)
    assert isinstance(caught.value, InputError)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


def test_decode_with_pil_refuses_floating_point_pixels(tmp_path):
    with pytest.raises(BadImageError, match="floating-point"):
        decode_with_pil(save(tmp_path / "a.tif", Image.new("F", (2, 2))))
