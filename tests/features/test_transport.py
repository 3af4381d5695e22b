import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import Expected, write_meta
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.row_file import RowFile
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.features.transport import Lend, pack
from resnet_mlflow.files.digests import file_sha256

KEY = "0123456789abcdef"
N = 10
IDS = np.array([f"{row}" for row in range(N)], dtype="<U32")
LABELS = np.arange(N) % 2
IMAGES = ImageSplit(LABELS, IDS, images=np.zeros((N, 2, 2), np.uint8))
EXPECTED = Expected(KEY, {"train": IMAGES}, ("x", "y"), 3)
ROWS = np.arange(N * 3, dtype=np.float32).reshape(N, 3)


@pytest.fixture(autouse=True)
def shards_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_mlflow.features.transport.SHARD_ROWS", 4)


def entry(root: Path, kept: np.ndarray, skipped: list[dict[str, object]]) -> tuple[FeatureStore, FeatureSet]:
    store = FeatureStore(root)
    with store.writer(KEY) as writer:
        with RowFile(writer.folder / "train.features.npy", (len(kept), 3)) as file:
            file.write(np.arange(len(kept)), ROWS[kept])
        writer.save("train", LABELS[kept], IDS[kept])
        writer.meta = {"skipped": skipped, "class_names": ["x", "y"]}
    found = store.get(KEY)
    assert found is not None
    return store, found


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return send(tmp_path, *entry(tmp_path / "one", np.arange(N), []))


def send(tmp_path: Path, store: FeatureStore, features: FeatureSet) -> Path:
    for name in ("scratch", "sent"):
        (tmp_path / name).mkdir()
    for file in pack(store.path(KEY), features, tmp_path / "scratch"):
        shutil.copyfile(file, tmp_path / "sent" / file.name)
    return tmp_path / "sent"


def lent(folder: Path, fetched: list[str], fails_at: str = "") -> Lend:
    @contextmanager
    def lend(name: str) -> Iterator[Path]:
        if name == fails_at:
            raise InputError("the server is away")
        fetched.append(name)
        yield folder / name

    return lend


def test_pack_sends_large_splits_in_shards(sent: Path, tmp_path: Path) -> None:
    shards = [f"train.features.{first:08d}.npy" for first in (0, 4, 8)]
    assert sorted(path.name for path in sent.iterdir()) == ["meta.json", *shards, "train.ids.npy", "train.labels.npy"]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["meta.json"]
    assert len(np.load(sent / shards[2])) == 2


def test_put_from_goes_on_where_fetching_stopped(sent: Path, tmp_path: Path) -> None:
    other = FeatureStore(tmp_path / "other")
    fetched: list[str] = []
    with pytest.raises(InputError, match="the server is away"):
        other.put_from(lent(sent, fetched, fails_at="train.features.00000008.npy"), EXPECTED)
    assert fetched == ["meta.json", "train.features.00000000.npy", "train.features.00000004.npy"]
    assert other.get(KEY) is None

    fetched.clear()
    found = other.put_from(lent(sent, fetched), EXPECTED)

    assert fetched == ["meta.json", "train.features.00000008.npy", "train.labels.npy", "train.ids.npy"]
    assert found is not None
    assert np.array_equal(found.splits["train"].features, ROWS)
    assert sorted(path.name for path in other.path(KEY).iterdir()) == [
        "meta.json", "train.features.npy", "train.ids.npy", "train.labels.npy"
    ]  # fmt: skip


def test_put_from_takes_shards_of_images_that_could_be_read(tmp_path: Path) -> None:
    kept = np.setdiff1d(np.arange(N), [1, 6])
    skipped = [{"split": "train", "row": row, "path": "p", "reason": "r"} for row in (1, 6)]
    folder = send(tmp_path, *entry(tmp_path / "one", kept, skipped))
    found = FeatureStore(tmp_path / "other").put_from(lent(folder, []), EXPECTED)
    assert found is not None
    assert np.array_equal(found.splits["train"].features, ROWS[kept])
    assert found.splits["train"].item_ids.tolist() == IDS[kept].tolist()


@pytest.mark.parametrize(
    "names",
    [
        {"train.features.00000004.npy": "train.features.99999999999.npy"},
        {"train.features.00000008.npy": "train.features.00000010.npy"},
        {"train.features.00000000.npy": "train.features.00000001.npy"},
        {"train.features.00000008.npy": "train.features.00000007.npy"},
        {"train.features.00000004.npy": "val.features.00000004.npy"},
        {"train.features.00000004.npy": "../train.features.00000004.npy"},
        {"train.ids.npy": "val.ids.npy"},
    ],
)
def test_put_from_refuses_shards_that_do_not_make_up_a_split(sent: Path, tmp_path: Path, names: dict[str, str]) -> None:
    store, features = entry(tmp_path / "again", np.arange(N), [])
    checksums = {}
    for file in pack(store.path(KEY), features, tmp_path / "scratch"):
        if file.name != "meta.json":
            checksums[names.get(file.name, file.name)] = file_sha256(file)
    for name, other in names.items():
        if "/" not in other:
            (sent / name).rename(sent / other)
    write_meta(sent / "meta.json", features.meta, KEY, checksums)
    other_store = FeatureStore(tmp_path / "other")
    assert other_store.put_from(lent(sent, []), EXPECTED) is None
    assert not list(tmp_path.glob("other/features/*/"))


def test_put_from_refuses_a_damaged_shard(sent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = sent / "train.features.00000004.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert FeatureStore(tmp_path / "other").put_from(lent(sent, []), EXPECTED) is None
    assert "wrong checksum of train.features.00000004.npy" in caplog.text
