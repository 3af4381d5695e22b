"""Small whole image files of every format, and damage to them: the same by the same seed and number."""

import io
import random
import struct
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")

# Numbers that headers lie with.
LIES = (0, 1, 2, 3, 7, 8, 15, 16, 31, 64, 255, 256, 1000, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(image_format: str, seed: int, number: int) -> bytes:
    """One damaged file; now and then a whole one."""
    rng = random.Random(f"{image_format} {seed} {number}")
    files = whole_files(image_format)
    data = rng.choice(files)
    if image_format == "PNG" and rng.random() < 0.5:
        data = damage_chunk(rng, data)
        if rng.random() < 0.7:
            return data
    for _ in range(rng.randrange(1, 4)):
        data = rng.choice(DAMAGES)(rng, data, files)
    return data


@lru_cache
def whole_files(image_format: str) -> tuple[bytes, ...]:
    """Files of every mode and option that changes how the format is decoded, of 40 x 28 pixels."""
    return tuple(_encode(image, image_format, **options) for image, options in _variants(image_format))


def _variants(image_format):
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(np.kron(rng.integers(0, 256, (7, 10, 3)), np.ones((4, 4, 1))).astype(np.uint8))
    grey, rgba = rgb.convert("L"), rgb.convert("RGBA")
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [rgb.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    turned = {"exif": exif}
    return {
        "JPEG": [
            (rgb, {}), (rgb, turned), (grey, {}), (rgb.convert("CMYK"), {}), (rgb, {"progressive": True}),
            (grey, {"progressive": True}), (rgb, {"subsampling": 0}), (rgb, {"restart_marker_blocks": 3}),
            (rgb, {"keep_rgb": True}), (rgb, {"comment": b"a comment", "icc_profile": b"no profile" * 9}),
        ],
        "PNG": [
            (rgb, {}), (rgb, turned), (grey, {}), (rgba, {}), (rgba.convert("LA"), {}), (rgb.convert("P"), {}),
            (deep, {}), (rgb.convert("P"), {"transparency": 3}), (rgb.convert("1"), {}), (grey, {"transparency": 9}),
            (rgb.quantize(4), {"bits": 2}), (rgb, frames),
        ],
        "GIF": [(rgb, {}), (grey, {"interlace": 0}), (rgb, frames), (rgb.convert("P"), {"transparency": 3})],
        "BMP": [(rgb, {}), (grey, {}), (rgb.convert("P"), {}), (rgb.convert("1"), {}), (rgba, {})],
        "WEBP": [
            (rgb, {}), (rgba, {}), (rgb, {"lossless": True}), (rgba, {"lossless": True}), (rgb, turned),
            (rgba, frames),
        ],
        "TIFF": [
            (rgb, {}), (rgb, turned), (rgb, {"big_tiff": True}), (deep, {}), (rgb.convert("CMYK"), {}), (rgba, {}),
            *((rgb, {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")),
            (rgb, frames), (rgb, {"compression": "lzma"}),
            *((rgb.convert("1"), {"compression": name}) for name in ("group3", "group4", "tiff_ccitt")),
            (rgb.convert("YCbCr"), {}), (deep, {"compression": "tiff_lzw"}), (rgb, {"tiffinfo": {278: 5}}),
        ],
        "PPM": [(rgb, {}), (grey, {}), (rgb.convert("1"), {}), (deep, {})],
        "AVIF": [(rgb, {}), (rgba, {}), (rgb, turned), (rgb, {"subsampling": "4:4:4"}), (rgb, frames), (grey, {})],
        "JPEG2000": [
            (rgb, {}), (rgba, {}), (grey, {}), (deep, {}), (rgb, {"no_jp2": True}), (rgb, {"tile_size": (16, 16)}),
            (rgb, {"irreversible": True, "quality_layers": [20, 5]}), (rgb, {"progression": "CPRL"}),
        ],
    }[image_format]  # fmt: skip


def _encode(image, image_format, **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def flip_bits(rng, data, files):
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 9) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng, data, files):
    return data[: rng.randrange(len(data) + 1)]


def zero_block(rng, data, files):
    start, end = _block(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def zero_tail(rng, data, files):
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes(len(data) - at)


def random_block(rng, data, files):
    start, end = _block(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def repeat_block(rng, data, files):
    start, end = _block(rng, data)
    return data[:end] + data[start:end] * rng.randrange(1, 40) + data[end:]


def remove_block(rng, data, files):
    start, end = _block(rng, data)
    return data[:start] + data[end:]


def splice(rng, data, files):
    other = rng.choice(files)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[min(at, len(other)) :]


def lie(rng, data, files):
    """Overwrite two or four bytes, mostly near the start, by a number that ends something."""
    reach = len(data) if rng.random() < 0.4 else min(len(data), 80)
    at, width = rng.randrange(max(1, reach)), rng.choice([1, 2, 4])
    order = rng.choice(["little", "big"])
    number = rng.choice(LIES) & (256**width - 1)
    return data[:at] + number.to_bytes(width, order) + data[at + width :]


DAMAGES = (flip_bits, truncate, zero_block, zero_tail, random_block, repeat_block, remove_block, splice, lie, lie)


def _block(rng, data):
    start = rng.randrange(max(1, len(data)))
    return start, min(len(data), start + rng.randrange(1, 65))


def damage_chunk(rng, data):
    """Damage one chunk of a PNG file so that its checksum is right: wrong lengths, headers and compressed pixels."""
    chunks = list(png_chunks(data))
    if not chunks:
        return data
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    length = len(content)
    choice = rng.randrange(6)
    if choice == 0:
        content = lie(rng, content, ())
    elif choice == 1:
        content = flip_bits(rng, content, ())
    elif choice == 2:
        length = rng.choice(LIES)
    elif choice == 3:
        content = content[: rng.randrange(len(content) + 1)]
        length = len(content)
    elif choice == 4:
        kind = rng.choice([b"IDAT", b"PLTE", b"tRNS", b"IHDR", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"zTXt"])
    elif kind == b"IDAT":
        try:
            content = zlib.compress(flip_bits(rng, zlib.decompress(content), ()))
        except zlib.error:
            content = rng.randbytes(len(content))
        length = len(content)
    chunks[at] = (kind, content)
    lengths = [len(content) for _, content in chunks]
    lengths[at] = length
    return data[:8] + b"".join(
        struct.pack(">I", length) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for (kind, content), length in zip(chunks, lengths, strict=True)
    )


def png_chunks(data):
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
