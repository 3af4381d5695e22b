"""Image files as RGB arrays by PIL, and the error that names a file which is none; free of torch."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from resnet_mlflow.errors import InputError

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


class BadImageError(InputError):
    """An image file that cannot be decoded; says which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = " ".join(reason.split())
        super().__init__(
            f"image cannot be decoded: {path} ({self.reason}); mend or remove it, or pass on_bad_image=skip"
        )


def image_format(head: bytes) -> str | None:
    r"""Return the name of the format that the first bytes of a file announce, or None where it is no image's.

    Args:
        head: At least the first 12 bytes of the file, where it has as many.

    Example:
        >>> image_format(b"\xff\xd8\xff\xe0 and so on")
        'JPEG'
        >>> image_format(b"birds, a list") is None
        True
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return None


def decode_with_pil(path: Path, data: bytes | None = None) -> NDArray[np.uint8]:
    """Return an image as ``(height, width, 3)`` RGB: upright, alpha on white, the first of several frames.

    Args:
        path: The file; named in errors.
        data: Its content, where it was read already.

    Raises:
        BadImageError: If PIL cannot decode the file to its end.
    """
    try:
        with Image.open(path if data is None else io.BytesIO(data)) as image:
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # PIL's decoders raise whatever a damaged file leads them to: SyntaxError, struct.error
        reason = "no image format that PIL knows" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadImageError(path, reason or type(error).__name__) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode.startswith("I"):
        # PIL clips 16-bit pixels at 255 when it converts them: almost all become white.
        pixels = np.asarray(image, dtype=np.float64).clip(0, 65535)
        image = Image.fromarray((pixels / 257).round().astype(np.uint8))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")
