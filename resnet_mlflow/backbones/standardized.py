"""Seeded random weights with which a ResNet of any depth preserves variance and separates images.

Each filter is standardised over its inputs. This cancels the mean that rectified channels share, and keeps variances at
1: running means of 0 and variances of 1 are then the true ones, and BatchNorm acts in eval mode as in training. Weights
are derived from integers by single operations in float64, so they are the same on every machine.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Channels enter a ReLU with mean 1/2 and variance 1. Without a mean, each ReLU increases the distance between similar
# images by a factor of 1.21, and a deep network is chaotic; with it, depth changes little.
_MEAN_BEFORE_RELU = 0.5
# The variance of max(z, 0) for z normal with mean 1/2 and variance 1.
_RECTIFIED_VARIANCE = 0.5534407044535519
# Total variance added by all blocks of a stage after the first, which gives 1. They share it, so that depth changes
# neither scale nor conditioning.
_SHARE_OF_BLOCKS = 0.25
# Correlation of pixels in photos: falls with distance, and is near 1 between colours.
_CORRELATION_LENGTH, _CORRELATION_OF_COLOURS = 10.0, 0.9


def standardize_weights(network: nn.Module, seed: int) -> None:
    """Set seeded random weights in a ResNet in place: convolutions and normalisations, all of torchvision's layers.

    Filters are uniform with zero mean over their inputs, separately at each position of the kernel, so that borders and
    maps of one pixel see no mean either. They are rounded to bf16 numbers, which takes a fifth off its noise. The last
    normalisation of a block is scaled down, except in the first block of ``layer1`` to ``layer4``; networks whose
    stages have other names keep 1 there.

    Args:
        network: A network on the CPU; its memory may be uninitialised.
        seed: Seed, at least 0.

    References:
        He et al. (2015), Delving Deep into Rectifiers: variance. Brock et al. (2021), Characterizing Signal Propagation
        to Close the Performance Gap in Unnormalized ResNets: standardised filters. De and Smith (2020), Batch
        Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks: scale of blocks.
    """
    bits = np.random.PCG64(seed)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for number, conv in enumerate(convolutions):
            draws = _draw(bits, tuple(conv.weight.shape))
            filters = _stem_filters(draws) if number == 0 else _inner_filters(draws)
            conv.weight.copy_(torch.from_numpy(filters).to(torch.bfloat16))
            if conv.bias is not None:
                conv.bias.zero_()
        for norm in _norms(network):
            norm.reset_parameters()
            if norm.affine:
                norm.bias.fill_(_MEAN_BEFORE_RELU)
        _scale_blocks(network)


def _draw(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return odd integers within ±65535, from the generator's raw bits, which are the same in all versions of NumPy."""
    n_draws = int(np.prod(shape))
    raw = bits.random_raw(-(-n_draws // 4)).astype("<u8", copy=False).view("<u2")[:n_draws]
    return raw.reshape(shape) * 2.0 - 65535


def _inner_filters(draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return filters with zero mean over inputs, and the sum of squares that a rectified input needs."""
    n_inputs = draws.shape[1]
    # Sums of integers below 2**53 are exact: their order, which vectorisation and threads change, does not matter.
    sums = draws.sum(axis=1, keepdims=True) if n_inputs > 1 else np.zeros_like(draws)
    flat = draws.reshape(len(draws), -1)
    squares = n_inputs * np.einsum("oi,oi->o", flat, flat).astype(np.int64)
    squares -= np.square(sums.astype(np.int64)).sum(axis=(1, 2, 3))
    scale = np.sqrt(n_inputs / (squares * _RECTIFIED_VARIANCE))
    filters: NDArray[np.float32] = ((draws - sums / n_inputs) * scale[:, None, None, None]).astype(np.float32)
    return filters


def _stem_filters(draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return filters of the layer that sees images: zero mean over all inputs, output variance 1 on photos."""
    centred = draws - draws.sum(axis=(1, 2, 3), keepdims=True) / draws[0].size
    flat = centred.reshape(len(draws), -1)
    variance = np.einsum("oi,ij,oj->o", flat, _photo_covariance(*draws.shape[1:]), flat)
    # Rounded: the last bits of these sums depend on their order.
    scale = 1 / np.sqrt(variance.astype(np.float32).astype(np.float64))
    filters: NDArray[np.float32] = (centred * scale[:, None, None, None]).astype(np.float32)
    return filters


def _photo_covariance(n_colours: int, height: int, width: int) -> NDArray[np.float64]:
    """Return the covariance of the pixels under a kernel on photos, of normalised colours."""
    places = np.indices((height, width)).reshape(2, -1).T
    distances = np.sqrt(np.square(places[:, None] - places[None]).sum(axis=2))
    colours = np.full((n_colours, n_colours), _CORRELATION_OF_COLOURS)
    np.fill_diagonal(colours, 1)
    return np.kron(colours, np.exp(-distances / _CORRELATION_LENGTH))


def _scale_blocks(network: nn.Module) -> None:
    for stage in (
        child for name, child in network.named_children() if name in ("layer1", "layer2", "layer3", "layer4")
    ):
        first, *others = stage.children()
        for block in (first, *others):
            if last := _last_norm(block):
                last.bias.zero_()  # the branch that it joins has the mean
                last.weight.fill_(1 if block is first else (_SHARE_OF_BLOCKS / len(others)) ** 0.5)


def _last_norm(block: nn.Module) -> Any:
    """Return the normalisation at the end of a block's branch, or None."""
    branch = [child for name, child in block.named_children() if name != "downsample"]
    return next(reversed([norm for child in branch for norm in _norms(child)]), None)


def _norms(module: nn.Module) -> Iterator[Any]:
    kinds = (nn.BatchNorm2d, nn.GroupNorm)
    return (norm for norm in module.modules() if isinstance(norm, kinds))
