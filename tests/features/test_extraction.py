import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from PIL import Image

from resnet_mlflow import __version__
from resnet_mlflow.backbones.inference import inference_form
from resnet_mlflow.backbones.networks import build_backbone, state_digest
from resnet_mlflow.backbones.quantized import has_int8
from resnet_mlflow.backbones.weights import resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.extraction import extract_features, extract_split
from resnet_mlflow.features.identity import FeatureSet, features_key, identify
from resnet_mlflow.features.store import FeatureStore

SEED_0 = resolve_weights("resnet18", "random", 0)
FP32 = FeatureConfig(precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    """A tenth of the digits: enough for several batches."""
    whole = load_dataset("digits", data_dir=Path())
    splits = {name: split.select(np.arange(0, len(split), 10)) for name, split in whole.splits.items()}
    return replace(whole, splits=splits)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture
def jpegs(tmp_path: Path) -> Path:
    """A folder of JPEG files: two classes, train (6 each) and test (3 each)."""
    rng = np.random.default_rng(0)
    for split, n_images in (("train", 6), ("test", 3)):
        for name in ("a", "b"):
            folder = tmp_path / "jpegs" / split / name
            folder.mkdir(parents=True)
            for i in range(n_images):
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    return tmp_path / "jpegs"


def damage(file: Path) -> None:
    # Cut after the header: only decoding it to the end tells.
    file.write_bytes(file.read_bytes()[:900])


def load(folder: Path, on_bad_image: str = "fail") -> ImageDataset:
    return load_dataset(f"folder:{folder}", data_dir=folder.parent / "data", on_bad_image=on_bad_image)


def eager_features(split: ImageSplit, image_size: int) -> np.ndarray:
    backbone = build_backbone("resnet18", SEED_0).eval()
    with torch.inference_mode():
        batches = iterate_batches(split, image_size, 64, 0)
        return np.concatenate([backbone(normalize(batch.images)).numpy() for batch in batches])


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = (first.astype(np.float64) * second).sum(axis=1)
    return np.asarray(products / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1))


def test_extract_features_fp32_equals_plain_forward_passes(digits: ImageDataset, store: FeatureStore) -> None:
    found = extract_features(digits, FP32, store, SEED_0, show_progress=False)

    assert found.key == features_key(identify(digits, FP32, SEED_0))
    assert set(found.splits) == {"train", "test"}
    for name, split in digits.splits.items():
        np.testing.assert_allclose(found.splits[name].features, eager_features(split, 32), rtol=1e-3, atol=1e-4)
        assert np.array_equal(found.splits[name].labels, split.labels)
        assert np.array_equal(found.splits[name].item_ids, split.item_ids)


def test_extract_features_bf16_points_where_fp32_does(digits: ImageDataset, store: FeatureStore) -> None:
    config = FeatureConfig(precision="bf16", device="cpu")
    found = extract_features(digits, config, store, SEED_0, show_progress=False)
    assert cosine(found.splits["train"].features, eager_features(digits.splits["train"], 32)).min() >= 0.9997


@pytest.mark.skipif(not has_int8(), reason="needs AVX2")
@pytest.mark.parametrize(("weights", "is_close"), [("random", True), ("random:library", False)])
def test_extract_features_int8_says_how_close_they_are(
    digits: ImageDataset, store: FeatureStore, caplog: pytest.LogCaptureFixture, weights: str, is_close: bool
) -> None:
    resolved = resolve_weights("resnet50", weights, 0)
    found = {
        precision: extract_features(
            digits,
            FeatureConfig(backbone="resnet50", weights=weights, precision=precision, device="cpu"),
            store,
            resolved,
            show_progress=False,
        )
        for precision in ("fp32", "int8")
    }
    assert found["fp32"].key != found["int8"].key
    cosines = cosine(found["int8"].splits["train"].features, found["fp32"].splits["train"].features)
    assert found["int8"].meta["int8_cosine"] == pytest.approx(np.median(cosines), abs=0.02)
    assert bool(np.median(cosines) > 0.98) is is_close
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [] if is_close else warned[0].startswith("int8 changes the features (median cosine 0.")


