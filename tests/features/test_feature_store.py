import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import forked
import numpy as np
import pytest

from resnet_mlflow.data.datasets import ImageSplit
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import Expected, seal_entry
from resnet_mlflow.features.row_file import RowFile
from resnet_mlflow.features.store import FeatureStore, default_cache_dir
from resnet_mlflow.features.transport import Lend

KEY = "0123456789abcdef"
IMAGES = ImageSplit(np.array([0, 1, 0]), np.array(["a", "b", "c"], dtype="<U32"), images=np.zeros((3, 2, 2), np.uint8))
EXPECTED = Expected(KEY, {"train": IMAGES}, ("x", "y"), 2)


def write(store: FeatureStore, key: str = KEY, value: float = 1.0) -> None:
    with store.writer(key) as entry:
        with RowFile(entry.folder / "train.features.npy", (3, 2)) as file:
            file.write(np.arange(3), np.full((3, 2), value, dtype=np.float32))
        entry.save("train", np.array([0, 1, 0]), np.array(["a", "b", "c"]))
        entry.meta = {"backbone": "resnet18", "skipped": [], "class_names": ["x", "y"]}


def lent(folder: Path) -> Lend:
    return lambda name: nullcontext(folder / name)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def names_beside(store: FeatureStore, key: str = KEY) -> list[str]:
    return sorted(path.name for path in store.path(key).parent.iterdir() if path.suffix != ".lock")


def test_get_gives_what_was_written(store: FeatureStore) -> None:
    assert store.get(KEY) is None
    write(store)

    found = store.get(KEY)

    assert found is not None
    assert found.key == KEY
    assert found.meta["backbone"] == "resnet18"
    split = found.splits["train"]
    assert isinstance(split.features, np.memmap)
    assert split.features.tolist() == [[1, 1], [1, 1], [1, 1]]
    assert split.labels.tolist() == [0, 1, 0]
    assert split.item_ids.tolist() == ["a", "b", "c"]
    dtypes = [array.dtype.str for array in (split.features, split.labels, split.item_ids)]
    assert dtypes == ["<f4", "<i8", "<U32"]


def test_writer_replaces_an_entry(store: FeatureStore) -> None:
    write(store, value=1.0)
    write(store, value=2.0)
    found = store.get(KEY)
    assert found is not None
    assert found.splits["train"].features[0, 0] == 2
    assert names_beside(store) == [KEY]


