"""Corrections by hand: a dataset of its own digest, and one line for each fault of the table."""

from pathlib import Path

import pytest

from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.errors import InputError


@pytest.fixture
def load(image_folder, tmp_path):
    """Load the coloured images with the rows of a table, header first."""

    def load(*rows: str, name: str = "marked.csv"):
        corrections = ""
        if rows:
            (tmp_path / name).write_text("\n".join(rows) + "\n")
            corrections = str(tmp_path / name)
        return load_dataset(f"folder:{image_folder}", data_dir=tmp_path / "data", corrections=corrections)

    return load


def test_apply_corrections_drop_and_relabel(load):
    before = load()
    after = load(
        "split,path,verdict", "train,train/red/0.png,drop", "train,train/red/1.png,blue", "test,test/blue/0.png,keep"
    )
    assert before.corrected_from == ""
    assert after.corrected_from == before.digest != after.digest
    assert after.class_counts("train") == {"blue": 11, "green": 10, "red": 8}
    assert after.class_counts("test") == before.class_counts("test")
    paths = after.relative_paths(after.splits["train"])
    assert "train/red/0.png" not in paths
    assert after.splits["train"].labels[paths.index("train/red/1.png")] == 0


def test_apply_corrections_that_change_nothing_keep_the_digest(load):
    assert load("path,verdict", "train/red/0.png,keep").digest == load().digest


def test_apply_corrections_find_images_by_their_content(load):
    item_id = load().splits["train"].item_ids[0]
    after = load("item_id,verdict", f"{item_id},drop")
    assert len(after.splits["train"]) == 29


def test_apply_corrections_take_quotes_against_formulas_away(tmp_path, make_image_folder):
    root = make_image_folder(tmp_path)
    for split in ("train", "test"):
        (root / split / "red").rename(root / split / "=red")
    (tmp_path / "a.csv").write_text("path,verdict\ntrain/blue/0.png,'=red\n")
    after = load_dataset(f"folder:{root}", data_dir=tmp_path / "data", corrections=str(tmp_path / "a.csv"))
    assert after.class_counts("train")["=red"] == 11


def test_apply_corrections_bear_files_that_were_left_out(tmp_path, make_image_folder):
    root = make_image_folder(tmp_path)
    (root / "train" / "red" / "notes.png").write_text("no image")
    given = {"data_dir": tmp_path / "data", "on_bad_image": "skip", "corrections": str(tmp_path / "a.csv")}
    (tmp_path / "a.csv").write_text("path,verdict\ntrain/red/notes.png,drop\n")
    assert load_dataset(f"folder:{root}", **given).corrected_from
    (tmp_path / "a.csv").write_text("path,verdict\ntrain/red/notes.png,purple\n")
    with pytest.raises(InputError, match=r"verdicts must be keep, drop or a class .* got 'purple' in row 2"):
        load_dataset(f"folder:{root}", **given)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("path,label", "train/red/0.png,red"), "must have columns verdict and path"),
        (("path,verdict", "train/red/0.png,"), "must contain a verdict, got none"),
        (("path,verdict", "train/red/99.png,drop"), r"must name images of the dataset.*'train/red/99.png' in row 2"),
        (("path,verdict", "train/red/0.png,blu"), r"keep, drop or a class.*'blu' in row 2.*did you mean 'blue'"),
        (("path,verdict", "train/red/0.png,drop", "train/red/0.png,blue"), r"same verdict.*in row 3"),
        (("split,path,verdict", "test,train/red/0.png,drop"), "must name images of the dataset"),
        (("path,verdict", *(f"train/red/{row}.png,drop" for row in range(10))), "every class must have at least 2"),
    ],
)
def test_apply_corrections_refuse_in_one_line(load, rows, message):
    with pytest.raises(InputError, match=message):
        load(*rows)


def test_apply_corrections_refuse_a_file_that_is_not_there(image_folder, tmp_path):
    with pytest.raises(InputError, match="must be a readable file"):
        load_dataset(f"folder:{image_folder}", data_dir=tmp_path, corrections=str(Path("none.csv")))
