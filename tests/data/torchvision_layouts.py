"""Writers of small files in the very layouts that torchvision downloads, by the name of the dataset."""

import bz2
import csv
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from sample_images import pixels, write_image
from scipy.io import savemat
from torchvision.datasets import imagenet

# Two classes with two images each in each split, or as many classes as the dataset has.
LABELS = [0, 1, 0, 1]
DIGITS = [*range(10), *range(10)]
SEEDS = {"train": 0, "val": 1000, "test": 2404}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def colour(split: str, side: int, n_images: int = 4) -> np.ndarray:
    return np.stack([pixels(SEEDS[split] + index, side, side) for index in range(n_images)])


def grey(split: str, side: int, n_images: int = 20) -> np.ndarray:
    return colour(split, side, n_images)[..., 0]


def save(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_idx(path: Path, array: np.ndarray) -> None:
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    save(path, header + array.astype(array.dtype.newbyteorder(">")).tobytes())


def mnist_like(folder: str, train: str = "train", test: str = "t10k", n_classes: int = 10) -> Callable[..., None]:
    def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for split, prefix in (("train", train), ("test", test)):
            write_idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", grey(split, 28, 2 * n_classes))
            labels = np.tile(np.arange(n_classes, dtype=np.uint8), 2)
            write_idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)

    return write


def qmnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        write_idx(root / "QMNIST" / "raw" / f"qmnist-{split}-images-idx3-ubyte", grey(split, 28))
        columns = np.zeros((20, 8), dtype=np.int32)
        columns[:, 0], columns[:, 1] = DIGITS, 9
        write_idx(root / "QMNIST" / "raw" / f"qmnist-{split}-labels-idx2-int", columns)


def cifar(cls: type, folder: str, key: str, batches: dict[str, str]) -> Callable[..., None]:
    """Write pickled batches, and tell torchvision their checksums in place of the real ones."""

    def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sums = {}
        for split, name in batches.items():
            rows = colour(split, 32).transpose(0, 3, 1, 2).reshape(len(LABELS), -1)
            sums[split] = md5(save(root / folder / name, pickle.dumps({"data": rows, key: LABELS})))
        meta_key = {"labels": "label_names", "fine_labels": "fine_label_names"}[key]
        meta = save(root / folder / cls.meta["filename"], pickle.dumps({meta_key: ["crow", "owl"]}))
        monkeypatch.setattr(cls, "train_list", [[batches["train"], sums["train"]]])
        monkeypatch.setattr(cls, "test_list", [[batches["test"], sums["test"]]])
        monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(meta)})

    return write


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {}
    for split in ("train", "test"):
        path = root / f"{split}_32x32.mat"
        root.mkdir(exist_ok=True)
        # The digit 0 is stored as 10.
        savemat(path, {"X": colour(split, 32, 20).transpose(1, 2, 3, 0), "y": [[label or 10] for label in DIGITS]})
        files[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", files)


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "stl10_binary"
    lists = {}
    for split in ("train", "test"):
        images = save(folder / f"{split}_X.bin", colour(split, 96).transpose(0, 3, 2, 1).tobytes())
        labels = save(folder / f"{split}_y.bin", bytes(label + 1 for label in LABELS))
        lists[split] = [[images.name, md5(images)], [labels.name, md5(labels)]]
    save(folder / "class_names.txt", "crow\nowl\n")
    monkeypatch.setattr(torchvision.datasets.STL10, "train_list", lists["train"])
    monkeypatch.setattr(torchvision.datasets.STL10, "test_list", lists["test"])


def usps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        lines = [
            f"{label + 1} " + " ".join(f"{place}:{value / 127.5 - 1:.4f}" for place, value in enumerate(image.flat, 1))
            for image, label in zip(grey(split, 16), DIGITS, strict=True)
        ]
        save(root / name, bz2.compress("\n".join(lines).encode()))


def semeion(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 3)
    table = np.hstack([rng.integers(0, 2, (30, 256)), np.eye(10, dtype=int)[labels]])
    path = save(root / "semeion.data", "\n".join(" ".join(map(str, row)) for row in table))
    monkeypatch.setattr(torchvision.datasets.SEMEION, "md5_checksum", md5(path))


def classes(root: Path, split: str, names: tuple[str, ...] = ("crow", "owl"), file: str = "{index}.jpg") -> None:
    """Write a folder per class with three images each."""
    for label, name in enumerate(names):
        for index in (1, 2, 3):
            write_image(root / name / file.format(index=index, label=label + 1), SEEDS[split] + 10 * label + index)


def flowers102(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    for number in range(1, 307):
        write_image(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.tile(np.arange(1, 103), 3)})
    thirds = {"trnid": range(1, 103), "valid": range(103, 205), "tstid": range(205, 307)}
    savemat(folder / "setid.mat", {key: np.array(ids) for key, ids in thirds.items()})
    files = {
        "label": ("imagelabels.mat", md5(folder / "imagelabels.mat")),
        "setid": ("setid.mat", md5(folder / "setid.mat")),
    }
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)


