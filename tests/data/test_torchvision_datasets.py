"""Every dataset is read from small files in the very layout that torchvision downloads."""

import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torchvision.datasets
from torchvision_layouts import DIGITS, WRITERS, colour, md5, save

from resnet_mlflow.data import torchvision_datasets
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset
from resnet_mlflow.data.torchvision_datasets import TABLE
from resnet_mlflow.errors import InputError


def write(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](root, monkeypatch)


def load(name: str, data_dir: Path) -> ImageDataset:
    return load_dataset(name, data_dir=data_dir)


def test_every_dataset_of_the_table_has_a_layout():
    # h5py is not among the dependencies, see test_pcam_says_what_it_needs.
    assert set(WRITERS) == set(TABLE) - {"pcam"}


@pytest.mark.parametrize("name", WRITERS)
def test_load_torchvision_reads_every_layout(name, tmp_path, monkeypatch):
    write(name, tmp_path / name, monkeypatch)
    dataset = load(name, tmp_path)
    wanted = {"train", "test"} if "all" in TABLE[name].splits else set(TABLE[name].splits)
    assert set(dataset.splits) == wanted
    assert dataset.default_image_size == TABLE[name].image_size
    assert dataset.source == f"torchvision.datasets.{TABLE[name].class_name}"
    assert len(set(dataset.class_names)) == len(dataset.class_names) >= 2
    assert dataset.n_duplicates_across_splits == {}
    for split in wanted:
        assert min(dataset.class_counts(split).values()) >= 1
        image = dataset.splits[split].read_image(0)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@pytest.mark.parametrize("name", ["cifar10", "stl10", "svhn", "mnist"])
def test_load_torchvision_keeps_arrays_upright(name, tmp_path, monkeypatch):
    write(name, tmp_path / name, monkeypatch)
    split = load(name, tmp_path).splits["test"]
    side = split.images.shape[1]
    expected = colour("test", side)[2]
    if name == "mnist":
        expected = np.repeat(expected[..., :1], 3, axis=2)
    np.testing.assert_array_equal(split.read_image(2), expected)


@pytest.mark.parametrize("name", ["svhn", "qmnist", "usps"])
def test_load_torchvision_reads_digits_as_their_names(name, tmp_path, monkeypatch):
    write(name, tmp_path / name, monkeypatch)
    assert load(name, tmp_path).splits["train"].labels.tolist() == DIGITS


def test_load_torchvision_tells_classes_of_one_name_apart(tmp_path, monkeypatch):
    write("imagenet", tmp_path / "imagenet", monkeypatch)
    assert load("imagenet", tmp_path).class_names == ("crane (0)", "crane (1)", "owl")


@pytest.mark.parametrize("name", ["mnist", "dtd", "eurosat", "gtsrb"])
def test_load_torchvision_finds_the_layout_of_torchvision_in_data_dir(name, tmp_path, monkeypatch):
    write(name, tmp_path, monkeypatch)
    assert "test" in load(name, tmp_path).splits


def test_load_torchvision_labels_match_the_folders(tmp_path, monkeypatch):
    write("dtd", tmp_path / "dtd", monkeypatch)
    dataset = load("dtd", tmp_path)
    split = dataset.splits["val"]
    assert [path.parent.name for path in split.paths] == [dataset.class_names[label] for label in split.labels]


def test_download_that_fails_is_one_line_within_seconds_and_leaves_nothing(tmp_path, monkeypatch):
    # Port 9 of this machine answers nothing.
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    started = time.monotonic()
    with pytest.raises(
        InputError, match=f"mnist must be in {tmp_path}/mnist or downloadable.*Connection refused"
    ) as caught:
        load("mnist", tmp_path)
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which this machine serves it."""
    root = tmp_path / "mirror"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(root))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download_is_kept_when_whole(tmp_path, monkeypatch, mirror):
    root, address = mirror
    write("usps", root, monkeypatch)
    names = {"train": "usps.bz2", "test": "usps.t.bz2"}
    files = {split: (f"{address}/{name}", name, md5(root / name)) for split, name in names.items()}
    monkeypatch.setattr(torchvision.datasets.USPS, "split_list", files)
    digest = load("usps", tmp_path / "data").digest
    (root / "usps.bz2").unlink()
    assert load("usps", tmp_path / "data").digest == digest


def test_download_whose_checksum_differs_is_refused(tmp_path, monkeypatch, mirror):
    root, address = mirror
    save(root / "usps.bz2", b"something else")
    files = dict.fromkeys(("train", "test"), (f"{address}/usps.bz2", "usps.bz2", "0" * 32))
    monkeypatch.setattr(torchvision.datasets.USPS, "split_list", files)
    with pytest.raises(InputError, match="corrupted"):
        load("usps", tmp_path / "data")
    assert not (tmp_path / "data" / "usps").exists()


def test_a_damaged_copy_is_named_and_left_alone(tmp_path):
    save(tmp_path / "cifar10" / "cifar-10-batches-py" / "data_batch_1", b"cut off")
    with pytest.raises(InputError, match=f"{tmp_path}/cifar10 must contain all of cifar10.*complete the folder"):
        load("cifar10", tmp_path)
    assert (tmp_path / "cifar10" / "cifar-10-batches-py" / "data_batch_1").exists()


@pytest.mark.parametrize("name", ["imagenet", "stanford_cars", "fer2013"])
def test_datasets_that_no_program_can_download_say_where_to_put_them(name, tmp_path):
    with pytest.raises(InputError, match=f"{name} cannot be downloaded automatically.*under {tmp_path}/{name}"):
        load(name, tmp_path)


def test_fer2013_without_test_labels_says_which_file_has_them(tmp_path, monkeypatch):
    faces = "\n".join(f"{label},{' '.join(['0'] * 2304)}" for label in range(7))
    train = save(tmp_path / "fer2013" / "fer2013" / "train.csv", "emotion,pixels\n" + faces)
    test = save(train.with_name("test.csv"), "pixels\n" + " ".join(["0"] * 2304))
    for split, path in (("train", train), ("test", test)):
        monkeypatch.setitem(torchvision.datasets.FER2013._RESOURCES, split, (path.name, md5(path)))
    with pytest.raises(InputError, match=r"test\.csv has no labels"):
        load("fer2013", tmp_path)


def test_pcam_says_what_it_needs(tmp_path):
    try:
        import h5py  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="h5py"):
            load("pcam", tmp_path)


def test_sockets_time_out_during_downloads_only():
    before = torchvision_datasets.socket.getdefaulttimeout()
    with torchvision_datasets._impatient_sockets():
        assert torchvision_datasets.socket.getdefaulttimeout() == 5
    assert torchvision_datasets.socket.getdefaulttimeout() == before
