"""Groups that no draw parts: what makes them, how they are drawn, and what splits that are given share."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from PIL import Image
from sample_images import pixels, write_classes, write_image

from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.crossings import contradictions, copies_across, groups_across
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit, build_dataset, regrouped
from resnet_mlflow.data.folds import draw_folds
from resnet_mlflow.data.group_draws import GroupTable, draw_groups
from resnet_mlflow.data.group_numbers import number_groups
from resnet_mlflow.data.splits import draw_shots, split_validation
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import FeatureSet, FeatureSplit, partition
from resnet_mlflow.longtail.profiles import draw_long_tail


def test_number_groups_joins_by_way_of_others():
    ids = np.array(["a", "b", "c", "a", "d"])
    patients = np.array(["", "1", "2", "1", ""])
    assert number_groups(ids, patients).tolist() == [0, 0, 1, 0, 2]  # the first is a copy of one of patient 1
    assert number_groups(ids).tolist() == [0, 1, 2, 0, 3]


@st.composite
def datasets(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, content and what groups have in common: copies, groups over classes, groups over copies."""
    n_items, n_classes = draw(st.integers(30, 150)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    contents = rng.integers(0, int(n_items * draw(st.floats(0.7, 5))), n_items)
    n_keys = int(n_items * draw(st.floats(0.3, 1)))
    keys = (rng.random(n_items) ** draw(st.floats(1, 3)) * n_keys).astype(int)  # some groups are large
    labels = keys % n_classes if draw(st.booleans()) else rng.integers(0, n_classes, n_items)
    texts = np.where(rng.random(n_items) < draw(st.floats(0, 1)), "", np.char.add("p", keys.astype(str)))
    return labels, np.char.mod("%032d", contents), texts


def dataset_of(labels: np.ndarray, ids: np.ndarray, keys: np.ndarray) -> ImageDataset:
    split = ImageSplit(labels, ids, images=np.zeros((len(labels), 1, 1), dtype=np.uint8))
    names = [str(label) for label in range(labels.max() + 1)]
    dataset = build_dataset(name="x", class_names=names, splits={"all": split}, default_image_size=32, source="x")
    return regrouped(dataset, number_groups(ids, keys), [])


def divided(dataset: ImageDataset, seed: int) -> dict[str, FeatureSplit]:
    """Return train, validation, what calibrates, test, a few-shot sample and a long-tail subset."""
    splits = {
        name: FeatureSplit(np.zeros((len(one), 1), np.float32), one.labels, one.item_ids, one.groups)
        for name, one in dataset.splits.items()
    }
    features = FeatureSet("k", splits, {"class_names": dataset.class_names})
    parts = partition(features, 0.25, seed)
    train = parts["train"]
    balanced = train.select(draw_shots(train.labels, int(np.bincount(train.labels).min()), seed, groups=train.groups))
    tail = draw_long_tail(balanced.labels, "exp", 2 if len(balanced) > 8 else 1, groups=balanced.groups)
    parts |= {"few": partition(features, 0.25, seed, shots=1)["train"], "tail": balanced.select(tail)}
    try:
        apart = partition(features, 0.25, seed, calibration_fraction=0.5)
    except InputError:  # where a class has one group in validation
        return parts
    return parts | {"calibration": apart["calibration"], "selection": apart["val"]}


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(drawn=datasets(), seed=st.integers(0, 2**31 - 1))
def test_no_group_and_no_content_crosses_splits(drawn, seed):
    labels, ids, keys = drawn
    try:
        parts = divided(dataset_of(labels, ids, keys), seed)
    except InputError:
        # Refused are only classes of few groups.
        assert GroupTable.of(labels, number_groups(ids, keys)).groups_per_class().min() < 4
        reject()
    keys_of: dict[str, set[str]] = {}
    for item_id, key in zip(ids.tolist(), keys.tolist(), strict=True):
        keys_of.setdefault(item_id, {item_id}).add(key)
    seen = {name: set().union(*map(keys_of.get, part.item_ids.tolist())) - {""} for name, part in parts.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert seen[one].isdisjoint(seen[other])
    if "calibration" in parts:
        assert seen["calibration"].isdisjoint(seen["selection"])
        assert seen["calibration"] | seen["selection"] == seen["val"]
    for part in ("few", "tail"):
        assert seen[part] <= seen["train"]
        assert len(set(parts[part].labels)) == labels.max() + 1


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(drawn=datasets(), folds=st.integers(2, 4), seed=st.integers(0, 2**31 - 1))
def test_no_group_and_no_content_lies_in_two_folds(drawn, folds, seed):
    labels, ids, keys = drawn
    groups = number_groups(ids, keys)
    try:
        fold_of = draw_folds(labels, folds, seed, groups=groups)
    except InputError:
        # Refused are only classes of few groups.
        assert GroupTable.of(labels, groups).groups_per_class().min() < 2 * folds
        reject()
    for values in (ids, keys[keys != ""]):
        held = fold_of if values is ids else fold_of[keys != ""]
        assert all(len(set(held[values == value])) == 1 for value in set(values))


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31 - 1),
)
def test_groups_of_one_item_each_are_drawn_as_items_are(counts, fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val = split_validation(labels, fraction, seed)
    table = GroupTable.of(labels, np.arange(len(labels))[::-1])
    assert np.flatnonzero(draw_groups(table, np.bincount(labels[val]), seed)).tolist() == val.tolist()
    for shots in (1, 2):
        by_groups = draw_shots(labels, shots, seed, groups=np.arange(len(labels)))
        assert by_groups.tolist() == draw_shots(labels, shots, seed).tolist()
    assert len(train) + len(val) == len(labels)


def test_split_validation_is_as_balanced_as_groups_allow():
    # Ten patients of four images of one class each, and ten of two images of either.
    labels = np.concatenate([np.repeat([0, 1], 20), np.tile([0, 1], 20)])
    groups = np.concatenate([np.repeat(np.arange(10), 4), np.repeat(np.arange(10, 20), 4)])
    for seed in range(20):
        train, val = split_validation(labels, 0.2, seed, groups=groups)
        assert set(groups[train]).isdisjoint(groups[val])
        assert np.bincount(labels[val]).tolist() == [8, 8]


def test_split_validation_differs_by_seed_with_groups():
    labels, groups = np.repeat([0, 1], 40), np.repeat(np.arange(20), 4)
    drawn = {tuple(np.unique(groups[split_validation(labels, 0.2, seed, groups=groups)[1]])) for seed in range(8)}
    assert len(drawn) > 4


def test_split_validation_moves_few_items_for_a_pair_of_copies():
    labels = np.repeat([0, 1], 500)
    groups = np.arange(1000)
    groups[7] = groups[3]
    before, after = (set(split_validation(labels, 0.2, 0, groups=one)[1]) for one in (None, groups))
    assert len(before ^ after) <= 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 0, 0, 1, 2, 3], "at least 2 groups to split .copies are one group., got 1 for 3 images of class 'crow'"),
        ([0, 1, 2, 0, 1, 2], None),
        # Each class lies in two of three groups: whichever one validates, a class is on one side.
        ([0, 0, 1, 1, 0, 1], None),
    ],
)
def test_split_validation_refuses_groups_that_make_a_class_vanish(groups, message):
    labels = np.array([0, 0, 0, 1, 1, 1])
    if message is None:
        train, val = split_validation(labels, 0.3, 0, ["crow", "owl"], np.array(groups))
        assert set(labels[train]) == set(labels[val]) == {0, 1}
        return
    with pytest.raises(InputError, match=message):
        split_validation(labels, 0.3, 0, ["crow", "owl"], np.array(groups))


