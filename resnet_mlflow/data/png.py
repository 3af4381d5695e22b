"""Whether a PNG file is whole: Pillow skips checksums of the chunks that hold pixels, and leaves missing rows black."""

import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
# Channels per colour type: grey, RGB, palette, grey with alpha, RGBA.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and steps, of the seven passes of an interlaced file.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_BLOCK_BYTES = 2**20


def check_chunks(data: bytes) -> None:
    """Refuse a file in which a chunk's checksum is wrong, or that does not come to its last chunk.

    What stands behind the last chunk is ignored, as every reader does.

    Raises:
        ValueError: If the file is damaged or cut off.

    References:
        Portable Network Graphics (PNG) Specification (Third Edition), section 5.3: length, type, data and CRC.
    """
    view = memoryview(data)
    for start, end in _chunks(data):
        # Over type and content.
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"the checksum of its chunk at byte {start} is wrong")
        if data[start + 4 : start + 8] == b"IEND":
            return
    raise ValueError("image file is truncated: its last chunk is missing")


def check_filled(data: bytes) -> None:
    """Refuse a file whose compressed data end before the pixels that its header tells of.

    Args:
        data: A file whose chunks are whole.

    Raises:
        ValueError: If pixels are missing.
    """
    expected, found = _n_raw_bytes(data), 0
    stream = zlib.decompressobj()
    for start, end in _chunks(data):
        waiting = data[start + 8 : end] if data[start + 4 : start + 8] == b"IDAT" else b""
        while waiting and found < expected and not stream.eof:
            found += len(stream.decompress(waiting, _BLOCK_BYTES))
            waiting = stream.unconsumed_tail
    found += len(stream.flush())
    if found < expected:
        raise ValueError(f"image file is truncated: {expected - found} bytes of pixels are missing")


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each whole chunk begins, and where its content ends."""
    start = _SIGNATURE_BYTES
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return
        yield start, end
        start = end + 4


def _n_raw_bytes(data: bytes) -> int:
    """Return how many bytes the rows have, each with its filter's number before it."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    bits, colours, interlaced = data[24], data[25], data[28]
    bits_per_pixel = bits * _CHANNELS[colours]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right, down in passes:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits_per_pixel // 8))
    return total
