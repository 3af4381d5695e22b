"""The supported image formats, one row each, and the limit on pixels; without slow imports.

A row is all that a format needs: a file's first bytes choose Pillow's reader, whatever its name, and the extensions
make files in folders count as images. No other Pillow reader is ever tried, because some start programs.
"""

import re
from dataclasses import dataclass
from functools import cached_property

# 134 million, enough for cameras of 100 megapixels. While it is decoded, an image takes 3 bytes of memory per pixel
# (JPEG), 10 (most others), or up to 20 (transparency, JPEG 2000).
MAX_PIXELS = 2**27
# Pillow itself refuses more in some formats, so a larger limit would not hold.
MOST_PIXELS = 178_956_970
# Bytes needed to recognise a format.
N_HEAD = 12


@dataclass(frozen=True)
class ImageFormat:
    """How a format is recognised, and which reader it has.

    Attributes:
        name: Common name.
        magic: Regular expression for a file's first bytes.
        extensions: File extensions in lower case, with the dot.
        reader: Pillow's module and class.
    """

    name: str
    magic: bytes
    extensions: tuple[str, ...]
    reader: tuple[str, str]

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Return the compiled ``magic``."""
        return re.compile(self.magic, re.DOTALL)


FORMATS = (
    ImageFormat("JPEG", rb"\xff\xd8\xff", (".jpg", ".jpeg", ".jpe", ".jfif"), ("PIL.JpegImagePlugin", "JpegImageFile")),
    ImageFormat("PNG", rb"\x89PNG\r\n\x1a\n", (".png",), ("PIL.PngImagePlugin", "PngImageFile")),
    ImageFormat("GIF", rb"GIF8[79]a", (".gif",), ("PIL.GifImagePlugin", "GifImageFile")),
    ImageFormat("BMP", rb"BM", (".bmp",), ("PIL.BmpImagePlugin", "BmpImageFile")),
    ImageFormat(
        "TIFF",
        # 42, or 43 in BigTIFF.
        rb"II[*+]\x00|MM\x00[*+]",
        (".tif", ".tiff"),
        ("PIL.TiffImagePlugin", "TiffImageFile"),
    ),
    ImageFormat("WEBP", rb"RIFF.{4}WEBP", (".webp",), ("PIL.WebPImagePlugin", "WebPImageFile")),
    ImageFormat("PPM", rb"P[1-6]\s", (".ppm", ".pgm", ".pbm", ".pnm"), ("PIL.PpmImagePlugin", "PpmImageFile")),
    # The last two brands denote a container that may hold something else, such as HEIC; the reader then reports that.
    ImageFormat("AVIF", rb".{4}ftyp(?:avif|avis|mif1|msf1)", (".avif",), ("PIL.AvifImagePlugin", "AvifImageFile")),
    ImageFormat(
        "JPEG 2000",
        rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpx"),
        ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    ),
)

EXTENSIONS = tuple(extension for known in FORMATS for extension in known.extensions)


def extension_of(file: str) -> str:
    """Return the end of a file's name from its last dot, in lower case.

    Example:
        >>> extension_of("a.b.PNG"), extension_of("README"), extension_of(".hidden")
        ('.png', '', '')
    """
    # Takes a third of the time of os.path.splitext, for each file of a folder.
    dot = file.rfind(".")
    return file[dot:].lower() if dot > 0 else ""


def find_format(head: bytes) -> ImageFormat | None:
    """Return the format that the first bytes of a file announce, or None if it is not an image format.

    Args:
        head: At least the first ``N_HEAD`` bytes of the file, or all of a shorter one.
    """
    return next((known for known in FORMATS if known.pattern.match(head)), None)


def image_format(head: bytes) -> str | None:
    r"""Return the name of the format that the first bytes of a file announce, or None if it is not an image format.

    Args:
        head: At least the first ``N_HEAD`` bytes of the file, or all of a shorter one.

    Example:
        >>> image_format(b"\xff\xd8\xff\xe0 and so on")
        'JPEG'
        >>> image_format(b"birds, a list") is None
        True
    """
    found = find_format(head)
    return found.name if found else None