def test_split_validation_refuses_an_odd_circle_of_groups():
    labels, groups = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    with pytest.raises(
        InputError, match="every class must have groups on both sides of a split, got 3 groups of 3 classes"
    ):
        split_validation(labels, 0.3, 0, groups=groups)


def test_draw_shots_takes_another_group_before_a_second_of_one():
    labels, groups = np.repeat([0, 1], 12), np.repeat(np.arange(8), 3)
    for seed in range(10):
        rows = draw_shots(labels, 4, seed, groups=groups)
        assert sorted(groups[rows]) == list(range(8))
        assert set(rows) < set(draw_shots(labels, 7, seed, groups=groups))


def test_draw_long_tail_makes_no_tail_of_copies():
    labels, groups = np.repeat([0, 1], 20), np.arange(40)
    groups[20:30] = groups[20]
    rows = draw_long_tail(labels, "exp", 4, groups=groups)
    tail = groups[rows[labels[rows] == 1]]
    assert len(tail) == len(set(tail)) == 5


def patients(root: Path, split: str = "") -> Path:
    """Write 12 patients of two images of each class."""
    for number in range(48):
        name, label = f"patient_{number // 4}_{number % 4}.png", ("crow", "owl")[number % 2]
        write_image(root / split / label / name, number + 1000 * len(split))
    return root


