import os
from pathlib import Path

import pytest
from sample_images import write_classes, write_image

from resnet_mlflow.data import files
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.folder import load_folder
from resnet_mlflow.data.manifest import read_manifest, write_manifest
from resnet_mlflow.errors import InputError


def load(root: Path, **options: str) -> ImageDataset:
    return load_folder(f"folder:{root}", data_dir=root.parent / "cache", **options)


def sizes(dataset: ImageDataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_load_folder_with_train_and_test(birds):
    dataset = load(birds)
    assert sizes(dataset) == {"train": 8, "test": 4}
    assert dataset.class_names == ("crow", "owl")
    assert dataset.class_counts("train") == {"crow": 4, "owl": 4}
    assert (dataset.name, dataset.short_name, dataset.source) == (f"folder:{birds}", "birds", str(birds))
    assert dataset.splits["train"].labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("val_name", ["val", "valid", "Validation"])
def test_load_folder_with_train_val_and_test(birds, val_name):
    write_classes(birds / val_name, {"crow": 1, "owl": 1}, first_seed=50)
    assert sizes(load(birds)) == {"train": 8, "val": 2, "test": 4}


def test_load_folder_with_train_and_val_tests_on_val(birds, caplog):
    (birds / "test").rename(birds / "val")
    assert sizes(load(birds)) == {"train": 8, "test": 4}
    assert "val is the test split" in caplog.text


def test_load_folder_with_classes_only_gets_a_fixed_stratified_test_split(tmp_path):
    root = write_classes(tmp_path / "birds", {"crow": 10, "owl": 5})
    dataset = load(root)
    assert dataset.class_counts("test") == {"crow": 2, "owl": 1}
    assert sizes(dataset) == {"train": 12, "test": 3}
    assert dataset.digest == load(root).digest


def test_load_folder_takes_a_class_called_test(tmp_path):
    root = write_classes(tmp_path / "rockets", {"test": 5, "flight": 5})
    assert load(root).class_names == ("flight", "test")


def test_load_folder_ignores_hidden_files_and_reads_nested_ones(birds, caplog):
    digest = load(birds).digest
    for clutter in (".DS_Store", "train/.hidden/x.png", "train/crow/._000.png", "train/crow/Thumbs.db", "__MACOSX/a"):
        (birds / clutter).parent.mkdir(parents=True, exist_ok=True)
        (birds / clutter).write_text("clutter")
    (birds / "train" / "crow" / "notes.txt").write_text("a list")
    assert load(birds).digest == digest
    assert "not read: 1 .txt" in caplog.text
    write_image(birds / "train" / "crow" / "deep" / "er" / "x.jpeg", seed=77)
    assert sizes(load(birds))["train"] == 9


def test_load_folder_digest_is_that_of_the_content(birds, tmp_path):
    digest = load(birds).digest
    moved = birds.rename(tmp_path / "other")
    (moved / "train" / "crow" / "000.png").rename(moved / "train" / "crow" / "zzz.png")
    assert load(moved).digest == digest
    write_image(moved / "train" / "crow" / "zzz.png", seed=9)
    assert load(moved).digest != digest


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is no image")


@pytest.mark.parametrize(("spoil", "reason"), [(empty, "the file is empty"), (text, "not those of an image")])
def test_load_folder_names_a_bad_file_or_skips_it(birds, spoil, reason, caplog):
    bad = birds / "train" / "owl" / "x.jpg"
    spoil(bad)
    for _ in range(2):  # the second time good files come from the manifest
        with pytest.raises(BadImageError, match=f"{bad} .*{reason}"):
            load(birds)
    dataset = load(birds, on_bad_image="skip")
    assert sizes(dataset) == {"train": 8, "test": 4}
    assert dataset.skipped_paths == (bad,)
    assert dataset.n_skipped == 1
    assert f"skipped: {bad}" in caplog.text


def manifest_of(root: Path) -> Path:
    (path,) = (root.parent / "cache" / ".manifests").iterdir()
    return path


def test_load_folder_remembers_hashes_of_unchanged_files(birds):
    digest = load(birds).digest
    remembered = read_manifest(manifest_of(birds))
    assert len(remembered.paths) == 12
    # A hash that only the manifest can know shows that the files are not read again.
    first = str(birds / "train" / "crow" / "000.png")
    remembered.ids[remembered.rows_of([first])] = "f" * 32
    write_manifest(manifest_of(birds), remembered)
    assert load(birds).splits["train"].item_ids[0] == "f" * 32
    os.utime(first, ns=(1, 1))
    assert load(birds).digest == digest


def swap(first: Path, second: Path) -> None:
    beside = first.with_suffix(".beside")
    first.rename(beside)
    second.rename(first)
    beside.rename(second)


def swap_bytes(first: Path, second: Path) -> None:
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


@pytest.mark.parametrize("exchange", [swap, swap_bytes])
def test_load_folder_notices_files_of_equal_size_and_time_that_change_places(tmp_path, exchange):
    root = write_classes(tmp_path / "birds", {"crow": 4, "owl": 4}, suffix=".bmp")
    for path in root.rglob("*.bmp"):
        os.utime(path, ns=(1, 1))
    first, second = root / "crow" / "000.bmp", root / "owl" / "000.bmp"
    before = load(root)
    exchange(first, second)
    for path in (first, second):
        os.utime(path, ns=(1, 1))
    after = load(root)
    assert before.digest != after.digest
    assert after.digest == load_folder(f"folder:{root}", data_dir=tmp_path / "fresh").digest


def test_load_folder_compares_bytes_where_stamps_say_nothing(birds, monkeypatch):
    # Some file systems have neither inodes nor times of change that last.
    monkeypatch.setattr(files, "_stamp", lambda path: (0, 1, 0, 0))
    digest = load(birds).digest
    assert load(birds).digest == digest
    swap(birds / "train" / "crow" / "000.png", birds / "train" / "owl" / "000.png")
    assert load(birds).digest != digest


def test_load_folder_removes_the_manifests_of_earlier_versions(birds, caplog):
    digest = load(birds).digest
    manifest = manifest_of(birds)
    manifest.with_suffix(".json").write_text("{}")
    manifest.unlink()
    assert load(birds).digest == digest
    assert not caplog.text
    assert manifest_of(birds) == manifest


def test_bytes_of_some_files_of_a_large_folder_are_compared(birds, monkeypatch):
    monkeypatch.setattr(files, "_FILES_SAMPLED", 3)
    digest = load(birds).digest
    sampled = []
    monkeypatch.setattr(files, "_sample_of_file", lambda path, size: sampled.append(path) or -1)
    assert load(birds).digest == digest, "those are read anew"
    assert len(sampled) == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_load_folder_refuses_or_skips_images_over_the_limit(tmp_path, suffix):
    root = write_classes(tmp_path / "birds", {"crow": 5, "owl": 5}, suffix=suffix)
    large = write_image(root / "owl" / f"large{suffix}", seed=70, height=40, width=50)
    whole = load(root)
    for _ in range(2):  # the second time sizes come from the manifest
        with pytest.raises(BadImageError, match=f"{large} .50 x 40 pixels exceed max_pixels=1999; shrink"):
            load(root, max_pixels=1999)
    small = load(root, max_pixels=1999, on_bad_image="skip")
    assert small.skipped_paths == (large,)
    assert small.splits["train"].max_pixels == 1999
    assert load(root, max_pixels=2000).digest == whole.digest != small.digest


def test_hashes_are_the_same_in_threads_and_without(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "birds", {"crow": 40, "owl": 30})
    (root / "owl" / "010.png").write_bytes(b"")
    found = {}
    for limit in (0, 2**40):
        monkeypatch.setattr(files, "_LARGE", limit)
        found[limit] = load_folder(f"folder:{root}", data_dir=tmp_path / str(limit), on_bad_image="skip")
    assert found[0].digest == found[2**40].digest
    assert found[0].skipped_paths == found[2**40].skipped_paths == (root / "owl" / "010.png",)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}', '{"a": []}'])
