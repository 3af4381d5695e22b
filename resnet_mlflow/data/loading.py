"""Images as uint8 tensors of one size, decoded and resized ahead by threads.

Memory is in height-width-channel order from the decoder to the batch: torch resizes such uint8 images with vector
instructions on one thread, and convolutions prefer this order too.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError, decode
from resnet_mlflow.data.resizing import resize_crop as resize_crop
from resnet_mlflow.data.resizing import resize_crops
from resnet_mlflow.devices import n_cores
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing

# Images per task of a thread: enough to hide the overhead of a task, few enough to share a batch evenly.
_CHUNK = 32
# Up to this many pixels it is cheaper to stack images of equal size and resize them at once.
_SMALL_PIXELS = 128 * 128

# Maps images of one shape, uint8 (n, height, width, 3), and their rows in the split to images that are then resized.
Change = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.uint8]]

# A failure at a position in a chunk.
_Failures = list[tuple[int, BadImageError]]


@dataclass(frozen=True)
class ImageBatch:
    """Images of consecutive rows of a split.

    Attributes:
        images: uint8, shape ``(n_images, 3, size, size)``, channels last in memory.
        rows: Their rows in the split, shape ``(n_images,)``.
    """

    images: Tensor
    rows: NDArray[np.int64]


def decode_image(path: Path) -> Tensor:
    """Return an image file as ``(3, height, width)`` uint8 RGB, see ``decoding.decode``.

    Raises:
        BadImageError: If the file cannot be decoded to its end.
    """
    return torch.from_numpy(decode(path)).permute(2, 0, 1)


def normalize(
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
    preprocessing: Preprocessing = PLAIN,
) -> Tensor:
    """Return uint8 images as ``(x / 255 - mean) / std``, by default with ImageNet's mean and deviation per channel.

    Args:
        images: uint8, shape ``(n_images, 3, height, width)``.
        dtype: Type of the result; the arithmetic is float32.
        memory_format: Memory format of the result.
        preprocessing: Provides mean and standard deviation.
    """
    n_images, n_channels, height, width = images.shape
    std = torch.tensor(preprocessing.std, device=images.device)
    mean = torch.tensor(preprocessing.mean, device=images.device)
    # Over whole lines of pixels, because torch is 7 times slower if the inner axis has 3 elements.
    scale, shift = (1 / (255 * std)).repeat(width), (-mean / std).repeat(width)
    lines = images.permute(0, 2, 3, 1).reshape(n_images * height, width * n_channels)
    result = torch.addcmul(shift, lines.float(), scale).view(n_images, height, width, n_channels)
    return result.permute(0, 3, 1, 2).to(dtype=dtype).contiguous(memory_format=memory_format)


def iterate_batches(
    split: ImageSplit,
    image_size: int,
    batch_size: int,
    num_workers: int,
    *,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    skip_bad: bool = False,
    on_skip: Callable[[int, BadImageError], None] | None = None,
    change: Change | None = None,
    preprocessing: Preprocessing = PLAIN,
) -> Iterator[ImageBatch]:
    """Yield the images of a split in order, decoded ahead by threads.

    Neither ``num_workers`` nor ``batch_size`` changes a pixel.

    Args:
        split: The images.
        image_size: Side of the images in pixels, see ``resize_crop``.
        batch_size: Rows per batch; a batch with skipped rows has fewer images, and empty batches are omitted.
        num_workers: Number of threads; -1 means one per core, 0 means that the caller's thread does the work.
        rows: Rows to load, in order; None means all.
        skip_bad: Whether to leave out images that cannot be decoded.
        on_skip: Called with the row and the error of each skipped image, in order.
        change: Applied to the decoded images before they are resized, in the threads.
        preprocessing: The preprocessing, which decides how they are resized.

    Raises:
        BadImageError: If an image cannot be decoded and ``skip_bad`` is False; the first in order.
    """
    rows = np.arange(len(split)) if rows is None else np.asarray(rows, dtype=np.int64)
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    loader = _Loader(split, skip_bad, change, preprocessing)
    for batch, buffer, failures in _load_batches(loader, batches, image_size, num_workers):
        if not failures:
            yield ImageBatch(torch.from_numpy(buffer).permute(0, 3, 1, 2), batch)
            continue
        for position, error in failures:
            if on_skip is not None:
                on_skip(int(batch[position]), error)
        kept = np.setdiff1d(np.arange(len(batch)), [position for position, _ in failures])
        if len(kept):
            yield ImageBatch(torch.from_numpy(buffer[kept]).permute(0, 3, 1, 2), batch[kept])


@dataclass(frozen=True)
class _Loader:
    """Everything needed to fill a chunk."""

    split: ImageSplit
    skip_bad: bool
    change: Change | None
    preprocessing: Preprocessing

    def fit(self, images: NDArray[np.uint8], rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Return images of one shape at their final size, after ``change`` if there is one."""
        return resize_crops(images if self.change is None else self.change(images, rows), size, self.preprocessing)


def _load_batches(
    loader: _Loader, batches: list[NDArray[np.int64]], size: int, num_workers: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], _Failures]]:
    """Yield each batch's rows, pixels and failures; the number of batches in progress is bounded."""
    n_threads = n_cores() if num_workers < 0 else num_workers
    if n_threads == 0:
        for batch in batches:
            buffer = np.empty((len(batch), size, size, 3), dtype=np.uint8)
            yield batch, buffer, _load_chunk(loader, batch, buffer, 0)
        return
    pending: deque[tuple[NDArray[np.int64], NDArray[np.uint8], list[Future[_Failures]]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")
    try:
        for batch in batches:
            buffer = np.empty((len(batch), size, size, 3), dtype=np.uint8)
            futures = [
                pool.submit(_load_chunk, loader, batch[at : at + _CHUNK], buffer[at : at + _CHUNK], at)
                for at in range(0, len(batch), _CHUNK)
            ]
            pending.append((batch, buffer, futures))
            # One batch is in use; the rest keeps each thread supplied with two chunks.
            if len(pending) > 1 + -(-2 * n_threads * _CHUNK // len(batch)):
                yield _finish(*pending.popleft())
        while pending:
            yield _finish(*pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(
    batch: NDArray[np.int64], buffer: NDArray[np.uint8], futures: list[Future[_Failures]]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], _Failures]:
    return batch, buffer, [failure for future in futures for failure in future.result()]


def _load_chunk(loader: _Loader, rows: NDArray[np.int64], out: NDArray[np.uint8], offset: int) -> _Failures:
    """Fill ``out`` with the resized images of the rows, and return the failures, counted from ``offset``."""
    split, size = loader.split, out.shape[1]
    if split.images is not None:
        images = split.images[rows]
        out[:] = loader.fit(np.repeat(images[..., None], 3, axis=3) if images.ndim == 3 else images, rows, size)
        return []
    failures: _Failures = []
    small: dict[tuple[int, ...], list[tuple[int, NDArray[np.uint8]]]] = {}
    for position, row in enumerate(rows):
        try:
            image = split.read_image(row)
        except BadImageError as error:
            if not loader.skip_bad:
                raise
            failures.append((offset + position, error))
            continue
        if image.shape[0] * image.shape[1] <= _SMALL_PIXELS:
            small.setdefault(image.shape, []).append((position, image))
        else:
            out[position] = loader.fit(image[None], rows[position : position + 1], size)[0]
    for members in small.values():
        positions, images_alike = zip(*members, strict=True)
        out[list(positions)] = loader.fit(np.stack(images_alike), rows[list(positions)], size)
    return failures