def groups_of(dataset: ImageDataset) -> dict[str, set[int]]:
    return {name: set(split.groups.tolist()) for name, split in dataset.splits.items()}


def test_load_dataset_groups_by_a_pattern_on_paths(tmp_path, caplog):
    caplog.set_level("INFO")
    dataset = load_dataset(f"folder:{patients(tmp_path / 'x')}", data_dir=tmp_path, group_by=r"patient_(\d+)")
    train, test = groups_of(dataset).values()
    assert train.isdisjoint(test)
    assert len(train | test) == dataset.n_groups == 12
    assert "48 images in 12 groups by 'patient_(\\\\d+)'" in caplog.text
    assert {dataset.group_names[number] for number in train | test} == {str(number) for number in range(12)}
    # 20 % of 24 images of a class are 5, which groups of 2 cannot be.
    assert dataset.class_counts("test") == {"crow": 4, "owl": 4}


def test_load_dataset_groups_by_a_column(tmp_path):
    patients(tmp_path / "x")
    with (tmp_path / "x" / "list.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "Patient"])
        for path in sorted((tmp_path / "x").glob("*/*.png")):
            number = int(path.stem.split("_")[1])
            writer.writerow([path.relative_to(tmp_path / "x"), path.parent.name, "" if number > 9 else number // 2])
    dataset = load_dataset(f"table:{tmp_path / 'x' / 'list.csv'}", data_dir=tmp_path, group_by="patient")
    train, test = groups_of(dataset).values()
    assert train.isdisjoint(test)
    assert dataset.n_groups == 5 + 8  # rows without a patient are groups of their own


def test_load_dataset_groups_by_bursts(tmp_path):
    for number in range(24):
        exif = Image.Exif()
        exif[0x0110] = "camera 1"
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 10:{number // 4:02d}:{number:02d}"
        path = tmp_path / "x" / ("crow", "owl")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path, exif=exif)
    dataset = load_dataset(f"folder:{tmp_path / 'x'}", data_dir=tmp_path, group_by="exif_burst")
    assert dataset.n_groups == 6
    assert dataset.group_names[0].startswith("camera 1 2024:05:01 10:0")
    train, test = groups_of(dataset).values()
    assert train.isdisjoint(test)


def test_load_dataset_leaves_images_alone_of_which_no_group_of_a_pattern_matches(tmp_path):
    root = write_classes(patients(tmp_path / "x"), {"crow": 3, "owl": 3}, first_seed=500)
    pattern = r"(?:patient_(\d)_|patient_(1\d)_)?\d+\.png"
    dataset = load_dataset(f"folder:{root}", data_dir=tmp_path, group_by=pattern)
    assert dataset.n_groups == 12 + 6


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("patiend_(", r"a column, exif_burst or a regular expression, got 'patiend_\(' \(missing \)"),
        (
            "patiend",
            "match at least one image, got 'patiend', which is not a column and matches no path, such as 'crow/pat",
        ),
        ("exif_burts", "did you mean 'exif_burst'"),
        ("exif_burst", "has its time in the EXIF data"),
        (
            "patient",
            r"divide the images, got 'patient', which puts all 48 images of folder:.* in one group \('patient'\)",
        ),
        ("crow|owl", "at least 3 groups to split .copies are one group., got 1 for 24 images of class 'crow'"),
    ],
)
def test_load_dataset_refuses_groups_in_one_line(tmp_path, group_by, message):
    patients(tmp_path / "x")
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(f"folder:{tmp_path / 'x'}", data_dir=tmp_path, group_by=group_by)
    assert "\n" not in str(caught.value)


def test_load_dataset_refuses_groups_of_arrays(tmp_path):
    with pytest.raises(InputError, match="needs images in files, or a table, got 'x' for digits; leave it out"):
        load_dataset("digits", data_dir=tmp_path, group_by="x")


def test_load_dataset_draws_copies_to_one_side(tmp_path):
    root = write_classes(tmp_path / "x", {"crow": 10, "owl": 10})
    for number in range(10):
        (root / "crow" / f"copy{number}.png").write_bytes((root / "crow" / f"{number:03d}.png").read_bytes())
    dataset = load_dataset(f"folder:{root}", data_dir=tmp_path)
    assert dataset.n_duplicates_across_splits == {}
    assert dataset.class_counts("test") == {"crow": 4, "owl": 2}
    assert (dataset.n_groups, dataset.has_groups) == (20, True)


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Splits that share a patient, and two pictures; one of them is called crow and owl."""
    root = tmp_path / "leaking"
    for split, first in (("train", 0), ("test", 11)):
        for number in range(48):
            name, label = f"patient_{first + number // 4}_{number % 4}.png", ("crow", "owl")[number % 2]
            write_image(root / split / label / name, number + 100 * first)
    for label in ("crow", "owl"):
        copy = root / "test" / label / "copy.png"
        copy.write_bytes((root / "train" / "crow" / "patient_0_0.png").read_bytes())
    return root


def test_given_splits_are_kept_counted_and_listed(leaking, tmp_path, caplog):
    dataset = load_dataset(f"folder:{leaking}", data_dir=tmp_path, group_by=r"patient_(\d+)")
    assert dataset.n_duplicates_across_splits == {"train/test": 2}
    # Patient 11 with 4 images, and the two copies of a picture of patient 0.
    assert dataset.n_groups_across_splits == {"train/test": 6}
    assert copies_across(dataset)["path"] == [
        "train/crow/patient_0_0.png",
        "test/crow/copy.png",
        "test/owl/copy.png",
    ]
    listed = groups_across(dataset)
    assert set(listed["group"]) == {"0", "11"}
    assert len(listed["path"]) == 4 + 2 + 4 + 4
    assert contradictions(dataset)["label"] == ["crow", "crow", "owl"]
    assert caplog.text.count("2 test images are also in train; duplicates=drop_from_train removes them") == 1
    assert "6 test images belong to groups that are also in train; crossing_groups=drop_from_train" in caplog.text
    assert "the same content under different labels, such as train/crow/patient_0_0.png (crow)" in caplog.text


def test_given_splits_lose_on_request_what_they_share(leaking, tmp_path, caplog):
    name, options = f"folder:{leaking}", {"data_dir": tmp_path, "group_by": r"patient_(\d+)"}
    kept = load_dataset(name, **options)
    without_copies = load_dataset(name, **options, duplicates="drop_from_train")
    without_groups = load_dataset(name, **options, crossing_groups="drop_from_train")
    assert [len(one.splits["train"]) for one in (kept, without_copies, without_groups)] == [48, 47, 40]
    assert {len(one.splits["test"]) for one in (kept, without_copies, without_groups)} == {50}
    assert without_copies.n_left_out == {"train": 1}
    assert without_copies.n_duplicates_across_splits == without_groups.n_groups_across_splits == {}
    assert len({one.digest for one in (kept, without_copies, without_groups)}) == 3
    assert copies_across(without_copies) == copies_across(kept)
    assert "8 train images that are also in held-out splits are left out" in caplog.text


def test_leaving_out_refuses_to_empty_a_class(birds, tmp_path):
    for path in (birds / "train" / "owl").iterdir():
        (birds / "test" / "owl" / f"copy{path.name}").write_bytes(path.read_bytes())
    message = "duplicates=drop_from_train must leave training images in every class: every class must have at least 2"
    with pytest.raises(InputError, match=message):
        load_dataset(f"folder:{birds}", data_dir=tmp_path, duplicates="drop_from_train")
