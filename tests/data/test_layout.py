"""Folders as others lay them out: splits under other names, one level down, beside clutter, or without labels."""

from pathlib import Path

import pytest
from sample_images import write_classes, write_image

from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.folder import find_images, load_folder
from resnet_mlflow.data.split_names import read_split_name
from resnet_mlflow.errors import InputError

BIRDS = {"crow": 3, "owl": 3}


def load(root: Path) -> ImageDataset:
    return load_folder(f"folder:{root}", data_dir=root.parent / "cache")


def write_splits(root: Path, *names: str, counts: dict[str, int] = BIRDS) -> Path:
    for number, name in enumerate(names):
        write_classes(root / name, counts, first_seed=100 * number)
    return root


def read_as(dataset: ImageDataset) -> dict[str, int]:
    """The number of the folder that each split was read from, by the images that ``write_splits`` put there."""
    assert dataset.class_names == ("crow", "owl")
    assert all(len(split) == 6 for split in dataset.splits.values())
    paths = {name: split.paths for name, split in dataset.splits.items()}
    return {name: str(found[0]) for name, found in paths.items() if found}


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train-images", "test-images"),
        ("birds.train", "birds.test"),
        ("TrainData", "TestData"),
        ("trainset", "testset"),
        ("traindata", "testdata"),
        ("Trainingsdaten", "Testdaten"),
        ("1_train", "2_test"),
        ("train2017", "test2017"),
        ("train 80", "test 20"),
        ("X_train", "X_test"),
        ("imagesTr", "imagesTs"),
        ("tr", "te"),
        ("train", "Testing Set"),
        ("train", "hold-out"),
        ("train", "dev"),
        ("trainval", "test"),
        ("train+val", "test"),
        ("training", "evaluation"),
        ("my train data (final)", "my test data (final)"),
    ],
)
def test_two_folders_named_like_splits_are_train_and_test(tmp_path, names):
    root = write_splits(tmp_path / "birds", *names)
    read = read_as(load(root))
    assert read == {"train": f"{root / names[0]}/crow/000.png", "test": f"{root / names[1]}/crow/000.png"}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "dev", "test"),
        ("training", "validation", "evaluation"),
        ("Train", "Valid", "Test"),
        ("train", "evaluation", "test"),
        ("trainset", "valset", "testset"),
        ("set_training", "set_development", "set_testing"),
        ("train", "val", "held_out"),
        ("train_images", "val_images", "test"),
        ("Train", "CrossValidation", "Test"),
    ],
)
def test_three_folders_named_like_splits_are_train_val_and_test(tmp_path, names):
    root = write_splits(tmp_path / "birds", *names)
    read = read_as(load(root))
    assert list(read) == ["train", "val", "test"]
    assert list(read.values()) == [f"{root / name}/crow/000.png" for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("valid", "invalid"),
        ("train", "bus"),
        ("trainer", "tester"),
        ("test", "flight"),
        ("bullet_train", "crash_test"),
        ("train", "test_tube"),
        ("strain", "contest"),
        ("valley", "terrain"),
        ("untrained", "trained"),
    ],
)
def test_classes_are_no_splits_for_their_names(tmp_path, names):
    root = write_classes(tmp_path / "x", dict.fromkeys(names, 3))
    assert load(root).class_names == tuple(sorted(names))


def test_a_name_of_two_splits_is_none():
    assert read_split_name("train_test") is None
    assert read_split_name("crow") is None


def test_other_folders_beside_the_splits_are_reported(tmp_path, caplog):
    root = write_splits(tmp_path / "birds", "Training", "Test", "Test-multiple", "drafts")
    assert list(read_as(load(root))) == ["train", "test"]
    assert "folders next to the splits are not read: Test-multiple, drafts" in caplog.text


def refused(root: Path, name: str = "") -> str:
    with pytest.raises(InputError) as caught:
        load(root / name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "names", [("train", "Train", "test"), ("train", "val", "valid", "test"), ("trainA", "testA", "trainB", "testB")]
)
def test_several_folders_for_one_split_are_refused(tmp_path, names):
    root = write_splits(tmp_path / "birds", *names)
    assert "each split must be one folder, got " in refused(root)


@pytest.mark.parametrize(
    "names", [("2019", "2020"), ("A", "B"), ("day", "night", "dusk"), ("treino", "teste"), ("train", "other")]
)
def test_folders_that_hold_the_same_folders_are_refused_with_a_hint(tmp_path, names):
    root = write_splits(tmp_path / "birds", *names)
    message = refused(root)
    assert "classes must not contain the same subfolders as each other, as splits do, got 'crow', 'owl' in" in message
    assert f"call the splits train, val and test, or pass one of them, folder:{root / sorted(names)[0]}" in message
    assert load(root / names[0]).class_names == ("crow", "owl")


def test_folders_that_hold_nearly_the_same_folders_are_refused(tmp_path):
    write_classes(tmp_path / "x" / "A", {"crow": 3, "owl": 3, "wren": 3})
    write_classes(tmp_path / "x" / "B", {"crow": 3, "owl": 3}, first_seed=50)
    assert "as splits do" in refused(tmp_path / "x")


def test_classes_may_hold_folders(tmp_path):
    for number, place in enumerate(("crow/images", "owl/images", "tit/young", "tit/old", "wren/2020")):
        write_classes(tmp_path / "x", {place: 3}, first_seed=number * 10)
    assert load(tmp_path / "x").class_names == ("crow", "owl", "tit", "wren")


