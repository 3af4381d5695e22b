"""Nearest neighbours of unit vectors in time that grows with their number, not with its square."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_LIST_LENGTH = 256
_PROBES = 8
_SAMPLE_PER_CENTRE = 32
_ROUNDS = 4
_BLOCK = 8192


def nearest(base: Floats, queries: Floats, k: int, seed: int = 0) -> tuple[Ints, Floats]:
    """Return the ``k`` rows of ``base`` with the largest inner product per query, best first, and these products.

    The base is divided into lists of about 256 rows around centres, and a query searches the eight lists with the
    nearest centres. Up to 2048 rows these are all lists, and the result is exact.

    Args:
        base: Unit vectors, ``(n_base, n_numbers)``.
        queries: Unit vectors, ``(n_queries, n_numbers)``.
        k: Number of neighbours per query.
        seed: Seed of the centres.

    Returns:
        Rows, -1 beyond the number found, and products, ``(n_queries, k)``.

    References:
        Johnson et al. (2019), Billion-scale similarity search with GPUs, section 3: inverted lists.
    """
    centres = _centres(base, seed)
    lists = _lists_of(base, centres)
    n_probes = min(_PROBES, len(centres))
    rows = np.full((len(queries), n_probes, k), -1, dtype=np.int64)
    products = np.full((len(queries), n_probes, k), -np.inf, dtype=np.float32)
    for first in range(0, len(queries), _BLOCK):
        block = queries[first : first + _BLOCK]
        probed = _best(block @ centres.T, n_probes)
        for centre in np.unique(probed):
            asking, probe = np.nonzero(probed == centre)
            _look(base, lists[centre], block[asking], rows, products, (first + asking, probe))
    flat_rows, flat = rows.reshape(len(queries), -1), products.reshape(len(queries), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(flat_rows, order, 1), np.take_along_axis(flat, order, 1)


def _look(base: Floats, members: Ints, asking: Floats, rows: Ints, products: Floats, places: tuple[Ints, Ints]) -> None:
    if not len(members):
        return
    found = asking @ base[members].T
    best = _best(found, min(rows.shape[2], len(members)))
    rows[places[0], places[1], : best.shape[1]] = members[best]
    products[places[0], places[1], : best.shape[1]] = np.take_along_axis(found, best, 1)


def _best(values: Floats, k: int) -> Ints:
    """Return the columns of the ``k`` largest values per row, unordered."""
    return (
        np.argpartition(-values, k - 1, axis=1)[:, :k]
        if k < values.shape[1]
        else np.tile(np.arange(values.shape[1]), (len(values), 1))
    )


def _centres(base: Floats, seed: int) -> Floats:
    """Return centres by a few rounds of spherical k-means on a sample."""
    n_centres = max(1, len(base) // _LIST_LENGTH)
    order = np.random.default_rng(seed).permutation(len(base))
    sample, centres = base[order[: n_centres * _SAMPLE_PER_CENTRE]], base[order[:n_centres]].copy()
    for _ in range(_ROUNDS if n_centres > 1 else 0):
        owner = _owners(sample, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-12), centres)
    return centres


def _lists_of(base: Floats, centres: Floats) -> list[Ints]:
    owner = _owners(base, centres)
    order = np.argsort(owner, kind="stable")
    return np.split(order, np.searchsorted(owner[order], np.arange(1, len(centres))))


def _owners(vectors: Floats, centres: Floats) -> Ints:
    blocks = range(0, len(vectors), _BLOCK)
    return np.concatenate([(vectors[first : first + _BLOCK] @ centres.T).argmax(axis=1) for first in blocks])