def listed(split: str, root: Path) -> list[tuple[str, int]]:
    """Write four images into one folder and return their stems with labels."""
    for index in range(len(LABELS)):
        write_image(root / f"{split}_{index}.jpg", SEEDS[split] + index)
    return [(f"{split}_{index}", label) for index, label in enumerate(LABELS)]


def oxford_pets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        lines = []
        for index, label in enumerate(LABELS):
            name = f"{('crow', 'owl')[label]}_{SEEDS[split] + index}"
            write_image(folder / "images" / f"{name}.jpg", SEEDS[split] + index)
            lines.append(f"{name} {label + 1} 1 1")
        save(folder / "annotations" / file, "\n".join(lines))


def food101(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        classes(root / "food-101" / "images", split, file=f"{split}{{index}}.jpg")
        names = {name: [f"{name}/{split}{index}" for index in (1, 2)] for name in ("crow", "owl")}
        save(root / "food-101" / "meta" / f"{split}.json", json.dumps(names))


def dtd(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in SEEDS:
        classes(root / "dtd" / "dtd" / "images", split, file=f"{split}{{index}}.jpg")
        lines = [f"{name}/{split}{index}.jpg" for name in ("crow", "owl") for index in (1, 2)]
        save(root / "dtd" / "dtd" / "labels" / f"{split}1.txt", "\n".join(lines))


def fgvc_aircraft(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    save(data / "variants.txt", "crow\nowl of the barn\n")
    for split in SEEDS:
        names = [f"{stem} {('crow', 'owl of the barn')[label]}" for stem, label in listed(split, data / "images")]
        save(data / f"images_variant_{split}.txt", "\n".join(names))


def gtsrb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "gtsrb"
    names = tuple(f"{number:05d}" for number in range(43))
    classes(folder / "GTSRB" / "Training", "train", names, file="{index}.ppm")
    with (folder / "GT-final_test.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Filename", "ClassId"])
        for label in range(43):
            write_image(folder / "GTSRB" / "Final_Test" / "Images" / f"{label}.ppm", SEEDS["test"] + label)
            writer.writerow([f"{label}.ppm", label])


def split_folders(folder: str, names: dict[str, str], *options: object) -> Callable[..., None]:
    def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for split, name in names.items():
            classes(root / folder / name, split, *options)

    return write


def stanford_cars(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "stanford_cars"
    kind = [("fname", object), ("class", np.uint8)]
    (folder / "devkit").mkdir(parents=True)
    for split, annotations in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [(f"{stem}.jpg", label + 1) for stem, label in listed(split, folder / f"cars_{split}")]
        savemat(folder / annotations, {"annotations": np.array(rows, dtype=kind)})
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array(["crow", "owl"], dtype=object)})


def caltech101(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("BACKGROUND_Google", "crow", "owl")
    classes(root / "caltech101" / "101_ObjectCategories", "train", names, "image_{index:04d}.jpg")


def caltech256(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("001.crow", "002.owl")
    classes(root / "caltech256" / "256_ObjectCategories", "train", names, "{label:03d}_{index:04d}.jpg")


def sun397(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(root / "SUN397" / "ClassName.txt", "/c/crow\n/o/owl\n")
    classes(root / "SUN397", "train", ("c/crow", "o/owl"), "sun_{index}.jpg")


def clevr(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "clevr" / "CLEVR_v1.0"
    for split, name in (("train", "train"), ("test", "val")):
        scenes = []
        for n_objects in range(3, 11):
            for copy in (0, 1):
                file = write_image(
                    folder / "images" / name / f"{n_objects}{copy}.png", SEEDS[split] + 2 * n_objects + copy
                )
                scenes.append({"image_filename": file.name, "objects": [{}] * n_objects})
        save(folder / "scenes" / f"CLEVR_{name}_scenes.json", json.dumps({"scenes": scenes}))


def inaturalist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"0000{index}_a_b_c_d_e_f_{name}" for index, name in enumerate(("crow", "owl")))
    for split, version in (("train", "2021_train_mini"), ("test", "2021_valid")):
        classes(root / version, split, names)


def places365(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = torchvision.datasets.Places365
    meta = save(root / "categories_places365.txt", "/c/crow 0\n/o/owl 1\n")
    monkeypatch.setattr(cls, "_CATEGORIES_META", (meta.name, md5(meta)))
    lists = {}
    for split, name, folder in (("train", "train-standard", "data_256_standard"), ("test", "val", "val_256")):
        rows = [f"{stem}.jpg {label}" for stem, label in listed(split, root / folder)]
        path = save(root / f"{name}.txt", "\n".join(rows))
        lists[name] = (path.name, md5(path))
    monkeypatch.setattr(cls, "_FILE_LIST_META", lists)


def imagenet_2012(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("n01", "n02", "n03")
    classes(root / "train", "train", names)
    classes(root / "val", "test", names)
    torch.save(({"n01": ("crane",), "n02": ("crane",), "n03": ("owl", "night bird")}, []), root / imagenet.META_FILE)


def fer2013(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["emotion,pixels,Usage"]
    for usage, split in (("Training", "train"), ("PublicTest", "test")):
        for label in range(7):
            for copy in (0, 1):
                face = pixels(SEEDS[split] + 2 * label + copy, 48, 48)[..., 0]
                rows.append(f"{label},{' '.join(map(str, face.flat))},{usage}")
    path = save(root / "fer2013" / "fer2013.csv", "\n".join(rows))
    monkeypatch.setitem(torchvision.datasets.FER2013._RESOURCES, "fer", (path.name, md5(path)))


TWO_SPLITS = {"train": "train", "test": "val"}
WRITERS: dict[str, Callable[..., None]] = {
    "caltech101": caltech101,
    "caltech256": caltech256,
    "cifar10": cifar(
        torchvision.datasets.CIFAR10, "cifar-10-batches-py", "labels", {"train": "data_batch_1", "test": "test_batch"}
    ),
    "cifar100": cifar(
        torchvision.datasets.CIFAR100, "cifar-100-python", "fine_labels", {"train": "train", "test": "test"}
    ),
    "clevr": clevr,
    "country211": split_folders("country211", {"train": "train", "val": "valid", "test": "test"}),
    "dtd": dtd,
    "emnist": mnist_like("EMNIST", "emnist-balanced-train", "emnist-balanced-test", 47),
    "eurosat": split_folders("eurosat/2750", {"train": ""}),
    "fashion_mnist": mnist_like("FashionMNIST"),
    "fer2013": fer2013,
    "fgvc_aircraft": fgvc_aircraft,
    "flowers102": flowers102,
    "food101": food101,
    "gtsrb": gtsrb,
    "imagenet": imagenet_2012,
    "imagenette": split_folders("imagenette2", TWO_SPLITS, ("n01440764", "n02102040"), "{index}.jpeg"),
    "inaturalist": inaturalist,
    "kmnist": mnist_like("KMNIST"),
    "mnist": mnist_like("MNIST"),
    "oxford_pets": oxford_pets,
    "places365": places365,
    "qmnist": qmnist,
    "rendered_sst2": split_folders(
        "rendered-sst2", {"train": "train", "val": "valid", "test": "test"}, ("negative", "positive"), "{index}.png"
    ),
    "semeion": semeion,
    "stanford_cars": stanford_cars,
    "stl10": stl10,
    "sun397": sun397,
    "svhn": svhn,
    "usps": usps,
}
