"""Image files to RGB arrays: the only decoding path of all stages, figures and the served model. Free of torch.

Every decoder here is fuzzed by ``make fuzz``. torchvision's are not used: its PNG decoder kills the process on damaged
data, and its JPEG decoder does not report missing data.
"""

import io
import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from resnet_mlflow.data.formats import MAX_PIXELS, MOST_PIXELS, N_HEAD, find_format
from resnet_mlflow.data.formats import image_format as image_format
from resnet_mlflow.data.jpeg import JpegHeader, decode_jpeg
from resnet_mlflow.data.orientation import parse_exif, read_orientation, turn_upright
from resnet_mlflow.data.png import check_filled, decode_plain, png_size, read_chunks
from resnet_mlflow.data.walking import is_utf8
from resnet_mlflow.errors import InputError, printable

# Maximum bytes of a file per pixel, four channels of 16 bits, and an allowance for everything else.
_BYTES_PER_PIXEL, _BYTES_BESIDE = 8, 2**26
_HEADER_BYTES = 2**18
_ROWS_PER_BLOCK = 64
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Pillow's log lines do not name the file; what matters in them becomes an error of our own.
_PILLOW = re.compile(r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class BadImageError(InputError):
    """An image file that cannot be decoded; the message names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = Path(printable(str(path)))
        self.reason = printable(" ".join(reason.split()))
        super().__init__(
            f"image cannot be decoded: {self.path} ({self.reason}); fix or remove it, or pass on_bad_image=skip"
        )


class LargeImageError(BadImageError):
    """An image with more pixels than allowed; ``found`` is their number by its header."""

    def __init__(self, path: Path, found: str, max_pixels: int) -> None:
        self.found = found
        super().__init__(path, f"{found} pixels exceed max_pixels={max_pixels}; shrink the image or raise max_pixels")


def decode(path: Path, data: bytes | None = None, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return an image as ``(height, width, 3)`` RGB: upright, alpha on white, the first of several frames.

    Args:
        path: The file; named in errors.
        data: Its content, if already read.
        max_pixels: Maximum number of pixels according to the header, which is checked before memory is allocated.

    Raises:
        BadImageError: If the file is damaged, cannot be decoded, or is too large.
    """
    content = read_content(path, max_pixels) if data is None else data
    if content[:3] == _JPEG:
        with _named(path):
            header = JpegHeader(content)
            refuse_large(path, header.size, max_pixels)
            pixels = decode_jpeg(content, header, max_pixels)
            if pixels is not None:
                return turn_upright(pixels, read_orientation(partial(parse_exif, header.exif)))
    elif content[:8] == _PNG:
        with _named(path):
            refuse_large(path, png_size(content), max_pixels)
            plain = decode_plain(content)
            if plain is not None:
                return plain
    return decode_with_pil(path, content, max_pixels)


def decode_with_pil(path: Path, data: bytes | None = None, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the result of ``decode``, using Pillow for every format."""
    content = read_content(path, max_pixels) if data is None else data
    with _named(path):
        image = _open(content)
        refuse_large(path, image.size, max_pixels)
        chunks = read_chunks(content) if image.format == "PNG" else []
        # Before loading, which may close the source. Pillow itself rotates TIFF while it loads.
        orientation = 1 if image.format == "TIFF" else read_orientation(image.getexif)
        image.load()
        if chunks:
            check_filled(content, chunks, np.asarray(image))
        return turn_upright(_to_rgb(image), orientation)


def read_size(path: Path, data: bytes | None = None, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height in pixels from the header; nothing is decoded.

    Args:
        path: The file; named in errors.
        data: Its content, if already read.
        max_pixels: Maximum number of pixels according to the header.

    Raises:
        BadImageError: If the file cannot be read, has no image header, or is too large.
    """
    if data is None:
        # The header is usually at the start, but not in every TIFF file.
        try:
            return read_size(path, read_content(path, max_pixels, _HEADER_BYTES), max_pixels)
        except LargeImageError:
            raise
        except BadImageError:
            pass
    content = read_content(path, max_pixels) if data is None else data
    with _named(path):
        size = JpegHeader(content).size if content[:3] == _JPEG else _open(content).size
        refuse_large(path, size, max_pixels)
        return size


def read_exif(path: Path) -> Image.Exif:
    """Return the EXIF data at the start of a file; empty if none can be read."""
    with suppress(Exception):  # damaged data can make a reader raise anything
        content = read_content(path, n_bytes=_HEADER_BYTES)
        return parse_exif(JpegHeader(content).exif) if content[:3] == _JPEG else _open(content).getexif()
    return Image.Exif()


def refuse_large(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a file by the width and height in pixels from its header.

    Raises:
        LargeImageError: If it has more than ``max_pixels``.
    """
    width, height = size
    if width * height > max_pixels:
        raise LargeImageError(path, f"{width} x {height}", max_pixels)


def read_content(path: Path, max_pixels: int = MAX_PIXELS, n_bytes: int = -1) -> bytes:
    """Return the content of an image file.

    Only regular files are opened: reading a pipe would block, and a device never ends.

    Args:
        path: The file.
        max_pixels: Also bounds the file, by the bytes that so many pixels take.
        n_bytes: Number of bytes to read from the start; -1 means all.

    Raises:
        BadImageError: If it cannot be read, or is too large.
    """
    if not is_utf8(str(path)):
        # Formats that list files, such as tables and JSON, could not store it.
        raise BadImageError(path, "its name is not UTF-8; rename it")
    try:
        status = os.stat(path)  # noqa: PTH116 - as below
        if not stat.S_ISREG(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            raise BadImageError(path, "the folder cannot be read" if is_folder else "not a regular file")
        if status.st_size > _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE:
            raise BadImageError(path, f"{status.st_size} bytes are more than max_pixels={max_pixels} allows; shrink it")
        with open(path, "rb") as file:  # noqa: PTH123 - Path.open costs as much as decoding 32 x 32 pixels
            # Not up to its end: a file that is still being written may have none.
            return file.read(min(n_bytes, status.st_size) if n_bytes >= 0 else status.st_size)
    except OSError as error:
        raise BadImageError(path, error.strerror or str(error)) from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn any exception of a decoder into an error that names the file."""
    try:
        yield
    except (BadImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise LargeImageError(path, re.sub(r"\D*(\d+).*", r"\1", str(error)), MOST_PIXELS) from None
    except Exception as error:  # damaged files can make decoders raise anything: SyntaxError, struct.error, KeyError
        raise BadImageError(path, str(error) or type(error).__name__) from None


def _open(content: bytes) -> ImageFile.ImageFile:
    """Open a file with the reader of the format that its first bytes announce; only the header is read.

    ``Image.open`` is not used: it tries readers that start programs, and warns about large images by its own limit.
    """
    known = find_format(content[:N_HEAD])
    if known is None:
        raise ValueError("not an image format that PIL knows")
    if not any(entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)
    module, reader = known.reader
    image: ImageFile.ImageFile = getattr(import_module(module), reader)(io.BytesIO(content))
    return image


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode.startswith("I"):
        return np.repeat(_to_8_bits(np.asarray(image))[..., None], 3, axis=2)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _to_8_bits(pixels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return 16-bit pixels divided by 257 and rounded; PIL would clip them at 255, which turns almost all white."""
    scaled = np.empty(pixels.shape, dtype=np.uint8)
    # Block by block, because wide integers take four times the memory of the image. 257 is odd, so there are no ties.
    for start in range(0, len(pixels), _ROWS_PER_BLOCK):
        rows = pixels[start : start + _ROWS_PER_BLOCK].astype(np.int64).clip(0, 65535)
        scaled[start : start + _ROWS_PER_BLOCK] = (rows + 128) // 257
    return scaled