def test_extract_features_says_where_they_come_from(digits: ImageDataset, store: FeatureStore) -> None:
    config = FeatureConfig(precision="fp32", device="cpu", image_size=48)
    meta = extract_features(digits, config, store, SEED_0, show_progress=False).meta
    expected = {
        "dataset": "digits",
        "dataset_digest": digits.digest,
        "class_names": list("0123456789"),
        "backbone": "resnet18",
        "weights": "random-standardized-seed0",
        "weights_digest": SEED_0.digest,
        "image_size": 48,
        "precision": "fp32",
        "n_skipped": 0,
        "skipped": [],
        "device": "cpu",
        "package_version": __version__,
    }
    assert {name: meta[name] for name in expected} == expected
    n_images = sum(len(split) for split in digits.splits.values())
    assert meta["images_per_s"] == pytest.approx(n_images / meta["seconds"])


def test_extract_features_computes_once(digits: ImageDataset, store: FeatureStore) -> None:
    first = extract_features(digits, FP32, store, SEED_0, show_progress=False)
    written = (store.path(first.key) / "meta.json").stat().st_mtime_ns
    again = extract_features(digits, FP32.model_copy(update={"seed": 5}), store, SEED_0, show_progress=False)
    assert again.meta == first.meta
    assert (store.path(first.key) / "meta.json").stat().st_mtime_ns == written


