"""Which files are refused as damaged or too large, and that every stage's path says the same of them."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sample_images import pixels

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError, LargeImageError, decode, read_size
from resnet_mlflow.data.formats import EXTENSIONS, FORMATS
from resnet_mlflow.data.loading import decode_image, iterate_batches
from resnet_mlflow.serving.requests import read_images

NAMED = Path("x")
RGB = Image.fromarray(pixels(1, 40, 60))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def encode(image, image_format, **options):
    file = io.BytesIO()
    # A copy, because Pillow's writers leave their settings on the image.
    image.copy().save(file, image_format, **options)
    return file.getvalue()


JPEG, PNG = encode(NOISE, "JPEG"), encode(NOISE, "PNG")
PROGRESSIVE = encode(NOISE, "JPEG", progressive=True)


def with_size(data, width, height):
    """A JPEG file whose header tells another size."""
    at = data.find(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def png_with_size(data, width, height, interlaced=0):
    """A PNG file whose header tells another size or order, its checksum right."""
    header = data[12:16] + struct.pack(">II", width, height) + data[24:28] + bytes([interlaced])
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGED = {
    "jpeg cut off": (JPEG[: len(JPEG) // 2], "truncated"),
    "jpeg without its end": (JPEG[:-2], "truncated"),
    "jpeg with an early end": (JPEG[: len(JPEG) // 2] + JPEG[-2:], "premature end of data"),
    "jpeg with a zeroed tail": (JPEG[:-400] + bytes(400), "truncated"),
    "jpeg larger by its header": (with_size(JPEG, 800, 800), "premature end of data"),
    "jpeg smaller by its header": (with_size(JPEG, 32, 32), "extraneous bytes"),
    "jpeg of no size": (with_size(JPEG, 0, 64), "contains no size"),
    "jpeg of its header alone": (JPEG[:180], "header is cut off"),
    "progressive cut off": (PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    "progressive with an early end": (PROGRESSIVE[: len(PROGRESSIVE) // 2] + b"\xff\xd9", "premature end of data"),
    "jpeg of 5000 scans": (PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rfind(b"\xff\xda") : -2] * 400_000, "scans"),
    "cmyk cut off": (encode(NOISE.convert("CMYK"), "JPEG")[:-30], "truncated"),
    "png with one flipped byte": (flipped(PNG, len(PNG) // 2), "the checksum of its chunk at byte 33 is wrong"),
    "png with a zeroed tail": (PNG[:-500] + bytes(500), "checksum"),
    "png cut off": (PNG[: len(PNG) // 2], "truncated"),
    "png without its last chunk": (PNG[:-12], "truncated"),
    "png taller by its header": (png_with_size(PNG, 64, 640), "truncated: 111168 bytes of pixels are missing"),
    "png interlaced by its header": (png_with_size(PNG, 64, 64, interlaced=1), "bytes of pixels are missing"),
    "gif cut off": (encode(NOISE, "GIF")[:-900], "truncated"),
    "bmp cut off": (encode(NOISE, "BMP")[:-900], "truncated"),
    "webp cut off": (encode(NOISE, "WEBP")[:-900], "."),
    "tiff cut off": (encode(NOISE, "TIFF")[:-900], "truncated"),
    "avif cut off": (encode(NOISE, "AVIF")[:-900], "."),
    "jpeg 2000 cut off": (encode(NOISE, "JPEG2000")[:400], "."),
    "a picture of another kind": (encode(NOISE, "ICO"), "not an image format"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_alike_by_all_that_decode(name, tmp_path):
    content, reason = DAMAGED[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    of_files = ImageSplit(np.array([0]), np.array(["a"]), paths=(path,))
    of_content = ImageSplit(np.array([0]), np.array(["a"]), encoded=(content,))
    message = set()
    for read in (
        lambda: decode(path),
        lambda: decode_image(path),
        lambda: of_files.read_image(0),
        lambda: of_content.read_image(0),
        lambda: list(iterate_batches(of_files, 32, 8, 2)),
        lambda: list(iterate_batches(of_content, 32, 8, 0)),
    ):
        with pytest.raises(BadImageError, match=reason) as caught:
            read()
        assert "\n" not in str(caught.value)
        message.add(caught.value.reason)
    assert len(message) == 1


@pytest.mark.parametrize(
    "content",
    [
        JPEG + b"what phones append",
        JPEG + bytes(3000),
        PNG + b"what editors append",
        JPEG[:13] + b"\x09" + JPEG[14:],  # a version of JFIF that is not there yet
    ],
)
def test_what_costs_no_pixel_is_no_damage(content):
    np.testing.assert_array_equal(decode(NAMED, content), decode(NAMED, JPEG if content[:1] == b"\xff" else PNG))


KINDS = {
    **{f"jpeg {mode}": encode(RGB.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")},
    **{f"jpeg subsampled {way}": encode(RGB, "JPEG", subsampling=way) for way in (0, 1, 2)},
    "jpeg kept in RGB": encode(RGB, "JPEG", keep_rgb=True),
    "jpeg in odd size": encode(RGB.crop((0, 0, 37, 21)), "JPEG"),
    "jpeg with restarts": encode(RGB, "JPEG", restart_marker_blocks=2),
    "big tiff": encode(RGB, "TIFF", big_tiff=True),
    "avif": encode(RGB, "AVIF"),
    "jpeg 2000": encode(RGB, "JPEG2000"),
    "jpeg 2000 stream": encode(RGB, "JPEG2000", no_jp2=True),
    "png in palette": encode(RGB.convert("P"), "PNG"),
    "tiff of several pages": encode(RGB, "TIFF", save_all=True, append_images=[NOISE]),
}


@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_of_pillow(name):
    with Image.open(io.BytesIO(KINDS[name])) as image:
        expected = np.asarray(image.convert("RGB"))
        size = image.size
    np.testing.assert_array_equal(decode(NAMED, KINDS[name]), expected)
    assert read_size(NAMED, KINDS[name]) == size


def test_every_format_has_a_reader_and_extensions_of_its_own():
    assert len(set(EXTENSIONS)) == len(EXTENSIONS)
    for known in FORMATS:
        module, reader = known.reader
        assert hasattr(__import__(module, fromlist=[reader]), reader)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_turned_upright(image_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = encode(RGB, image_format, exif=exif, **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decode(NAMED, content), expected)


def exif_segments():
    """EXIF data that cannot be read, or not to its end."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    whole = exif.tobytes()
    rng = random.Random(0)
    yield from (b"Exif\x00\x00", b"Exif\x00\x00garbage of no kind", b"Exif\x00\x00" + bytes(30), whole[:12], whole[:17])
    for _ in range(60):
        changed = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            changed[rng.randrange(6, len(changed))] = rng.randrange(256)
        yield bytes(changed)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_read_is_no_orientation(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    plain = decode(NAMED, encode(RGB, image_format, **options))
    shapes = set()
    for segment in exif_segments():
        found = decode(NAMED, encode(RGB, image_format, exif=segment, **options))
        shapes.add(found.shape)
        # Some of the changed segments are readable, and turn the picture.
        np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(plain, axis=None))
    assert plain.shape in shapes


