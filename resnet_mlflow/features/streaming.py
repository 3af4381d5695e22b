"""Images through a frozen backbone at the full speed of the device, decoding included."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.loading import Change, iterate_batches, normalize
from resnet_mlflow.devices import n_cores
from resnet_mlflow.process import one_thread
from resnet_mlflow.registry.preprocessing import PLAIN, Preprocessing

# Pixels per forward pass of one core. With more, feature maps fall out of its cache, and the first ones exceed the 16
# MiB or so that the allocator keeps: requesting them from the system again takes 5 % of the time.
_PIXELS_PER_TASK = 8 * 224 * 224


class Form(Protocol):
    """A network for inference, such as ``backbones.inference.InferenceForm``."""

    dtype: torch.dtype

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 features, or maps, of normalized ``(n_images, 3, side, side)`` in its own type."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield its weights."""


Block = tuple[NDArray[np.int64], NDArray[np.float32]]
_Chunk = tuple[NDArray[np.int64], torch.Tensor]
_Prepare = Callable[[torch.Tensor], torch.Tensor]


def extract_split(
    form: Form,
    split: ImageSplit,
    image_size: int,
    *,
    batch_size: int = 128,
    num_workers: int = -1,
    rows: NDArray[np.int64] | None = None,
    on_skip: Callable[[int, BadImageError], None] | None = None,
    change: Change | None = None,
    preprocessing: Preprocessing = PLAIN,
) -> Iterator[Block]:
    """Yield rows and their features, ``(n_rows,)`` and ``(n_rows, n_features)`` float32, in order.

    Args:
        form: The backbone, see ``backbones.inference.inference_form``.
        split: The images.
        image_size: Side of the network's input in pixels.
        batch_size: Images per batch.
        num_workers: Threads that decode ahead; -1 means one per core.
        rows: Rows to process; None means all.
        on_skip: Called with the row and the error of each image that cannot be decoded; None raises the error.
        change: See ``loading.iterate_batches``.
        preprocessing: The preprocessing that the backbone's weights expect.

    Raises:
        BadImageError: If an image cannot be decoded and ``on_skip`` is None.
    """
    batches = iterate_batches(
        split, image_size, batch_size, num_workers, rows=rows, skip_bad=on_skip is not None, on_skip=on_skip,
        change=change, preprocessing=preprocessing,
    )  # fmt: skip
    device = next(form.parameters()).device
    chunks = (
        (batch.rows[at : at + size], batch.images[at : at + size])
        for batch in batches
        for size in [images_per_task(image_size) if device.type == "cpu" else batch_size]
        for at in range(0, len(batch.rows), size)
    )
    prepare = partial(normalize, dtype=form.dtype, preprocessing=preprocessing)
    if device.type == "cpu":
        return _forward_on_cores(form, chunks, prepare)
    return _forward_on_device(form, chunks, device, prepare)


def extract_images(form: Form, images: torch.Tensor, preprocessing: Preprocessing = PLAIN) -> NDArray[np.float32]:
    """Return the features of resized images, ``(n_images, n_features)``, computed on the CPU.

    Args:
        form: The backbone, see ``backbones.inference.inference_form``.
        images: uint8, ``(n_images, 3, side, side)``, at least one.
        preprocessing: The preprocessing that the backbone's weights expect.
    """
    rows, size = np.arange(len(images)), images_per_task(images.shape[2])
    chunks = ((rows[at : at + size], images[at : at + size]) for at in range(0, len(images), size))
    prepare = partial(normalize, dtype=form.dtype, preprocessing=preprocessing)
    return np.concatenate([features for _, features in _forward_on_cores(form, chunks, prepare)])


def _forward_on_cores(form: Form, chunks: Iterable[_Chunk], prepare: _Prepare) -> Iterator[Block]:
    """Yield each chunk's features, one chunk per core at a time.

    Cores that share one forward pass wait for each other after every layer, and a decoding thread on one of them delays
    all. With one pass per core there is no waiting.
    """

    @torch.inference_mode()
    def forward(images: torch.Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = form(prepare(images)).numpy()
        return features

    n_threads = n_cores()
    pending: deque[tuple[NDArray[np.int64], Future[NDArray[np.float32]]]] = deque()
    with one_thread(), ThreadPoolExecutor(n_threads, "forward", torch.set_num_threads, (1,)) as pool:
        try:
            for rows, images in chunks:
                pending.append((rows, pool.submit(forward, images)))
                if len(pending) > 2 * n_threads:
                    yield _collect(pending)
            while pending:
                yield _collect(pending)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(pending: deque[tuple[NDArray[np.int64], Future[NDArray[np.float32]]]]) -> Block:
    rows, features = pending.popleft()
    return rows, features.result()


def _forward_on_device(
    form: Form, chunks: Iterable[_Chunk], device: torch.device, prepare: _Prepare
) -> Iterator[Block]:
    """Yield each chunk's features one step late, so that the device computes while the next is prepared."""
    waiting: tuple[NDArray[np.int64], torch.Tensor] | None = None
    for rows, images in chunks:
        # From pinned memory, a copy to the GPU overlaps with its computation.
        source = images.pin_memory() if device.type == "cuda" else images
        with torch.inference_mode():
            features = form(prepare(source.to(device, non_blocking=True)))
        if waiting is not None:
            yield waiting[0], waiting[1].cpu().numpy()
        waiting = rows, features
    if waiting is not None:
        yield waiting[0], waiting[1].cpu().numpy()


def images_per_task(image_size: int) -> int:
    """Return the number of images per forward pass of one core.

    Example:
        >>> images_per_task(224), images_per_task(64), images_per_task(512)
        (8, 64, 8)
    """
    return max(8, min(64, _PIXELS_PER_TASK // image_size**2 // 8 * 8))
