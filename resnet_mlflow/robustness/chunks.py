"""Work on a batch chunk by chunk, each core its own, so that a chunk stays in the cache of a core."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from resnet_mlflow.process import one_thread

# Pixels of a chunk; one image, if it has more.
_PIXELS_PER_CHUNK = 2**15

Work = Callable[[Tensor, Tensor], Tensor]


def map_chunks(work: Work, images: Tensor, keys: Tensor) -> Tensor:
    """Return ``work(images, keys)``, on a processor in chunks, by as many threads as torch would use here.

    All chunks are of the same size: the last is filled up with its last image. Matrix products and convolutions
    may add up in another order for another shape, and an image must not depend on how many others come with it.

    Args:
        work: From images (n, 3, height, width) and keys (n,) to images of the same shape, each by itself.
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
    """Return how many images make a chunk.

    Example:
        >>> images_per_chunk(32, 32), images_per_chunk(64, 64), images_per_chunk(224, 224)
        (32, 8, 1)
    """
    return max(1, _PIXELS_PER_CHUNK // (height * width))