def test_load_folder_survives_a_damaged_manifest(birds, damage, caplog):
    digest = load(birds).digest
    manifest_of(birds).write_text(damage)
    assert load(birds).digest == digest
    assert "damaged" in caplog.text
    assert len(read_manifest(manifest_of(birds)).paths) == 12


def test_load_folder_works_where_nothing_can_be_written(birds, caplog):
    (birds.parent / "cache").write_text("a file where the folder should be")
    assert sizes(load(birds)) == {"train": 8, "test": 4}
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(("side", "expected"), [(28, 64), (32, 64), (40, 64), (41, 224), (300, 224)])
def test_load_folder_default_image_size_follows_the_shorter_side(tmp_path, side, expected):
    for label in ("a", "b"):
        for index in range(3):
            write_image(tmp_path / "x" / label / f"{index}.png", index, height=side + 10, width=side)
    assert load(tmp_path / "x").default_image_size == expected


def missing(root: Path) -> None: ...


def hollow(root: Path) -> None:
    root.mkdir()


def loose_images(root: Path) -> None:
    write_image(root / "a.png")


def empty_classes(root: Path) -> None:
    (root / "crow").mkdir(parents=True)
    (root / "owl").mkdir()


def no_classes_in_splits(root: Path) -> None:
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()


def one_image(root: Path) -> None:
    write_classes(root, {"crow": 5, "owl": 1})


def two_images(root: Path) -> None:
    write_classes(root, {"crow": 5, "owl": 2})


def one_image_in_train(root: Path) -> None:
    write_classes(root / "train", {"crow": 5, "owl": 1})
    write_classes(root / "test", {"crow": 1, "owl": 1})


def fewer_images_than_classes(root: Path) -> None:
    write_classes(root, {"crow": 1, "owl": 1, "wren": 0})


def differing_classes(root: Path) -> None:
    write_classes(root / "train", {"crow": 2, "owl": 2})
    write_classes(root / "test", {"crow": 2, "wren": 2})


def train_alone(root: Path) -> None:
    write_classes(root / "train", {"crow": 2, "owl": 2})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "folder must exist"),
        (hollow, "one folder per class, got none"),
        (loose_images, "one folder per class, got none"),
        (empty_classes, "must contain images in class folders, got none"),
        (no_classes_in_splits, "each split must contain one folder per class"),
        (one_image, "at least 2 images to split, got 1 in class 'owl'"),
        (two_images, "at least 3 images where one is to test and one to validate, got 2 in class 'owl'"),
        (one_image_in_train, "at least 2 images to train on, got 1 in class 'owl'"),
        (fewer_images_than_classes, "at least as many images as classes to split, got 2 for 3"),
        (differing_classes, "same classes, got 'owl', 'wren' in only one of train and test"),
        (train_alone, "must have a test or val folder next to it.*pass folder:.*train for a seeded split"),
    ],
)
def test_load_folder_refuses_in_one_line(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "x")
    assert "\n" not in str(caught.value)
