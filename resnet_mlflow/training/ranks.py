"""Processes that train one network together, started by ``torchrun``; a single process is a group of one."""

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
    """Communication between the processes of a training run.

    Attributes:
        fabric: The launched fabric; None for a single process without a choice of device.
    """

    fabric: "Fabric | None"

    @property
    def n(self) -> int:
        """Return the number of processes."""
        return 1 if self.fabric is None else self.fabric.world_size

    @property
    def number(self) -> int:
        """Return the number of this process, from 0."""
        return 0 if self.fabric is None else self.fabric.global_rank

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.fabric is None or self.n == 1:
            return values
        total: Tensor = self.fabric.all_reduce(values.clone(), reduce_op="sum")  # type: ignore[assignment]
        return total

    def count(self, n_items: int) -> int:
        """Return the sum of a number over all processes."""
        return n_items if self.n == 1 else int(self.sum(torch.tensor(n_items, dtype=torch.int64)))

    def from_first(self, value: Value) -> Value:
        """Return the value of the first process."""
        if self.fabric is None or self.n == 1:
            return value
        received: Value = self.fabric.broadcast(value)
        return received

    def share(self, rows: NDArray[np.int64], batch_size: int) -> tuple[NDArray[np.int64], int]:
        """Return the rows of an epoch that this process trains on, batch by batch, and its own batch size.

        A last batch with fewer than two rows per process is used whole by all: BatchNorm needs two.

        Args:
            rows: Rows of the epoch, in order.
            batch_size: Total batch size, a multiple of the number of processes.
        """
        if self.n == 1:
            return rows, batch_size
        batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        own = [batch if len(batch) < 2 * self.n else batch[self.number :: self.n] for batch in batches]
        return np.concatenate(own), batch_size // self.n
