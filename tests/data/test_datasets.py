import subprocess
import sys

import numpy as np
import pytest
from sample_images import write_classes, write_image

from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageSplit, build_dataset, dataset_digest, split_of_arrays
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.errors import InputError


def small_split(labels: list[int], first: int = 0) -> ImageSplit:
    images = np.arange(first, first + len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), dtype=np.uint8)
    return split_of_arrays(images, labels)


def test_load_dataset_digits_is_complete_and_stratified(tmp_path):
    dataset = load_dataset("digits", data_dir=tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 1438, "test": 359}
    assert dataset.class_names == tuple("0123456789")
    assert set(dataset.class_counts("test").values()) <= {35, 36, 37}
    assert dataset.splits["train"].images.max() == 255
    assert dataset.default_image_size == 32
    assert dataset.digest == load_dataset("digits", data_dir=tmp_path).digest


def test_load_dataset_digits_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from resnet_mlflow.data.catalogue import load_dataset; "
        "load_dataset('digits', data_dir=Path('.')); import resnet_mlflow.data.folder; "
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar11", "got 'cifar11'; did you mean 'cifar10'?"),
        ("digit", "did you mean 'digits'?"),
        ("zzzzz", "got 'zzzzz'; valid names: digits, caltech101"),
        ("folder:/no/such/place", "folder must exist, got /no/such/place; check the path"),
    ],
)
def test_load_dataset_refuses_what_it_does_not_know(tmp_path, name, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        load_dataset(name, data_dir=tmp_path)


def test_load_dataset_tells_how_to_name_a_folder(tmp_path):
    with pytest.raises(InputError, match=f"write folder:{tmp_path}"):
        load_dataset(str(tmp_path), data_dir=tmp_path)


def test_load_dataset_counts_duplicates_and_warns(birds, tmp_path, caplog):
    write_image(birds / "test" / "owl" / "copy.png", seed=0)  # the first crow of train
    dataset = load_dataset(f"folder:{birds}", data_dir=tmp_path)
    assert dataset.n_duplicates_across_splits == {"train/test": 1}
    assert "1 test images are also in train" in caplog.text


def test_dataset_digest_depends_on_content_and_not_on_order():
    names = ["a", "b"]
    digest = dataset_digest(names, {"train": small_split([0, 1, 0])})
    assert len(digest) == 32
    assert digest == dataset_digest(names, {"train": small_split([0, 1, 0]).select([2, 0, 1])})
    assert digest != dataset_digest(names, {"train": small_split([0, 1, 1])})
    assert digest != dataset_digest(names, {"train": small_split([0, 1, 0], first=1)})
    assert digest != dataset_digest(names, {"test": small_split([0, 1, 0])})
    assert digest != dataset_digest(["a", "c"], {"train": small_split([0, 1, 0])})


def test_split_of_arrays_ids_tell_shapes_apart():
    wide, tall = np.zeros((1, 2, 8), dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.uint8)
    assert split_of_arrays(wide, [0]).item_ids[0] != split_of_arrays(tall, [0]).item_ids[0]


def test_image_split_select_keeps_rows_together():
    chosen = small_split([0, 1, 2, 3]).select([3, 1])
    assert chosen.labels.tolist() == [3, 1]
    assert chosen.images[:, 0, 0].tolist() == [3, 1]
    assert len(chosen) == 2


def test_image_split_read_image_of_arrays_and_files(tmp_path):
    assert small_split([0, 1]).read_image(1).tolist() == np.ones((2, 2, 3)).tolist()
    path = write_image(tmp_path / "a.png", seed=3)
    split = ImageSplit(np.array([0]), np.array(["a"]), paths=(path,))
    assert split.read_image(0).shape == (12, 16, 3)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BadImageError, match=r"a\.png"):
        split.read_image(0)


def test_image_split_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="same length"):
        ImageSplit(np.array([0, 1]), np.array(["a"]), images=np.zeros((2, 2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match="one of images, paths and encoded"):
        ImageSplit(np.array([0]), np.array(["a"]))


def test_build_dataset_keeps_one_image_per_class_where_there_is_a_val_split():
    splits = {"train": small_split([0, 1]), "val": small_split([0, 1], 2), "test": small_split([0, 1], 4)}
    options = {"name": "x", "class_names": ["a", "b"], "default_image_size": 32, "source": "x"}
    assert build_dataset(splits=splits, **options).class_counts("train") == {"a": 1, "b": 1}
    del splits["val"]
    with pytest.raises(InputError, match="at least 2 images to train on, got 1 in class 'a'"):
        build_dataset(splits=splits, **options)


def test_load_dataset_refuses_one_class(tmp_path):
    write_classes(tmp_path / "x", {"only": 3})
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        load_dataset(f"folder:{tmp_path / 'x'}", data_dir=tmp_path)
