"""Several processes that train one network, as ``torchrun`` starts them; one process alone is one of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """What the processes of a training tell each other.

    Attributes:
        fabric: Launched; None where there is one process, and no device to choose.
    """

    fabric: "Fabric | None"

    @property
    def n(self) -> int:
        """Return how many there are."""
        return 1 if self.fabric is None else self.fabric.world_size

    @property
    def number(self) -> int:
        """Return which of them this is, from 0."""
        return 0 if self.fabric is None else self.fabric.global_rank

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all of them."""
        if self.fabric is None or self.n == 1:
            return values
        total: Tensor = self.fabric.all_reduce(values.clone(), reduce_op="sum")  # type: ignore[assignment]
        return total

    def count(self, n_items: int) -> int:
        """Return the sum of a number over all of them."""
        return n_items if self.n == 1 else int(self.sum(torch.tensor(n_items, dtype=torch.int64)))

    def from_first(self, value: Value) -> Value:
        """Return what the first of them has."""
        if self.fabric is None or self.n == 1:
            return value
        received: Value = self.fabric.broadcast(value)
        return received

    def share(self, rows: NDArray[np.int64], batch_size: int) -> tuple[NDArray[np.int64], int]:
        """Return the rows of an epoch that this process trains on, batch by batch, and its own batch size.

        Of a last batch with fewer than two rows for each, all take the whole: BatchNorm needs two.

        Args:
            rows: Of the epoch, in order.
            batch_size: Of the whole, a multiple of the number of processes.
        """
        if self.n == 1:
            return rows, batch_size
        batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        own = [batch if len(batch) < 2 * self.n else batch[self.number :: self.n] for batch in batches]
        return np.concatenate(own), batch_size // self.n
