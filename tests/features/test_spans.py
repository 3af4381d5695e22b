from pathlib import Path

import numpy as np
import pytest

from resnet_mlflow.features.spans import SpanWriter, can_go_on, forget, read_done

SHAPE = (10, 2)
ROWS = np.arange(20, dtype=np.float32).reshape(SHAPE)
BAD = {"split": "train", "row": 3, "path": "x.png", "reason": "cut"}


def write(folder: Path, first: int, stop: int, skipped: tuple[dict[str, object], ...] = ()) -> None:
    left_out = [item["row"] for item in skipped]
    writer = SpanWriter(folder, "train", SHAPE, first)
    for at in range(first, stop, 2):
        rows = np.setdiff1d(np.arange(at, min(at + 2, stop)), left_out)
        writer.write(rows, ROWS[rows], list(skipped))
    writer.note(stop, list(skipped))
    writer.close(list(skipped))


def test_read_done_gives_rows_and_images_left_out(tmp_path: Path) -> None:
    assert not can_go_on(tmp_path)
    write(tmp_path, 0, 5, (BAD,))
    write(tmp_path, 8, 10)

    found = read_done(tmp_path, "train", SHAPE)

    assert found.rows.tolist() == [0, 1, 2, 3, 4, 8, 9]
    assert found.skipped == [BAD]
    assert read_done(tmp_path, "test", SHAPE).rows.tolist() == []
    assert read_done(tmp_path, "train", (10, 3)).rows.tolist() == []
    assert can_go_on(tmp_path)
    forget(tmp_path)
    assert not can_go_on(tmp_path)


def test_rows_written_before_an_error_count(tmp_path: Path) -> None:
    writer = SpanWriter(tmp_path, "train", SHAPE, 2)
    writer.write(np.array([2, 4]), ROWS[[2, 4]], [BAD])
    writer.close([BAD])
    assert read_done(tmp_path, "train", SHAPE).rows.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"skipped": [], "sha256": "0"}', '{"skipped": [{}], "sha256": ""}']
)
def test_read_done_takes_no_damaged_note(tmp_path: Path, content: str) -> None:
    write(tmp_path, 0, 4)
    (tmp_path / "done" / "train.0-4.json").write_text(content)
    assert read_done(tmp_path, "train", SHAPE).rows.tolist() == []


def test_read_done_takes_no_damaged_rows(tmp_path: Path) -> None:
    write(tmp_path, 0, 4)
    write(tmp_path, 6, 8)
    features = np.load(tmp_path / "train.features.npy", mmap_mode="r+")
    features[1] += 1
    features.flush()
    assert read_done(tmp_path, "train", SHAPE).rows.tolist() == [6, 7]


@pytest.mark.parametrize("name", ["train.0-11.json", "train.3-3.json", "train.x-4.json", "val.0-4.json"])
def test_read_done_takes_no_note_of_other_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path, 0, 4)
    (tmp_path / "done" / "train.0-4.json").rename(tmp_path / "done" / name)
    assert read_done(tmp_path, "train", SHAPE).rows.tolist() == []
