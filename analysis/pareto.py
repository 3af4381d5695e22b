"""The rows on the Pareto front."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(*costs: ArrayLike) -> NDArray[np.bool_]:
    """Return which rows are not dominated: no other row has at most the same costs and less in at least one.

    Args:
        costs: One or more, each of shape (n_rows,); less is better. A row with NaN is not on the Pareto front.

    Example:
        >>> pareto_front([1, 2, 2], [2, 1, 3]).tolist()
        [True, True, False]
    """
    table = np.stack([np.asarray(one, dtype=np.float64) for one in costs], axis=1)
    at_most = (table[:, None, :] <= table[None, :, :]).all(axis=2)
    less = (table[:, None, :] < table[None, :, :]).any(axis=2)
    return np.asarray(~(at_most & less).any(axis=0) & ~np.isnan(table).any(axis=1))
