"""Similarity of two images after the best alignment by flipping, rotating and cropping.

Pictures are compared by the correlation of their grey values, which does not depend on brightness and contrast. Smooth
components are removed first: skies and studio backgrounds would make all pictures similar.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from resnet_mlflow.audit.signatures import ORIENTATIONS, oriented

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Side lengths for comparison: of all candidates, and of near ones.
COARSE, FINE = 16, 24
_SMOOTH_DEGREE = 4
# Windows, as shares of the side, and their spacing.
_SHARES, _STEP = (1.0, 0.95, 0.9, 0.85, 0.8), 0.05
_FINE_STEPS, _MOST_STEP = 7, 0.05
_SMALLEST_SHARE = 0.7
# Minimum standard deviation, in grey levels, without smooth components: below it, compression noise would be compared.
LEAST_DETAIL = 3.0
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures; the first is cropped to fit the second.

    Attributes:
        first: Rows, ``(n_pairs,)``.
        second: Rows, ``(n_pairs,)``.
        orientation: Orientation of the second, an index into ``signatures.ORIENTATIONS``.
    """

    first: Ints
    second: Ints
    orientation: Ints

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Pairs":
        """Return only these pairs."""
        return Pairs(self.first[rows], self.second[rows], self.orientation[rows])


def window_matrices(start: NDArray[np.float64], share: NDArray[np.float64], size_in: int, size_out: int) -> Floats:
    """Return the matrices that extract windows from a line of pixels; each new pixel is the mean of those it covers.

    Args:
        start: Start of each window as a share of the line, ``(n_windows,)``.
        share: Length of each window, in (0, 1].
        size_in: Number of pixels in the line.
        size_out: Number of pixels in the result.

    Returns:
        ``(n_windows, size_out, size_in)``, rows sum to 1.
    """
    edges = (start[:, None] + share[:, None] * np.arange(size_out + 1) / size_out) * size_in
    pixel = np.arange(size_in)
    upper = np.minimum(edges[:, 1:, None], pixel + 1)
    covered = np.clip(upper - np.maximum(edges[:, :-1, None], pixel), 0, None)
    return np.asarray(covered / np.maximum(covered.sum(axis=2, keepdims=True), 1e-9), dtype=np.float32)


@lru_cache(maxsize=4)
def detail_basis(side: int) -> Floats:
    """Return an orthonormal basis of smooth components: polynomials of degree 4 over the picture."""
    x = np.linspace(-1, 1, side)
    terms = [np.outer(x**i, x**j).ravel() for i in range(_SMOOTH_DEGREE + 1) for j in range(_SMOOTH_DEGREE + 1 - i)]
    return np.asarray(np.linalg.qr(np.array(terms).T)[0], dtype=np.float32)


class Aligner:
    """Compares pictures in a collection.

    Args:
        thumbs: Grey copies, uint8, ``(n_images, side, side)``.
    """

    def __init__(self, thumbs: NDArray[np.uint8]) -> None:
        self.thumbs = thumbs
        whole = window_matrices(np.zeros(1), np.ones(1), thumbs.shape[1], COARSE)[0]
        self._small = np.concatenate(
            [
                (whole @ thumbs[first : first + _BLOCK].astype(np.float32) @ whole.T)
                for first in range(0, len(thumbs), _BLOCK)
            ]
        )
        self._starts, self._shares = _windows()
        flat, self.detail = _without_smooth(self._small.reshape(len(thumbs), -1), COARSE)
        self._targets = flat.reshape(-1, COARSE, COARSE)

    def coarse(self, pairs: Pairs) -> tuple[Floats, Ints]:
        """Return the best correlation of each pair over all windows of the first, and the index of that window.

        Args:
            pairs: Sorted by their first rows.
        """
        warp = _window_warps(self._starts, self._shares)
        best, window = np.zeros(len(pairs), np.float32), np.zeros(len(pairs), np.int64)
        targets = np.stack([oriented(self._targets, index) for index in range(len(ORIENTATIONS))])
        bounds = np.searchsorted(pairs.first, np.arange(len(self.thumbs) + 1))
        for first in range(0, len(self.thumbs), _BLOCK):
            last = min(first + _BLOCK, len(self.thumbs))
            asking = first + np.flatnonzero(np.diff(bounds[first : last + 1]))
            if not len(asking):
                continue
            warped = (self._small[asking].reshape(len(asking), -1) @ warp).reshape(-1, COARSE * COARSE)
            warped /= np.maximum(np.linalg.norm(warped, axis=1, keepdims=True), 1e-3)
            by_image = warped.reshape(len(asking), -1, COARSE * COARSE)
            for row, own in zip(asking, by_image, strict=True):
                part = slice(bounds[row], bounds[row + 1])
                target = targets[pairs.orientation[part], pairs.second[part]].reshape(-1, COARSE * COARSE)
                scores = own @ target.T
                window[part] = scores.argmax(axis=0)
                best[part] = scores.max(axis=0)
        return best, window

    def fine(self, pairs: Pairs, window: Ints) -> tuple[Floats, NDArray[np.float64]]:
        """Return the correlation of each pair at the best window near the given one, and that window.

        Returns:
            Correlations ``(n_pairs,)``, and windows ``(n_pairs, 4)``: top, height, left and width as shares.
        """
        start, share = self._starts[window], self._shares[window]
        boxes = np.stack([start[:, 0], share, start[:, 1], share], axis=1)
        scores = np.zeros(len(pairs), np.float32)
        for first in range(0, len(pairs), _BLOCK):
            part = slice(first, first + _BLOCK)
            scores[part], boxes[part] = self._refined(pairs.select(np.arange(len(pairs))[part]), boxes[part])
        return scores, boxes

    def _refined(self, pairs: Pairs, boxes: NDArray[np.float64]) -> tuple[Floats, NDArray[np.float64]]:
        """Move and stretch windows by Gauss-Newton steps, and return the best found.

        References:
            Evangelidis and Psarakis (2008), Parametric image alignment using enhanced correlation coefficient.
        """
        images = self.thumbs[pairs.first].astype(np.float32)
        whole = window_matrices(np.zeros(1), np.ones(1), images.shape[1], FINE)[0]
        seconds = self.thumbs[pairs.second].astype(np.float32)
        turned = np.stack(
            [oriented(image, int(index)) for image, index in zip(seconds, pairs.orientation, strict=True)]
        )
        target = _without_smooth((whole @ turned @ whole.T).reshape(len(pairs), -1), FINE)[0]
        best, found = np.full(len(pairs), -1.0, np.float32), boxes
        for _ in range(_FINE_STEPS):
            warped = _warped(images, boxes)
            scores = (_without_smooth(warped.reshape(len(images), -1), FINE)[0] * target).sum(axis=1)
            better = scores > best
            best, found = np.where(better, scores, best), np.where(better[:, None], boxes, found)
            boxes = _inside(boxes + _step(warped, target, boxes))
        return best, found


