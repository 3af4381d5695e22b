"""What can be monitored, and what is refused in one line."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.errors import InputError
from resnet_mlflow.monitoring.source import check_enough, find_source, read_answers

NAMES = ("cat", "dog")


def write_answers(path, n=12, **columns):
    frame = pd.DataFrame(
        {"path": [f"{row}.png" for row in range(n)], "label": ["cat", "dog"] * (n // 2), "probability": 0.75}
        | {"score_cat": [0.75, 0.25] * (n // 2), "score_dog": [0.25, 0.75] * (n // 2)}
        | columns
    )
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    return path


def write_image(path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_of_predictions_is_read(tmp_path, ending):
    path = write_answers(tmp_path / f"week{ending}")
    source = find_source(str(path))
    assert (source.files, source.are_images, source.description) == ((path,), False, f"predictions in 1 file of {path}")
    answers = read_answers(source.files, NAMES)
    assert answers.paths[:2] == ("0.png", "1.png")
    assert answers.observed.labels.tolist() == [0, 1] * 6
    assert set(answers.observed.confidences.tolist()) == {0.75}
    assert answers.observed.features is None


def test_files_of_a_folder_within_a_window_are_one_batch(tmp_path):
    for day, name in ((20, "a.csv"), (21, "b.csv"), (22, "c.parquet")):
        path = write_answers(tmp_path / name)
        moment = pd.Timestamp(f"2026-11-{day}", tz="UTC").timestamp()
        os.utime(path, (moment, moment))
    assert len(find_source(str(tmp_path)).files) == 3
    within = find_source(str(tmp_path), since="2026-11-21", until="2026-11-22")
    assert [path.name for path in within.files] == ["b.csv"]
    assert within.description.endswith(" since 2026-11-21 until 2026-11-22")
    assert len(read_answers(find_source(str(tmp_path), "2026-11-21").files, NAMES).paths) == 24
    with pytest.raises(InputError, match="source must contain files modified since 2026-12-01, got none of 3"):
        find_source(str(tmp_path), since="2026-12-01")
    with pytest.raises(InputError, match="until must be a date or time in ISO 8601, got 'soon'"):
        find_source(str(tmp_path), until="soon")


def test_images_of_a_folder_and_its_subfolders_are_a_batch(tmp_path):
    (tmp_path / "sub").mkdir()
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "sub" / "b.png")
    source = find_source(str(tmp_path))
    assert source.are_images
    assert [path.name for path in source.files] == ["a.png", "b.png"]


def test_digest_is_that_of_the_content(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_answers(tmp_path / name / f"{name}.csv")
    digests = {find_source(str(tmp_path / name)).digest for name in ("one", "two")}
    assert len(digests) == 1
    write_answers(tmp_path / "two" / "two.csv", n=14)
    assert find_source(str(tmp_path / "two")).digest not in digests


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no source")
    (tmp_path / "both").mkdir()
    write_image(tmp_path / "both" / "a.png")
    write_answers(tmp_path / "both" / "answers.csv")
    for name, line in (
        ("nowhere", "source must be an existing folder or file, got .*nowhere; check the path"),
        ("empty", r"source must contain images or predictions \(.csv, .parquet\), got neither in .*empty"),
        ("notes.txt", "source must be a folder or a file of predictions .* got .*notes.txt; name another"),
        ("both", r"source must contain either images or predictions, got both in .*both \(answers.csv among them\)"),
    ):
        with pytest.raises(InputError, match=line):
            find_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"score_bird": 0.0}, r"predictions must have the model's classes, \['cat', 'dog'\], got \['cat', 'dog', 'bi"),
        ({"label": "bird"}, r"labels must be classes of the model, got others in rows 2, 3, .* and 2 more of "),
        ({"score_cat": 3.0}, "scores must be probabilities from 0 to 1, got others in rows 2, 3"),
        ({"score_cat": "much"}, "scores must be probabilities from 0 to 1, got others in rows 2, 3"),
        ({"score_cat": ""}, "scores must be probabilities from 0 to 1, got others in rows 2, 3"),
    ],
)
def test_predictions_of_another_kind_are_refused(tmp_path, columns, line):
    with pytest.raises(InputError, match=line):
        read_answers([write_answers(tmp_path / "a.csv", **columns)], NAMES)


def test_tables_that_are_no_predictions_are_refused(tmp_path):
    pd.DataFrame({"a": [1, 2]}).to_csv(tmp_path / "a.csv", index=False)
    line = r"predictions must have the columns label and score_<class> that predict writes, got \['a'\] in "
    with pytest.raises(InputError, match=line):
        read_answers([tmp_path / "a.csv"], NAMES)


def test_a_batch_of_one_image_is_refused():
    check_enough(10)
    with pytest.raises(InputError, match="a batch must have at least 10 images, got 1; wait for more, or use a longer"):
        check_enough(1)