def test_classes_that_hold_splits_are_refused_with_a_hint(tmp_path):
    for number, bird in enumerate(("crow", "owl")):
        write_classes(tmp_path / "x" / bird, {"train": 3, "test": 3}, first_seed=number * 10)
    assert "such as crow/train, in" in (message := refused(tmp_path / "x"))
    assert "swap them (train/crow)" in message


@pytest.mark.parametrize("inner", ["birds", "archive", "archive/birds", "training_data"])
def test_splits_below_a_lone_folder_are_found(tmp_path, inner, caplog):
    root = write_splits(tmp_path / "birds" / inner, "train", "test")
    (tmp_path / "birds" / "__MACOSX" / "birds").mkdir(parents=True)
    (tmp_path / "birds" / "readme.txt").write_text("unpacked")
    dataset = load(tmp_path / "birds")
    assert list(read_as(dataset)) == ["train", "test"]
    assert dataset.short_name == "birds"
    assert dataset.digest == load(root).digest
    assert f"the dataset is read from its subfolder {inner}" in caplog.text


def test_classes_below_a_lone_folder_of_the_same_name_are_found(tmp_path):
    write_classes(tmp_path / "birds" / "Birds", BIRDS)
    assert load(tmp_path / "birds").class_names == ("crow", "owl")


def test_classes_below_a_lone_folder_of_another_name_are_named(tmp_path):
    write_classes(tmp_path / "birds" / "images", BIRDS)
    assert f"pass folder:{tmp_path / 'birds' / 'images'} if these are the classes" in refused(tmp_path / "birds")


def test_splits_one_level_down_among_others_are_named(tmp_path):
    write_splits(tmp_path / "data" / "birds", "train", "test")
    write_splits(tmp_path / "data" / "fish", "train", "test")
    (tmp_path / "data" / "docs").mkdir()
    assert f"splits one level down, in 'birds' of {tmp_path / 'data'}; name folder:" in refused(tmp_path / "data")


@pytest.mark.parametrize(
    "names",
    [("train/train", "test/test"), ("seg_train/seg_train", "seg_test/seg_test"), ("train/images", "test/images")],
)
def test_classes_one_level_below_the_splits_are_found(tmp_path, names):
    root = write_splits(tmp_path / "birds", *names)
    assert read_as(load(root)) == {
        split: f"{root / name}/crow/000.png" for split, name in zip(("train", "test"), names, strict=True)
    }


@pytest.mark.parametrize("place", ["test/x.png", "test/unknown/x.png", "test/test/x.png"])
def test_unlabelled_images_point_to_predict(tmp_path, place):
    root = write_splits(tmp_path / "birds", "train")
    write_image(root / place, seed=500)
    message = refused(root)
    assert f"move images without labels out of the dataset and pass them to predict (images={root / 'test'})" in message
    assert len(find_images(root / "test")) == 1


def test_images_beside_class_folders_are_reported(tmp_path, caplog):
    root = write_splits(tmp_path / "birds", "train", "test")
    write_image(root / "test" / "stray.png", seed=500)
    assert len(load(root).splits["test"]) == 6
    assert f"{root / 'test'}: images next to the class folders are not read" in caplog.text


CLUTTER = (
    "@eaDir", "lost+found", "#recycle", "#snapshot", ".thumbnails", "$RECYCLE.BIN", "System Volume Information",
    "__MACOSX", ".@__thumb", "@Recycle", "@Recently-Snapshot", "@tmp", ".Trash-1000", ".ipynb_checkpoints",
    "Network Trash Folder", "found.000", "~snapshot", "@__thumb",
)  # fmt: skip


@pytest.mark.parametrize("clutter", CLUTTER)
def test_clutter_is_no_class_no_split_and_no_image(tmp_path, clutter):
    splits = write_splits(tmp_path / "splits", "train", "test")
    classes = write_classes(tmp_path / "classes", BIRDS)
    digests = load(splits).digest, load(classes).digest
    for root in (splits, classes, splits / "train", classes / "crow", splits / "test" / "owl"):
        write_image(root / clutter / "crow" / "SYNOPHOTO_THUMB_XL.jpg", seed=700)
        write_image(root / clutter / "x.png", seed=701)
    write_image(classes / "owl" / "SYNOPHOTO_THUMB_M.jpg", seed=702)
    (classes / "owl" / "Thumbs.db").write_bytes(b"x")
    (classes / "owl" / "ehthumbs.db").write_bytes(b"x")
    assert (load(splits).digest, load(classes).digest) == digests
    assert len(find_images(classes)) == 6


def test_a_lone_folder_with_a_link_back_ends(tmp_path):
    (tmp_path / "x" / "crow").mkdir(parents=True)
    (tmp_path / "x" / "crow" / "up").symlink_to("..")
    assert "must contain images in class folders, got none" in refused(tmp_path / "x")


def test_a_folder_of_loose_images_points_to_its_table(tmp_path):
    write_image(tmp_path / "x" / "a.png")
    assert "images without labels; list the labels in a table (table:FILE), or use predict" in refused(tmp_path / "x")
    (tmp_path / "x" / "metadata.csv").write_text("file_name,label\na.png,crow\n")
    assert f"pass table:{tmp_path / 'x' / 'metadata.csv'}" in refused(tmp_path / "x")
