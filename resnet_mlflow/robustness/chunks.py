"""Work on a batch in chunks, one per core, so that a chunk stays in the core's cache."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from resnet_mlflow.process import one_thread

# Pixels per chunk; a larger image is its own chunk.
_PIXELS_PER_CHUNK = 2**15

Work = Callable[[Tensor, Tensor], Tensor]


def map_chunks(work: Work, images: Tensor, keys: Tensor) -> Tensor:
    """Return ``work(images, keys)``, computed on a CPU in chunks with as many threads as torch would use.

    All chunks have the same size: the last is padded with its last image. Matrix products and convolutions may sum in
    another order for another shape, and an image must not depend on how many others are in the batch.

    Args:
        work: Maps images (n, 3, height, width) and keys (n,) to images of the same shape, each independently.
        images: uint8 of shape (n, 3, height, width), at least one.
        keys: int64 of shape (n,).
    """
    if images.device.type != "cpu":
        return work(images.contiguous(), keys)
    size = images_per_chunk(*images.shape[2:])
    n_threads = torch.get_num_threads()

    def work_from(start: int) -> Tensor:
        chunk, its_keys = images[start : start + size], keys[start : start + size]
        missing = size - len(chunk)
        if missing:
            chunk = torch.cat((chunk, chunk[-1:].expand(missing, -1, -1, -1)))
            its_keys = torch.cat((its_keys, its_keys[-1:].expand(missing)))
        return work(chunk.contiguous(), its_keys)

    with one_thread(), ThreadPoolExecutor(n_threads, "corrupt", torch.set_num_threads, (1,)) as pool:
        return torch.cat(list(pool.map(work_from, range(0, len(images), size))))[: len(images)]


def images_per_chunk(height: int, width: int) -> int:
    """Return the number of images per chunk.

    Example:
        >>> images_per_chunk(32, 32), images_per_chunk(64, 64), images_per_chunk(224, 224)
        (32, 8, 1)
    """
    return max(1, _PIXELS_PER_CHUNK // (height * width))