def test_extract_features_rebuilds_a_damaged_entry(
    digits: ImageDataset, store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = extract_features(digits, FP32, store, SEED_0, show_progress=False)
    expected = np.array(first.splits["test"].features)
    file = store.path(first.key) / "test.features.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    again = extract_features(digits, FP32, store, SEED_0, show_progress=False)

    assert "wrong checksum of test.features.npy" in caplog.text
    assert np.array_equal(again.splits["test"].features, expected)


def test_extract_features_shows_images_per_second(
    digits: ImageDataset, store: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    extract_features(digits, FP32, store, SEED_0)
    assert "resnet18 train: 100%" in (bar := capsys.readouterr().err)
    assert "images/s" in bar


@pytest.fixture
def n_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_extract_features_leaves_global_state_alone(digits: ImageDataset, store: FeatureStore, n_threads: int) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    extract_features(digits, FP32, store, SEED_0, show_progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]  # noqa: NPY002
    assert torch.get_num_threads() == n_threads
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(("batch_size", "num_workers"), [(7, 2), (64, 1), (100_000, 0)])
def test_extract_split_gives_rows_in_order_however_batched(
    digits: ImageDataset, batch_size: int, num_workers: int
) -> None:
    form = inference_form(build_backbone("resnet18", SEED_0), "fp32")
    split = digits.splits["train"]
    blocks = list(extract_split(form, split, 32, batch_size=batch_size, num_workers=num_workers))
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(len(split)))
    features = np.concatenate([features for _, features in blocks])
    np.testing.assert_allclose(features, eager_features(split, 32), rtol=1e-3, atol=1e-4)


def test_extract_split_is_equal_to_the_bit_when_repeated(digits: ImageDataset) -> None:
    form = inference_form(build_backbone("resnet18", SEED_0), "fp32")
    first, again = (
        np.concatenate([features for _, features in extract_split(form, digits.splits["train"], 32)]) for _ in range(2)
    )
    assert np.array_equal(first, again)


def test_extract_split_takes_only_the_rows_asked_for(digits: ImageDataset) -> None:
    form = inference_form(build_backbone("resnet18", SEED_0), "fp32")
    ((rows, features),) = extract_split(form, digits.splits["train"], 32, rows=np.array([3, 8]))
    assert rows.tolist() == [3, 8]
    expected = eager_features(digits.splits["train"].select([3, 8]), 32)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_extract_split_stops_its_threads_when_abandoned(digits: ImageDataset, n_threads: int) -> None:
    form = inference_form(build_backbone("resnet18", SEED_0), "fp32")
    blocks = extract_split(form, digits.splits["train"], 32, batch_size=8)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == n_threads


def test_extract_split_leaves_batchnorm_statistics_alone(digits: ImageDataset) -> None:
    backbone = build_backbone("resnet18", SEED_0).train()
    before = state_digest(backbone.state_dict())
    form = inference_form(backbone, "fp32")
    list(extract_split(form, digits.splits["test"], 32))
    assert state_digest(backbone.state_dict()) == before


def test_extract_features_names_a_bad_image_and_stores_no_entry(jpegs: Path, store: FeatureStore) -> None:
    bad = jpegs / "train" / "b" / "2.jpg"
    damage(bad)
    dataset = load(jpegs)
    with pytest.raises(BadImageError, match=r"image cannot be decoded: .*train/b/2.jpg \(") as caught:
        extract_features(dataset, FP32, store, SEED_0, show_progress=False)
    assert caught.value.path == bad
    assert "\n" not in str(caught.value)
    assert [
        path for path in (store.root / "features").iterdir() if not path.name.startswith(".") and path.is_dir()
    ] == []


def test_extract_features_goes_on_after_a_bad_image(
    jpegs: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("resnet_mlflow.features.spans.SPAN_ROWS", 3)
    damage(jpegs / "train" / "a" / "1.jpg")
    damage(jpegs / "test" / "b" / "1.jpg")
    fails = FP32.model_copy(update={"batch_size": 2, "num_workers": 0, "image_size": 32})
    skips = fails.model_copy(update={"on_bad_image": "skip"})
    dataset = load(jpegs, "skip")
    other = FeatureStore(store.root / "other")
    at_once = extract_features(dataset, skips, other, SEED_0, show_progress=False)

    for _ in range(2):  # The first has trained on nothing yet, the second begins with what is there.
        with pytest.raises(BadImageError, match=r"train/a/1.jpg"):
            extract_features(dataset, fails, store, SEED_0, show_progress=False)
    with monkeypatch.context() as patch:
        patch.setattr("resnet_mlflow.features.gathering.drop_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract_features(dataset, skips, store, SEED_0, show_progress=False)
    with caplog.at_level(logging.INFO):
        found = extract_features(dataset, skips, store, SEED_0, show_progress=False)

    assert "12 of 12 images of train are already extracted" in caplog.text
    assert "6 of 6 images of test are already extracted" in caplog.text
    assert found.meta["skipped"] == at_once.meta["skipped"]
    for name, split in at_once.splits.items():
        assert np.array_equal(found.splits[name].item_ids, split.item_ids)
        np.testing.assert_allclose(found.splits[name].features, split.features, rtol=1e-4, atol=1e-5)
    assert not list(store.root.glob("features/.*.partial"))


def test_extract_features_skips_bad_images_and_counts_them(jpegs: Path, store: FeatureStore) -> None:
    config = FeatureConfig(precision="fp32", device="cpu", on_bad_image="skip", image_size=32, batch_size=5)
    whole = extract_features(load(jpegs), config, FeatureStore(store.root / "whole"), SEED_0, show_progress=False)
    damage(jpegs / "train" / "b" / "2.jpg")
    damage(jpegs / "test" / "a" / "0.jpg")
    dataset = load(jpegs, "skip")

    found = extract_features(dataset, config, store, SEED_0, show_progress=False)

    # Train rows are a/0..5 and b/0..5: b/2 is row 8.
    assert [(item["split"], item["row"]) for item in found.meta["skipped"]] == [("train", 8), ("test", 0)]
    assert found.meta["skipped"][0]["path"] == str(jpegs / "train" / "b" / "2.jpg")
    assert found.meta["n_skipped"] == 2
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11]
    train = found.splits["train"]
    np.testing.assert_allclose(train.features, whole.splits["train"].features[kept], rtol=1e-3, atol=1e-4)
    assert train.labels.tolist() == [0] * 6 + [1] * 5
    assert np.array_equal(train.item_ids, dataset.splits["train"].item_ids[kept])
    assert len(found.splits["test"]) == 5


def test_extract_features_refuses_an_entry_with_skipped_images(jpegs: Path, store: FeatureStore) -> None:
    damage(jpegs / "train" / "b" / "2.jpg")
    dataset = load(jpegs)
    extract_features(dataset, FP32.model_copy(update={"on_bad_image": "skip"}), store, SEED_0, show_progress=False)
    with pytest.raises(BadImageError, match=r"train/b/2.jpg \("):
        extract_features(dataset, FP32, store, SEED_0, show_progress=False)


def test_extract_features_refuses_a_split_without_a_good_image(jpegs: Path, store: FeatureStore) -> None:
    for file in jpegs.glob("test/*/*.jpg"):
        damage(file)
    config = FP32.model_copy(update={"on_bad_image": "skip"})
    with pytest.raises(InputError, match="must contain at least one readable image, got none of 6 in 'test'"):
        extract_features(load(jpegs), config, store, SEED_0, show_progress=False)


EXTRACT = """
import logging, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.features import spans
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.backbones.weights import resolve_weights

logging.basicConfig(level=logging.INFO)
spans.SPAN_ROWS = 128
dataset = load_dataset("digits", data_dir=Path())
config = FeatureConfig(precision="fp32", device="cpu", image_size=int(sys.argv[2]))
weights = resolve_weights("resnet18", "random", 0)
found = extract_features(dataset, config, FeatureStore(Path(sys.argv[1])), weights)
sys.stdout.write(found.key + "\\n")  # in one piece: two ranks write at once
"""

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
Start = Callable[[int], forked.Process]


@pytest.fixture
def start(store: FeatureStore) -> Start:
    def start_extraction(image_size: int) -> forked.Process:
        return forked.Process(["-c", EXTRACT, str(store.root), str(image_size)], stdout=subprocess.PIPE)

    return start_extraction


@pytest.mark.slow
def test_extract_features_of_two_processes_at_once_works_once(start: Start) -> None:
    processes = [start(32), start(32)]
    outcomes = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outcomes[0][0] == outcomes[1][0]
    # Only who works shows a bar; the other waited, or came when all was done.
    assert sum("images/s" in errors for _, errors in outcomes) == 1


@pytest.mark.slow
def test_extract_features_killed_goes_on_where_it_was(start: Start, store: FeatureStore) -> None:
    process = start(64)
    deadline = time.monotonic() + 120
    while len(list(store.root.glob("features/.*.partial/done/train.*.json"))) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (partial,) = store.root.glob("features/.*.partial")
    key = partial.name[1:].removesuffix(".partial")
    assert store.get(key) is None

    again = start(64)
    message, said = again.communicate(timeout=300)
    assert (again.returncode, message) == (0, f"{key}\n")
    (n_before,) = re.findall(r"(\d+) of 1438 images of train are already extracted", said)
    assert int(n_before) >= 5 * 128
    found = store.get(key)
    assert found is not None
    form = inference_form(build_backbone("resnet18", SEED_0), "fp32")
    digits = load_dataset("digits", data_dir=Path()).splits["train"]
    rows = np.arange(int(n_before) - 20, int(n_before) + 20)  # on both sides of the kill
    ((_, expected),) = extract_split(form, digits, 64, rows=rows)
    np.testing.assert_allclose(found.splits["train"].features[rows], expected, rtol=1e-3, atol=1e-4)
    assert not list(store.root.glob("features/.*.partial"))


@pytest.mark.slow
def test_extract_features_under_torchrun_equals_one_process(store: FeatureStore, tmp_path: Path) -> None:
    script = tmp_path / "extract.py"
    script.write_text(EXTRACT)
    done = subprocess.run(
        [forked.python(), *TORCHRUN, str(script), str(store.root), "32"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first_key, second_key = done.stdout.split()
    assert first_key == second_key

    shared = store.get(first_key)
    config = FeatureConfig(precision="fp32", device="cpu", image_size=32)
    whole = load_dataset("digits", data_dir=Path())
    alone = extract_features(whole, config, FeatureStore(tmp_path / "alone"), SEED_0, show_progress=False)

    assert shared is not None
    assert alone.key == first_key
    for name, split in alone.splits.items():
        np.testing.assert_allclose(shared.splits[name].features, split.features, rtol=1e-3, atol=1e-4)
        assert np.array_equal(shared.splits[name].labels, split.labels)
        assert np.array_equal(shared.splits[name].item_ids, split.item_ids)


@pytest.mark.slow
def test_extract_features_under_torchrun_fails_as_a_whole(store: FeatureStore, jpegs: Path, tmp_path: Path) -> None:
    damage(jpegs / "train" / "b" / "5.jpg")
    script = tmp_path / "extract.py"
    script.write_text(EXTRACT.replace('load_dataset("digits"', f'load_dataset("folder:{jpegs}"'))
    done = subprocess.run(
        [forked.python(), *TORCHRUN, str(script), str(store.root), "32"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode != 0
    # The image lies in the second rank's share: the first says so too, instead of waiting for it.
    assert done.stderr.count("BadImageError: image cannot be decoded") == 2
    assert not list(store.root.glob("features/*/meta.json"))


# What another host is that mounts no folder of the first: an empty one in its place.
ON_ANOTHER_HOST = """
if [ "$RANK" = 0 ]; then exec "$2" "$3" "$1" 32; fi
exec unshare -m sh -c 'mount -t tmpfs none "$1" && exec "$2" "$3" "$1" 32' sh "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="another mount takes root and unshare")
def test_extract_features_under_torchrun_needs_one_folder(store: FeatureStore, tmp_path: Path) -> None:
    script = tmp_path / "extract.py"
    script.write_text(EXTRACT)
    store.root.mkdir(exist_ok=True)
    elsewhere = ("sh", "-c", ON_ANOTHER_HOST, "sh")
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "--no-python", *elsewhere, str(store.root), sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode != 0
    assert done.stderr.count("InputError: all processes of an extraction must share cache_dir, got no ") == 2


PEAK_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.datasets import ImageSplit, build_dataset
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.backbones.weights import resolve_weights

n_images = int(sys.argv[2])
images = np.zeros((n_images, 16, 16), dtype=np.uint8)
split = ImageSplit(np.arange(n_images) % 2, np.arange(n_images).astype("<U32"), images=images)
dataset = build_dataset(
    name="zeros", class_names=["a", "b"], splits={"train": split, "test": split.select([0, 1])},
    default_image_size=16, source="",
)
config = FeatureConfig(device="cpu", image_size=16)
extract_features(dataset, config, FeatureStore(Path(sys.argv[1])), resolve_weights("resnet18", "random", 0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory in KiB as Linux does")
def test_extract_features_memory_does_not_grow_with_the_dataset(store: FeatureStore) -> None:
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK_MEMORY, str(store.root), str(n_images)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
                timeout=600,
            ).stdout
        )
        for n_images in (5_000, 50_000)
    )
    # The features alone are 100 MB more, the images and ids handed over 20 MB.
    assert many / few <= 1.15
    assert (many - few) * 1024 < 50e6


def test_inference_form_takes_weights_from_a_file(jpegs: Path, store: FeatureStore, tmp_path: Path) -> None:
    random = resolve_weights("resnet18", "random", 4)
    torch.save(build_backbone("resnet18", random).state_dict(), tmp_path / "mine.pth")
    dataset = load(jpegs)
    from_file = resolve_weights("resnet18", str(tmp_path / "mine.pth"), 0)
    found: list[FeatureSet] = [
        extract_features(dataset, FP32, store, weights, show_progress=False) for weights in (from_file, random)
    ]
    assert found[0].key != found[1].key
    assert np.array_equal(found[0].splits["train"].features, found[1].splits["train"].features)
