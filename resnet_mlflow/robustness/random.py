"""Random numbers that depend only on an item's key: a hash of the key and a position, without a changing state.

An item gets the same numbers alone and in any batch, in any order, thread or process, on any device.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Multipliers of a low-bias 32-bit mixer, as signed numbers: https://github.com/skeeto/hash-prospector.
_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - 2**32
_WEYL = 0x9E3779B9


def item_keys(item_ids: Sequence[str | int], corruption: str, severity: int) -> Tensor:
    """Return one 64-bit key per item, int64 of shape (n_images,), from its id, the corruption and the severity.

    Args:
        item_ids: Content ids, or any fixed numbers of the items.
        corruption: Its name.
        severity: Its severity.

    Example:
        >>> first, second = item_keys(["a"], "fog", 1), item_keys(["b", "a"], "fog", 1)
        >>> bool(first[0] == second[1])
        True
    """
    texts = (f"{item_id} {corruption} {severity}".encode() for item_id in item_ids)
    digests = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.int64)


class ItemRandom:
    """Random numbers for a batch, from each item's own key; every call draws new ones.

    Args:
        keys: int64 of shape (n_images,), see ``item_keys``; numbers are computed on their device.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self._halves = torch.stack((keys, keys >> 32)).to(torch.int32)
        self._n_draws = 0

    def bits(self, *shape: int) -> Tensor:
        """Return int32 of shape (n_images, *shape), all 32 bits random."""
        self._n_draws += 1
        low, high = _mix(self._halves + _signed(self._n_draws * _WEYL)).unbind()
        bits = _positions(math.prod(shape), self.keys.device) ^ low[:, None]
        _xor_shift(bits, 16)
        bits *= _FIRST
        # The second half of the key is added midway, so that all 64 bits count.
        bits ^= high[:, None]
        _xor_shift(bits, 15)
        bits *= _SECOND
        _xor_shift(bits, 16)
        return bits.view(-1, *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 of shape (n_images, *shape) in [low, high), in steps of 2^-24 of the range."""
        steps = (self.bits(*shape) >> 8).float()
        return steps.mul_((high - low) / 2**24).add_((low + high) / 2)

    def normal(self, *shape: int) -> Tensor:
        """Return float32 of shape (n_images, *shape), standard normal, by Box and Muller (1958)."""
        n = math.prod(shape)
        half = (n + 1) // 2
        radius = self.uniform(half).neg_().add_(1).log_().mul_(-2).sqrt_()
        angle = self.uniform(half, high=2 * math.pi)
        pairs = torch.cat((radius * angle.cos(), radius.mul_(angle.sin_())), dim=1)
        return pairs[:, :n].reshape(-1, *shape)

    def integers(self, n: int, *shape: int) -> Tensor:
        """Return int64 of shape (n_images, *shape) in 0 to n - 1, for n far below 2^24."""
        return (self.uniform(*shape) * n).long()


def _mix(words: Tensor) -> Tensor:
    """Return mixed int32."""
    mixed = words.clone()
    for shift, factor in ((16, _FIRST), (15, _SECOND), (16, 1)):
        _xor_shift(mixed, shift)
        mixed *= factor
    return mixed


def _signed(number: int) -> int:
    """Return the low 32 bits of a number as a signed one."""
    return (number + 2**31) % 2**32 - 2**31


def _xor_shift(bits: Tensor, shift: int) -> None:
    """Fold the upper bits of int32 onto the lower ones, in place."""
    # torch shifts the sign bit in, and the mask removes it.
    bits ^= (bits >> shift).bitwise_and_(2 ** (32 - shift) - 1)


@lru_cache(maxsize=16)
def _positions(n: int, device: torch.device) -> Tensor:
    """Return a different number for each of n positions, int32 of shape (1, n)."""
    return _mix(torch.arange(n, dtype=torch.int32, device=device) * _signed(_WEYL))[None]
