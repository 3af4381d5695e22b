from pathlib import Path

import numpy as np
import pytest

from resnet_mlflow.features.row_file import RowFile, drop_rows


def numbered(n_rows: int) -> np.ndarray:
    return np.arange(n_rows * 3, dtype=np.float32).reshape(n_rows, 3)


def test_row_file_is_an_npy_file_however_it_is_filled(tmp_path: Path) -> None:
    rows = numbered(7)
    with RowFile(tmp_path / "x.npy", (7, 3)) as first, RowFile(tmp_path / "x.npy", (7, 3)) as second:
        second.write(np.array([4, 5, 6]), rows[4:])
        first.write(np.array([0, 2, 3]), rows[[0, 2, 3]])
        first.write(np.array([], dtype=np.int64), rows[:0])
        second.write(np.array([1]), rows[1:2])
    assert np.load(tmp_path / "x.npy").tolist() == rows.tolist()
    assert np.load(tmp_path / "x.npy").dtype == np.float32


def test_row_file_converts_to_float32(tmp_path: Path) -> None:
    with RowFile(tmp_path / "x.npy", (2, 3)) as file:
        file.write(np.arange(2), numbered(2)[:, ::-1].astype(np.float64))
    assert np.load(tmp_path / "x.npy").tolist() == [[2, 1, 0], [5, 4, 3]]


@pytest.mark.parametrize("n_rows", [5, 10_000])
def test_drop_rows_keeps_the_others_in_order(tmp_path: Path, n_rows: int) -> None:
    np.save(tmp_path / "x.npy", numbered(n_rows))
    kept = np.setdiff1d(np.arange(n_rows), [1, 3])
    drop_rows(tmp_path / "x.npy", kept)
    assert np.array_equal(np.load(tmp_path / "x.npy"), numbered(n_rows)[kept])
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]
