"""Whether a PNG file is whole: Pillow skips the checksums of the chunks that hold pixels."""

import zlib

_SIGNATURE_BYTES = 8


def check_png(data: bytes) -> None:
    """Refuse a file in which a chunk's checksum is wrong, or that does not come to its last chunk.

    What stands behind the last chunk is ignored, as every reader does.

    Raises:
        ValueError: If the file is damaged or cut off.

    References:
        Portable Network Graphics (PNG) Specification (Third Edition), section 5.3: length, type, data and CRC.
    """
    view = memoryview(data)
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        # Over type and data.
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"the checksum of its chunk at byte {at} is wrong")
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4
    raise ValueError("image file is truncated: its last chunk is missing")