def _warped(images: Floats, boxes: NDArray[np.float64]) -> Floats:
    down = window_matrices(boxes[:, 0], boxes[:, 1], images.shape[1], FINE)
    across = window_matrices(boxes[:, 2], boxes[:, 3], images.shape[1], FINE)
    return np.asarray(down @ images @ across.transpose(0, 2, 1))


def _step(warped: Floats, target: Floats, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the changes of windows that bring grey values, times a gain, closest to those of the target."""
    place = ((np.arange(FINE) + 0.5) / FINE).astype(np.float32)
    shares = boxes.astype(np.float32)
    # Per unit of the whole picture: a window's pixel is its share divided by the number of pixels.
    by_row = np.gradient(warped, axis=1) * FINE / shares[:, 1, None, None]
    by_column = np.gradient(warped, axis=2) * FINE / shares[:, 3, None, None]
    slopes = (by_row, by_row * place[:, None], by_column, by_column * place, warped)
    columns = np.stack([slope.reshape(len(warped), -1) for slope in slopes], axis=1)
    basis = detail_basis(FINE)
    columns = columns - (columns @ basis) @ basis.T
    gram = columns @ columns.transpose(0, 2, 1)
    gram += np.eye(5, dtype=np.float32) * (1e-4 * np.trace(gram, axis1=1, axis2=2)[:, None, None] / 5 + 1e-6)
    solved = np.linalg.solve(gram.astype(np.float64), (columns @ target[..., None]).astype(np.float64))[..., 0]
    gain = np.where(np.abs(solved[:, 4:]) > 1e-9, solved[:, 4:], np.inf)
    return np.clip(solved[:, :4] / gain, -_MOST_STEP, _MOST_STEP)


def _inside(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the windows moved inside the picture."""
    boxes = boxes.copy()
    for axis in (0, 2):
        boxes[:, axis + 1] = np.clip(boxes[:, axis + 1], _SMALLEST_SHARE, 1.0)
        boxes[:, axis] = np.clip(boxes[:, axis], 0.0, 1.0 - boxes[:, axis + 1])
    return boxes


def _windows() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return starts ``(n_windows, 2)`` and shares ``(n_windows,)`` of the windows to try."""
    found = []
    for share in _SHARES:
        starts = np.arange(round((1 - share) / _STEP) + 1) * _STEP
        found += [(top, left, share) for top in starts for left in starts]
    table = np.array(found)
    return table[:, :2], table[:, 2]


def _window_warps(starts: NDArray[np.float64], shares: NDArray[np.float64]) -> Floats:
    """Return the matrix from small pictures to all their windows without smooth components, side by side."""
    down = window_matrices(starts[:, 0], shares, COARSE, COARSE)
    across = window_matrices(starts[:, 1], shares, COARSE, COARSE)
    warps = np.einsum("woi,wpj->wopij", down, across).reshape(len(shares), COARSE * COARSE, COARSE * COARSE)
    basis = detail_basis(COARSE)
    warps = warps - basis @ (basis.T @ warps)
    return np.ascontiguousarray(warps.reshape(-1, COARSE * COARSE).T)


def _without_smooth(flat: Floats, side: int) -> tuple[Floats, Floats]:
    """Return pictures without smooth components, normalised to length 1, and their amount of detail in grey levels."""
    basis = detail_basis(side)
    rest = flat - (flat @ basis) @ basis.T
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return rest / np.maximum(length, 1e-3), length[:, 0] / side
