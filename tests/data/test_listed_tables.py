"""Datasets listed by a table: what it says of each image, and what is refused, by row."""

import csv
import datetime
import decimal
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sample_images import write_classes, write_image

from resnet_mlflow.data import table_files
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.errors import InputError

Rows = Iterable[Mapping[str, object]]


def write(path: Path, rows: Rows) -> Path:
    frame = pd.DataFrame(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case ".parquet":
            frame.to_parquet(path, index=False)
    return path


def load(path: Path, data_dir: Path | None = None, **options: str) -> ImageDataset:
    return load_dataset(f"table:{path}", data_dir=data_dir or path.parent / "cache", **options)


def sizes(dataset: ImageDataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images of each of two birds, named otherwise than by class."""
    for number in range(10):
        write_image(tmp_path / "birds" / f"{number}.png", number)
    return tmp_path / "birds"


def ten_rows(**columns: object) -> list[dict[str, object]]:
    return [{"path": f"{n}.png", "label": ("crow", "owl")[n % 2], **columns} for n in range(10)]


ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


@pytest.mark.parametrize("ending", ENDINGS)
def test_load_table_takes_splits_and_keeps_other_columns(root, ending):
    rows = ten_rows()
    for number, row in enumerate(rows):
        row |= {
            "split": ("train", "val", "test")[(number > 5) + (number > 7)],
            "group": number // 2,
            "site": f"s{number}",
        }
    dataset = load(write(root / f"list{ending}", rows))
    assert sizes(dataset) == {"train": 6, "val": 2, "test": 2}
    assert dataset.class_names == ("crow", "owl")
    assert (dataset.short_name, dataset.source) == ("list", str(root / f"list{ending}"))
    for split in dataset.splits.values():
        numbers = [int(path.stem) for path in split.paths]
        assert split.labels.tolist() == [number % 2 for number in numbers]
        assert split.columns["group"] == tuple(str(number // 2) for number in numbers)
        assert split.columns["site"] == tuple(f"s{number}" for number in numbers)
        assert list(split.columns) == ["group", "site"]


def test_load_table_splits_by_seed_without_a_column_whatever_the_order(root):
    rows = ten_rows()
    for number, row in enumerate(rows):
        row["site"] = f"s{number}"
    dataset = load(write(root / "list.csv", rows))
    turned = load(write(root / "list.csv", rows[::-1]))
    assert sizes(dataset) == {"train": 8, "test": 2}
    assert dataset.class_counts("test") == {"crow": 1, "owl": 1}
    assert dataset.digest == turned.digest
    for name, split in dataset.splits.items():
        assert split.paths == turned.splits[name].paths
        assert split.columns["site"] == tuple(f"s{path.stem}" for path in split.paths)


@pytest.mark.parametrize("splits", [(), ("train", "test")])
def test_load_table_of_a_folder_is_that_folder(tmp_path, splits):
    root = tmp_path / "birds"
    for number, split in enumerate(splits or ("",)):
        write_classes(root / split, {"crow": 4, "owl": 5}, first_seed=number * 20)
    rows = [{"path": str(path.relative_to(root)), "label": path.parent.name} for path in root.rglob("*.png")]
    # data_dir may be the folder itself: what is kept there is hidden.
    listed, folder = (
        load(write(root / "all.csv", rows), root),
        load_dataset(f"folder:{root}", data_dir=tmp_path),
    )
    assert listed.digest == folder.digest
    for name, split in folder.splits.items():
        assert listed.splits[name].item_ids.tolist() == split.item_ids.tolist()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Training", "Testing"), {"train": 8, "test": 2}),
        (("train", "dev"), {"train": 8, "test": 2}),
        (("seg_train", "evaluation"), {"train": 8, "test": 2}),
        (("TRN", "TST"), {"train": 8, "test": 2}),
    ],
)
def test_load_table_takes_other_words_for_splits(root, names, expected):
    rows = ten_rows()
    for number, row in enumerate(rows):
        row["split"] = names[number > 7]
    assert sizes(load(write(root / "list.csv", rows))) == expected


def test_load_table_reads_hugging_face_metadata(root):
    rows = [{"file_name": row["path"], "label": row["label"], "text": "a bird"} for row in ten_rows()]
    dataset = load(write(root / "metadata.csv", rows))
    assert dataset.short_name == "birds"
    assert load(write(root / "metadata.jsonl", rows)).digest == dataset.digest
    (root / "metadata.csv").unlink()
    assert load(root).digest == dataset.digest


def test_load_table_reads_hugging_face_metadata_in_each_split(tmp_path):
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        for number in range(first, first + 4):
            write_image(tmp_path / "birds" / split / f"{number}.png", number)
        rows = [{"file_name": f"{n}.png", "label": n % 2, "objects": {"id": [n]}} for n in range(first, first + 4)]
        write(tmp_path / "birds" / split / "metadata.jsonl", rows)
    dataset = load(tmp_path / "birds", data_dir=tmp_path / "cache")
    assert sizes(dataset) == {"train": 4, "val": 4, "test": 4}
    assert dataset.class_names == ("0", "1")
    assert dataset.short_name == "birds"
    assert dataset.splits["train"].columns == {}


def test_load_table_finds_paths_from_data_dir_and_absolute_ones(root, tmp_path):
    expected = load(write(root / "list.csv", ten_rows())).digest
    elsewhere = write(tmp_path / "lists" / "list.csv", ten_rows())
    assert load(elsewhere, data_dir=root).digest == expected
    up = [{**row, "path": f"../birds/{row['path']}"} for row in ten_rows()]
    assert load(write(elsewhere, up), data_dir=root).digest == expected
    absolute = [{**row, "path": str(root / str(row["path"]))} for row in ten_rows()]
    assert load(write(elsewhere, absolute), data_dir=root).digest == expected
    assert load(write(root / "list.csv", absolute)).digest == expected


def test_load_table_finds_paths_as_windows_and_macos_write_them(tmp_path):
    parted = unicodedata.normalize("NFD", "éperon")
    root = write_classes(tmp_path / "birds", {parted: 4, "owl": 4})
    rows = [
        {"path": f"{unicodedata.normalize('NFC', c)}\\{n:03d}.png", "label": c}
        for c in (parted, "owl")
        for n in range(4)
    ]
    dataset = load(write(root / "list.csv", rows))
    assert dataset.class_names == ("owl", unicodedata.normalize("NFC", parted))
    assert sizes(dataset) == {"train": 6, "test": 2}


def test_load_table_orders_numbers_as_numbers_and_keeps_names_as_written(root):
    rows = [{**row, "label": ("10", "9")[n % 2]} for n, row in enumerate(ten_rows())]
    assert load(write(root / "list.csv", rows)).class_names == ("9", "10")
    rows = [{**row, "label": ("NA", "None", "null", "007", "nan")[n // 2]} for n, row in enumerate(ten_rows())]
    (root / "list.csv").write_text("path,label\n" + "".join(f"{row['path']},{row['label']}\n" for row in rows))
    with pytest.raises(InputError, match=r"at least 3 images .* got 2 in class '007'"):
        load(root / "list.csv")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_load_table_reads_what_spreadsheets_write(root, encoding, separator):
    lines = [
        ["", "Path", " LABEL ", "note", ""],
        *(["1", row["path"], row["label"], 'tall, "old"\nand wet; \t', ""] for row in ten_rows()),
    ]
    with (root / "list.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows(lines)
        file.write("\r\n")
    dataset = load(root / "list.csv")
    assert sizes(dataset) == {"train": 8, "test": 2}
    assert list(dataset.splits["train"].columns) == ["note"]
    assert set(dataset.splits["train"].columns["note"]) == {'tall, "old"\nand wet; \t'}


def test_load_table_reads_parquet_as_others_write_it(root):
    rows = ten_rows()
    table = pa.table(
        {
            "path": pa.array([row["path"] for row in rows], pa.large_string()),
            "label": pa.array([row["label"] for row in rows]).dictionary_encode(),
            "site": pa.array([1.0, None] * 5),
            "thumbnail": pa.array([b"x"] * 10),
            "boxes": pa.array([[1, 2]] * 10),
        }
    )
    parquet.write_table(table, root / "list.parquet")
    columns = load(root / "list.parquet").splits["train"].columns
    assert list(columns) == ["site"]
    assert set(columns["site"]) == {"1", ""}


def test_load_table_keeps_dates_and_decimals_as_texts_whatever_the_format(root):
    day, noon, price = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 1, 12, 30), decimal.Decimal("1.50")
    rows = ten_rows(day=day, noon=noon, price=price)
    rows[3] |= {"day": None, "noon": None, "price": None}
    told = {name: {str(value), ""} for name, value in (("day", day), ("noon", noon), ("price", price))}
    for ending in (".csv", ".parquet"):
        dataset = load(write(root / f"list{ending}", rows))
        kept = {name: {row for split in dataset.splits.values() for row in split.columns[name]} for name in told}
        assert kept == told, ending


def test_load_table_counts_bad_and_missing_files_or_names_them(root):
    rows = ten_rows(site="north")
    (root / "3.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"3\.png"):
        load(write(root / "list.csv", rows))
    (root / "4.png").unlink()
    with pytest.raises(
        InputError, match=r"paths must name files, .* got '4.png' in row 6 of .*list.csv; .*on_bad_image=skip"
    ):
        load(root / "list.csv")
    dataset = load(root / "list.csv", on_bad_image="skip")
    assert sizes(dataset) == {"train": 6, "test": 2}
    assert {path.name for path in dataset.skipped_paths} == {"3.png", "4.png"}
    assert len(dataset.splits["train"].columns["site"]) == 6


def change(row: int, **values: object) -> list[dict[str, object]]:
    rows = ten_rows(split="train")
    rows[9]["split"] = rows[8]["split"] = "test"
    for number in range(row, 10, 4):
        rows[number] |= values
    return rows


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("row", "values", "text"),
    [
        (3, {"label": ""}, "labels must be names .* got ''"),
        (3, {"label": "  "}, "labels must be names .* got '  '"),
        (3, {"label": None}, "labels must be names .* got ''"),
        (3, {"label": " crow"}, "labels must be names .* got ' crow'"),
        (3, {"label": "crow\u00a0"}, "labels must be names"),
        (3, {"label": "c" * 256}, "labels must be names of at most 255 characters"),
        (3, {"path": ""}, "paths must be file names .* got ''"),
        (3, {"path": "x\0y"}, "paths must be file names .* got"),
        (3, {"split": "tarin"}, "splits must be train, val or test, got 'tarin'"),
        (3, {"split": ""}, "splits must be train, val or test, got ''"),
        (3, {"split": "contest"}, "splits must be train, val or test, got 'contest'"),
        (3, {"split": "2"}, "splits must be train, val or test, got '2'"),
        (3, {"path": "missing.png"}, "a file must be in one row only, got 'missing.png'"),
        (7, {"path": "missing.png"}, "paths must name files, .* got 'missing.png'"),
        (7, {"path": "."}, "paths must name files, .* got '.'"),
        (7, {"path": "n" * 5000}, "paths must be file names of at most 4096 characters"),
        (7, {"path": "n" * 300}, "paths must name files"),
        (
            3,
            {"path": "../../etc/passwd"},
            "paths must stay inside the table's folder or data_dir .* got '../../etc/passwd'",
        ),
        (3, {"path": "/etc/passwd"}, "paths must stay inside the table's folder .* got '/etc/passwd'"),
        (3, {"path": "cache/../../x.png"}, "paths must stay inside"),
        (3, {"path": "..\\..\\x.png"}, "paths must stay inside"),
    ],
)
def test_load_table_refuses_rows_by_their_number(root, ending, row, values, text):
    path = write(root / f"list{ending}", change(row, **values))
    first = {".jsonl": 1, ".parquet": 1}.get(ending, 2)
    rows = [str(number + first) for number in range(row, 10, 4)]
    where = f"row{'s' if len(rows) > 1 else ''} {', '.join(rows)} of "
    with pytest.raises(InputError, match=f"{text}.* in {where}") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_load_table_names_all_rows_of_a_file_that_stands_in_several(root):
    rows = ten_rows()
    rows[7]["path"] = "./2.png"
    rows[9]["path"] = "3.png"
    with pytest.raises(InputError, match=r"one row only, got '2.png' in rows 4, 5, 9, 11 of"):
        load(write(root / "list.csv", rows))


def test_load_table_names_ten_rows_and_counts_the_others(root):
    rows = [{"path": f"{n}.png", "label": "" if n < 40 else "owl"} for n in range(60)]
    with pytest.raises(InputError, match="in rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 30 more of"):
        load(write(root / "list.csv", rows))


BROKEN = {
    "none.csv": (b"", "must have rows, got none"),
    "headless.csv": (b"0.png,crow\n1.png,owl\n", "one column path .* got \\['0.png', 'crow'\\]"),
    "empty.csv": (b"path,label\n", "must have rows, got none"),
    "two-paths.csv": (b"path,file_name,label\n0.png,0.png,crow\n", "one column path"),
    "twice.csv": (b"path,label,label\n0.png,crow,owl\n", "with different names, got 'label' twice"),
    "cases.csv": (b"path,label,Label\n0.png,crow,owl\n", "one column path"),
    "ragged.csv": (b"path,label\n0.png,crow\n1.png\n\n2.png,owl,x\n", "as many values as the header .* rows 3, 5 of"),
    "quote.csv": (b'path,label\n2.png,owl\n0.png,"crow\n1.png,owl\n', "quoted by RFC 4180, .* begins in row 3 of"),
    "latin.csv": (b"path,label\n0.png,h\xe9ron\n", "must be text in UTF-8"),
    "wide.csv": (b"path,label," + b"," * 2000 + b"\n", "at most 1000 columns"),
    "long.csv": (b"path,label\n" + b"x" * 2_000_000, "at most 1048576 characters, got more in row 2 of"),
    "field.csv": (b"path,label\n0.png," + b"x" * 200_000 + b"\n", "quoted by RFC 4180, got field larger"),
    "zeros.csv": (b"\0" * 100, "must have rows, got none"),
    "list.jsonl": (b'{"path": "0.png", "label": "crow"}\n[1]\n\n{"path"\n', "JSON object, .* rows 2, 4 of"),
    "deep.jsonl": (b'{"a":' + b"[" * 100_000 + b"\n", "JSON object"),
    "digits.jsonl": (b'{"path": "0.png", "label": ' + b"9" * 10_000 + b"}\n", "JSON object"),
    "lone.jsonl": (b'{"path": "0.png", "label": "\\ud800"}\n', "JSON object, .* row 1 of"),
    "nested.jsonl": (b'{"path": "0.png", "label": ["crow"]}\n', "one column path"),
    "keys.jsonl": (b"".join(b'{"path": "0.png", "label": "x", "k%d": 1}\n' % n for n in range(1200)), "1000 columns"),
    "none.parquet": (b"PAR1", "a table must be complete"),
    "text.parquet": (b"path,label\n", "a table must be complete"),
    "list.xlsx": (b"PK", "must end in .csv, .tsv, .jsonl"),
    "list": (b"path,label\n", "must end in .csv"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_load_table_refuses_what_is_no_table_in_one_line(root, name):
    content, text = BROKEN[name]
    (root / name).write_bytes(content)
    with pytest.raises(InputError, match=text) as caught:
        load(root / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_load_table_refuses_a_huge_file_before_it_is_read(root, ending):
    path = root / f"huge{ending}"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=f"at most {2**30} bytes, got {2**40}"):
        load(path)


def test_load_table_refuses_a_small_file_that_holds_too_much(root, monkeypatch):
    one = pa.array(["x" * 1_000_000])
    table = pa.table({"path": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000), one), "label": ["a"] * 100_000})
    parquet.write_table(table, root / "bomb.parquet")
    assert (root / "bomb.parquet").stat().st_size < 2_000_000
    with pytest.raises(
        InputError, match="paths must be file names of at most 4096"
    ):  # 100 GB of text, were it unpacked
        load(root / "bomb.parquet")
    monkeypatch.setattr(table_files, "MAX_CELLS", 150_000)
    with pytest.raises(InputError, match=r"at most 150000 values .* got 100000 rows of 2"):
        load(root / "bomb.parquet")


@pytest.mark.parametrize("place", ["", "missing.csv", "/dev/null", "/proc/self/status", "n" * 300 + ".csv", "a\nb.csv"])
def test_load_table_refuses_places_that_hold_no_table(root, place):
    os.mkfifo(root / "pipe.csv")
    for path in (root / place, root / "pipe.csv"):
        with pytest.raises(InputError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_load_table_refuses_a_single_split(root, split):
    with pytest.raises(InputError, match=f"train and at least one of val and test, got {split} in .*seeded split"):
        load(write(root / "list.csv", ten_rows(split=split)))


def test_load_table_follows_a_link_to_where_it_stands(root, tmp_path):
    write(tmp_path / "store" / "blob.csv", ten_rows())
    (root / "list.csv").symlink_to(tmp_path / "store" / "blob.csv")
    (root / "0.png").rename(tmp_path / "store" / "0")
    (root / "0.png").symlink_to(tmp_path / "store" / "0")
    assert sizes(load(root / "list.csv")) == {"train": 8, "test": 2}


def test_a_path_to_a_table_is_hinted_at(root):
    path = write(root / "list.csv", ten_rows())
    with pytest.raises(InputError, match=f"table:FILE.*write table:{path}"):
        load_dataset(str(path), data_dir=root)