def test_writer_leaves_nothing_where_it_fails(store: FeatureStore) -> None:
    def fail() -> None:
        with store.writer(KEY) as entry:
            entry.save("train", np.array([0]), np.array(["a"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.get(KEY) is None
    assert names_beside(store) == []


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_a_class_name(file: Path) -> None:
    file.write_text(file.read_text().replace("resnet18", "resnet81"))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train.features.npy", flip_a_byte, "wrong checksum of train.features.npy"),
        ("train.features.npy", cut_in_half, "wrong checksum of train.features.npy"),
        ("train.labels.npy", flip_a_byte, "wrong checksum of train.labels.npy"),
        ("train.ids.npy", Path.unlink, "wrong checksum of train.ids.npy"),
        ("meta.json", change_a_class_name, "wrong checksum of meta"),
        ("meta.json", cut_in_half, "meta.json cannot be read"),
        ("meta.json", Path.unlink, "meta.json cannot be read"),
    ],
)
def test_get_names_and_removes_a_damaged_entry(
    store: FeatureStore, name: str, damage: Callable[[Path], None], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(store)
    damage(store.path(KEY) / name)

    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None

    assert f"damaged features in {store.path(KEY)}: {message}" in caplog.text
    assert names_beside(store) == []
    write(store)
    assert store.get(KEY) is not None


def test_get_refuses_an_entry_under_a_wrong_name(store: FeatureStore, caplog: pytest.LogCaptureFixture) -> None:
    write(store)
    shutil.copytree(store.path(KEY), store.path("another"))
    assert store.get("another") is None
    assert f"they are those of '{KEY}'" in caplog.text


def test_put_from_takes_a_folder_of_another_store(store: FeatureStore, tmp_path: Path) -> None:
    write(store)
    other = FeatureStore(tmp_path / "other")

    taken = other.put_from(lent(store.path(KEY)), EXPECTED)

    assert taken is not None
    assert taken.key == KEY
    assert other.get(KEY) is not None
    texts = [json.loads((place.path(KEY) / "meta.json").read_text()) for place in (store, other)]
    assert texts[0] == texts[1]


def test_put_from_refuses_a_damaged_folder(
    store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(store)
    flip_a_byte(store.path(KEY) / "train.ids.npy")
    other = FeatureStore(tmp_path / "other")
    assert other.put_from(lent(store.path(KEY)), EXPECTED) is None
    assert other.put_from(lent(tmp_path / "nowhere"), EXPECTED) is None
    assert "wrong checksum of train.ids.npy" in caplog.text
    assert not other.path(KEY).exists()


def sealed(folder: Path, change: dict[str, object]) -> None:
    """Change what an entry says of itself, under checksums that are right."""
    meta = json.loads((folder / "meta.json").read_text())
    key = str(change.pop("features_key", KEY))
    extra = change.pop("checksums", {})
    seal_entry(folder, meta | change, key)
    meta = json.loads((folder / "meta.json").read_text())
    meta["checksums"] |= extra
    (folder / "meta.json").write_text(json.dumps(meta))


FOREIGN_META: list[dict[str, object]] = [
    {"features_key": "/tmp/x"},
    {"features_key": "../../precious"},
    {"features_key": "another"},
    {"checksums": {"../../precious/train.features.npy": "0" * 64}},
    {"checksums": {"/etc/passwd": "0" * 64}},
    {"checksums": {"val.features.npy": "missing"}},
    {"class_names": ["x", "z"]},
    {"skipped": [{"split": "train", "row": 0, "path": "p", "reason": "r"}]},
    {"skipped": [{"split": "../x", "row": 0, "path": "p", "reason": "r"}]},
    {"skipped": [{"split": "train", "row": 10**30, "path": "p", "reason": "r"}]},
    {"skipped": [{"split": "train", "row": "0", "path": "p", "reason": "r"}]},
    {"skipped": None},
]


@pytest.mark.parametrize("change", FOREIGN_META)
def test_put_from_takes_nothing_that_names_other_images_or_places(
    store: FeatureStore, tmp_path: Path, change: dict[str, object]
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    write(store)
    sealed(store.path(KEY), dict(change))
    other = FeatureStore(tmp_path / "other")
    assert other.put_from(lent(store.path(KEY)), EXPECTED) is None
    assert (precious / "file").read_text() == "mine"
    assert not list(tmp_path.glob("other/features/*/"))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def announcing(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 2)})


def doubled(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64) if "features" in path.name else np.load(path).astype("<U64"))


def with_nan(path: Path) -> None:
    np.save(path, np.full((3, 2), np.nan, dtype=np.float32))


def wider(path: Path) -> None:
    np.save(path, np.ones((3, 5), dtype=np.float32))


def swapped(path: Path) -> None:
    np.save(path, np.load(path)[::-1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((f"train.{part}.npy", change) for part in ("features", "labels", "ids") for change in (pickled, announcing)),
        ("train.features.npy", doubled),
        ("train.ids.npy", doubled),
        ("train.ids.npy", swapped),
        ("train.features.npy", with_nan),
        ("train.features.npy", wider),
    ],
)
def test_put_from_takes_no_other_arrays(
    store: FeatureStore, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    write(store)
    change(store.path(KEY) / name)
    sealed(store.path(KEY), {})
    assert FeatureStore(tmp_path / "other").put_from(lent(store.path(KEY)), EXPECTED) is None


def test_path_refuses_keys_that_lead_elsewhere(store: FeatureStore) -> None:
    for key in ("../x", "/etc", "a/b", "", ".", "a.lock", "k" * 65):
        with pytest.raises(ValueError, match="letters and digits"):
            store.path(key)


def write_slowly(root: Path, seconds: float, log: Path) -> None:
    store = FeatureStore(root)
    with store.lock(KEY):
        if store.get(KEY) is None:
            time.sleep(seconds)
            write(store)
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")


def test_lock_lets_one_of_two_processes_work(store: FeatureStore, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    processes = [context.Process(target=write_slowly, args=(store.root, 0.5, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(log.read_text().splitlines()) == 1
    assert store.get(KEY) is not None


WRITE_AND_HANG = """
import sys, time
from pathlib import Path
import numpy as np
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.features.row_file import RowFile

with FeatureStore(Path(sys.argv[1])).writer(sys.argv[2]) as entry:
    RowFile(entry.folder / "train.features.npy", (3, 2)).write(np.arange(2), np.ones((2, 2), dtype=np.float32))
    print("half", flush=True)
    time.sleep(600)
"""


def test_writer_killed_leaves_nothing_that_is_read(store: FeatureStore) -> None:
    command = ["-c", WRITE_AND_HANG, str(store.root)]
    started = [forked.Process([*command, key], stdout=subprocess.PIPE, stderr=None) for key in (KEY, "abandoned")]
    for process in started:
        assert process.stdout.readline() == "half\n"
    for process in started:
        process.kill()
        process.communicate()

    assert store.get(KEY) is None
    assert names_beside(store) == [f".{KEY}.partial", ".abandoned.partial"]
    write(store)
    assert store.get(KEY) is not None
    assert names_beside(store) == [KEY]


def test_writer_leaves_the_partial_folder_of_a_living_writer(store: FeatureStore) -> None:
    process = forked.Process(["-c", WRITE_AND_HANG, str(store.root), "other"], stdout=subprocess.PIPE, stderr=None)
    process.stdout.readline()
    write(store)
    assert names_beside(store) == [".other.partial", KEY]
    process.kill()
    process.communicate()


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.features.row_file import RowFile

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with FeatureStore(Path(sys.argv[1])).writer("key") as entry:
        RowFile(entry.folder / "train.features.npy", (1000, 512))
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no file size limits")
def test_writer_says_in_one_line_that_the_disk_is_full(store: FeatureStore) -> None:
    done = forked.run(["-c", FULL_DISK, str(store.root)])
    (line,) = done.stdout.splitlines()
    assert line.startswith("the feature store must be readable, writable and have free space, got File too large at ")
    assert line.endswith("free disk space, or pass cache_dir with another folder")
    assert names_beside(store) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_row_file_says_in_one_line_that_the_disk_is_full(store: FeatureStore) -> None:
    def fill() -> None:
        with store.writer(KEY) as entry:
            (entry.folder / "x.npy").symlink_to("/dev/full")
            with RowFile(entry.folder / "x.npy", (3, 2)) as file:
                file.write(np.arange(3), np.ones((3, 2), dtype=np.float32))

    with pytest.raises(InputError, match=r"got No space left on device at .*x.npy; free disk space") as caught:
        fill()
    assert "\n" not in str(caught.value)
    assert store.get(KEY) is None


@contextmanager
def read_only(store: FeatureStore) -> Iterator[None]:
    """Take the right to write to the store, also from root."""
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    user = os.geteuid()
    for folder in folders:
        folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
def test_read_only_store_refuses_writes_in_one_line(store: FeatureStore) -> None:
    store.root.mkdir()
    with (
        read_only(store),
        pytest.raises(InputError, match="writable and have free space, got Permission denied at") as caught,
    ):
        write(store)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read and write everywhere")
def test_read_only_store_can_be_read(store: FeatureStore) -> None:
    write(store)
    with read_only(store):
        assert store.get(KEY) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
def test_get_does_not_take_a_locked_away_entry_for_damaged(store: FeatureStore) -> None:
    write(store)
    (store.path(KEY) / "meta.json").chmod(0)
    with read_only(store), pytest.raises(InputError, match=r"must be readable, .* got Permission denied"):
        store.get(KEY)
    (store.path(KEY) / "meta.json").chmod(0o644)
    assert store.get(KEY) is not None


def test_store_under_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "store")
    assert store.get(KEY) is None
    with pytest.raises(InputError, match="must be readable, writable and have free space, got Not a directory"):
        write(store)


def test_default_cache_dir_prefers_the_parameter_then_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESNET_MLFLOW_CACHE", str(tmp_path / "variable"))
    assert default_cache_dir(str(tmp_path / "parameter")) == tmp_path / "parameter"
    assert default_cache_dir("") == tmp_path / "variable"
    monkeypatch.delenv("RESNET_MLFLOW_CACHE")
    assert default_cache_dir("") == Path.home() / ".cache" / "resnet-mlflow"
    monkeypatch.chdir(tmp_path)
    assert default_cache_dir("here") == tmp_path / "here"