def large(image_format):
    """A file whose header tells of 30 000 x 30 000 pixels, or as many as the format can."""
    if image_format == "JPEG":
        return with_size(JPEG, 30_000, 30_000)
    if image_format == "PNG":
        return png_with_size(PNG, 30_000, 30_000)
    if image_format == "GIF":
        data = encode(NOISE, "GIF")
        return data[:6] + struct.pack("<HH", 30_000, 30_000) + data[10:]
    if image_format == "BMP":
        data = encode(NOISE, "BMP")
        return data[:18] + struct.pack("<ii", 30_000, 30_000) + data[26:]
    if image_format == "PPM":
        return b"P6 30000 30000 255\n" + bytes(100)
    if image_format == "WEBP":
        data = encode(NOISE, "WEBP", lossless=True)
        bits = struct.unpack("<I", data[21:25])[0] >> 28 << 28 | 16_383 | 16_383 << 14
        return data[:21] + struct.pack("<I", bits) + data[25:]
    if image_format == "JPEG2000":
        data = encode(NOISE, "JPEG2000", no_jp2=True)
        return data[:8] + struct.pack(">II", 30_000, 30_000) + data[16:]
    data = bytearray(encode(NOISE, "TIFF"))
    for tag in (256, 257):
        at = data.find(struct.pack("<HHI", tag, 4, 1))
        data[at + 8 : at + 12] = struct.pack("<I", 30_000)
    return bytes(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000"])
def test_large_images_are_refused_by_their_headers(image_format, recwarn, tmp_path):
    content = large(image_format)
    path = tmp_path / "large"
    path.write_bytes(content)
    split = ImageSplit(np.array([0]), np.array(["a"]), paths=(path,))
    found = r"30000 x 30000|\d{9}"
    for read in (lambda: decode(path), lambda: read_size(path), lambda: split.read_image(0)):
        with pytest.raises(LargeImageError, match=rf"\(({found}) pixels exceed max_pixels=\d+; shrink") as caught:
            read()
        assert "DOS" not in str(caught.value)
    with pytest.raises(
        ValueError, match=rf"row 0: an image must have at most 67108864 pixels, got ({found}); shrink it"
    ):
        read_images([content])
    assert not recwarn.list


def test_max_pixels_is_the_largest_that_passes():
    assert decode(NAMED, PNG, 64 * 64).shape == (64, 64, 3)
    split = ImageSplit(np.array([0]), np.array(["a"]), encoded=(PNG,), max_pixels=64 * 64 - 1)
    for read in (lambda: split.read_image(0), lambda: split.select([0]).read_image(0)):
        with pytest.raises(LargeImageError, match="64 x 64 pixels exceed max_pixels=4095"):
            read()


# Pillow warns from 89 million pixels on, and refuses from 179 million on; a limit between the two holds without either.
BETWEEN = """
import io, sys, warnings
from pathlib import Path
from PIL import Image
from resnet_mlflow.data.decoding import decode
file = io.BytesIO()
Image.MAX_IMAGE_PIXELS, before = None, Image.MAX_IMAGE_PIXELS
Image.new("1", (10_000, 9_500), 1).save(file, sys.argv[1])
Image.MAX_IMAGE_PIXELS = before
print(decode(Path("x"), file.getvalue()).min())
"""


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "GIF"])
def test_images_between_pillows_limits_leave_no_warning(image_format):
    ran = subprocess.run([sys.executable, "-c", BETWEEN, image_format], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("255\n", "")


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, reason in (
        ("pipe.png", "not a regular file"),
        ("zeros.png", "not a regular file"),
        ("loop.png", "symbolic links"),
        (".", "the folder cannot be read"),
    ):
        with pytest.raises(BadImageError, match=reason):
            decode(tmp_path / name)


def test_a_file_of_more_bytes_than_its_pixels_take_is_not_read(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.write(PNG)
        file.truncate(2**34)
    with pytest.raises(BadImageError, match=r"17179869184 bytes are more than max_pixels=\d+ allows; shrink it"):
        decode(tmp_path / "sparse.png")


def test_line_breaks_in_names_do_not_break_the_line(tmp_path):
    with pytest.raises(BadImageError, match=r"a\\nb\.png") as caught:
        decode(tmp_path / "a\nb.png")
    assert "\n" not in str(caught.value)
