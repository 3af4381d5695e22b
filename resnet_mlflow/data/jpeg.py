"""JPEG files to pixels by libjpeg-turbo, which reports damage; does not import torch."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

# Start of frame: its header has the size. C4, C8 and CC are tables and an extension.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Restart, start, end and TEM markers are not followed by a length.
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})
# Sequential with Huffman coding. Scans of progressive frames, and with arithmetic coding, may have only a few bytes.
_PLAIN_FRAMES = frozenset({0xC0, 0xC1})
_EXIF, _SCAN = 0xE1, 0xDA
# Common progressive files have 10 scans. Each takes as much time as a pass over all pixels.
_SCANS_OF_LARGEST = 12
# The decoder warns about these although all pixels are intact.
_HARMLESS = (
    "Warning: unknown JFIF revision number",
    "Unknown Adobe color transform code",
    "Invalid SOS parameters for sequential JPEG",
    "Corrupt JPEG data: bad ICC marker",
)


class JpegHeader:
    """The content before the first scan.

    Attributes:
        size: Width and height in pixels.
        n_components: 1 for grey, 3 for colour, 4 for CMYK.
        is_plain: Whether each scan has a code for every pixel, so that many scans need many bytes.
        exif: EXIF data, or None.

    Args:
        data: The file, from its first byte.

    Raises:
        ValueError: If the header is damaged or truncated.
    """

    def __init__(self, data: bytes) -> None:
        self.size = (0, 0)
        self.n_components = 0
        self.is_plain = False
        self.exif: bytes | None = None
        at, end = 2, len(data)
        while at + 4 <= end:
            # FF 00 is not a marker either.
            if data[at] != 0xFF or not data[at + 1]:
                raise ValueError(f"a marker must begin at byte {at} of its header")
            marker = data[at + 1]
            if marker == 0xFF:
                at += 1
                continue
            if marker in _BARE:
                at += 2
                continue
            if marker == _SCAN:
                if 0 in self.size:
                    raise ValueError("its header contains no size")
                return
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            self._note(marker, data[at + 4 : at + 2 + length])
            at += 2 + length
        raise ValueError("its header is cut off")

    def _note(self, marker: int, content: bytes) -> None:
        if marker in _FRAMES and len(content) >= 6:
            self.size = (int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big"))
            self.n_components = content[5]
            self.is_plain = marker in _PLAIN_FRAMES
        elif marker == _EXIF and self.exif is None and content.startswith(b"Exif\x00\x00"):
            self.exif = content


def decode_jpeg(data: bytes, header: JpegHeader, max_pixels: int) -> NDArray[np.uint8] | None:
    """Return ``(height, width, 3)`` RGB as stored, not rotated; None if only Pillow supports the sampling.

    Every other warning of libjpeg-turbo means damage: missing or truncated data, extraneous bytes, wrong codes, a
    header that does not fit the data. The library itself would fill missing parts with grey and continue.

    Args:
        data: The file.
        header: Its header.
        max_pixels: Bounds the work to 12 scans over this many pixels.

    Raises:
        ValueError: If the file is damaged.
    """
    n_scans = 1 if header.is_plain else data.count(b"\xff\xda")
    width, height = header.size
    if n_scans * width * height > _SCANS_OF_LARGEST * max_pixels:
        raise ValueError(f"{n_scans} scans of {width} x {height} pixels, more work than any ordinary image needs")
    colours = "CMYK" if header.n_components == 4 else "RGB"
    # Memory for the size in the header: if the decoder finds another size, it refuses.
    room = np.empty((height, width, len(colours)), dtype=np.uint8)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, buffer=room)
    except ValueError as error:
        if "subsampling" in str(error):
            return None
        if str(error).startswith("Premature end"):
            raise ValueError("image file is truncated") from None
        if not str(error).startswith(_HARMLESS) or b"\xff\xd9" not in data:
            raise
        pixels = simplejpeg.decode_jpeg(data, colours, buffer=room, strict=False)
    if pixels.shape != room.shape:
        raise ValueError("its header contains two sizes")
    if header.n_components != 4:
        return pixels
    # Adobe's programs write CMYK inverted, and by now all others do too.
    return np.array(Image.fromarray(255 - pixels, "CMYK").convert("RGB"))
