"""The package's random numbers under NumPy's names, so that an independent formulation can use the same ones."""

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.robustness.random import ItemRandom, item_keys


class Replay:
    """What one item draws; numbers for pixels with channels last are drawn with channels first."""

    def __init__(self, item_id: str | int, corruption: str, severity: int) -> None:
        self._random = ItemRandom(item_keys([item_id], corruption, severity))

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return self._random.uniform(*shape, low=low, high=high)[0].double().numpy()

    def standard_normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        channels_last = len(shape) == 3 and shape[2] == 3
        drawn = self._random.normal(*((3, *shape[:2]) if channels_last else shape))[0].double().numpy()
        return np.moveaxis(drawn, 0, 2) if channels_last else drawn

    def integers(self, low: int, high: int, shape: tuple[int, int, int]) -> NDArray[np.int64]:
        """Offsets down and right: the lower and the upper 16 bits, as fractions of the range."""
        words = self._random.bits(*shape[:2])[0].numpy().astype(np.int64)
        halves = np.stack((words & 0xFFFF, words >> 16 & 0xFFFF), axis=2)
        return (halves * (high - low) >> 16) + low
