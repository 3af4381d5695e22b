"""Folders that lead in circles, into each other, into the system, or nowhere: every image counts once."""

import os
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest
from sample_images import write_classes, write_image

from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.folder import find_images, load_folder
from resnet_mlflow.errors import InputError


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path / "birds", {"crow": 10, "owl": 10})


def load(root, **options):
    return load_folder(f"folder:{root}", data_dir=root.parent / "cache", **options)


def counts(dataset):
    return {name: sum(dataset.class_counts(split)[name] for split in dataset.splits) for name in dataset.class_names}


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("crow/up", ".."),
        ("crow/up", "."),
        ("latest", "."),
        ("latest", ".."),
        ("latest", "crow"),
        ("crow/other", "../owl"),
        ("owl/other", "../crow"),
        ("crow/root", "/"),
    ],
)
def test_links_add_no_image_and_no_class(root, link, target, caplog):
    digest = load(root).digest
    (root / link).symlink_to(target)
    linked = load(root)
    assert counts(linked) == {"crow": 10, "owl": 10}
    assert linked.digest == digest
    assert f"1 links to folders that are already read are not followed: {link}" in caplog.text
    assert len(find_images(root)) == 20


def test_images_belong_to_the_class_they_really_lie_in(root):
    write_image(root / "owl" / "young" / "a.png", seed=90)
    (root / "crow" / "young").symlink_to("../owl/young")
    assert counts(load(root)) == {"crow": 10, "owl": 11}


def test_links_out_of_the_folder_are_followed_once(root, tmp_path):
    elsewhere = write_classes(tmp_path / "store", {"wren": 5, "tit": 2})
    (root / "wren").symlink_to(elsewhere / "wren")
    (root / "crow" / "more").symlink_to(elsewhere / "tit")
    (root / "owl" / "more").symlink_to(elsewhere / "tit")
    (elsewhere / "tit" / "round").symlink_to(root)
    assert counts(load(root)) == {"crow": 12, "owl": 10, "wren": 5}


def test_a_split_that_is_a_link_to_another_is_not_read_twice(root, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    root.rename(splits / "train")
    write_classes(splits / "test", {"crow": 2, "owl": 2}, first_seed=50)
    (splits / "val").symlink_to("test")
    assert {name: len(split) for name, split in load(splits).splits.items()} == {"train": 20, "test": 4}


def test_order_is_that_of_the_names_files_before_folders(root):
    write_image(root / "crow" / "aaa" / "x.png", seed=91)
    (root / "crow" / "bbb").symlink_to(root.parent / "elsewhere")
    write_image(root.parent / "elsewhere" / "y.png", seed=92)
    names = [path.name for path in find_images(root / "crow")]
    assert names == [*(f"{i:03d}.png" for i in range(10)), "x.png", "y.png"]


@pytest.mark.parametrize("system", ["/proc", "/sys", "/proc/self/fd", "/dev"])
def test_folders_of_the_system_are_refused_at_once(system, tmp_path):
    for read in (lambda: load_folder(f"folder:{system}", data_dir=tmp_path), lambda: find_images(Path(system))):
        with pytest.raises(
            InputError, match=rf"on a disk, got {system}, a system folder \(\w+\); pass another"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_link_into_the_system_counts_as_a_folder_that_cannot_be_read(root):
    (root / "crow" / "state").symlink_to("/proc")
    with pytest.raises(BadImageError, match=r"crow/state \(the folder cannot be read\)"):
        load(root)
    skipping = load(root, on_bad_image="skip")
    assert counts(skipping) == {"crow": 10, "owl": 10}
    assert skipping.skipped_paths == (root / "crow" / "state",)


AS_NOBODY = """
import os, secrets, sys
from pathlib import Path
import numpy.random, PIL.PngImagePlugin
from resnet_mlflow.data.folder import find_images, load_folder
os.setgid(65534); os.setuid(65534)
name, data_dir, bad = sys.argv[1:]
try:
    dataset = load_folder(name, data_dir=Path(data_dir), on_bad_image=bad)
    print(sum(map(len, dataset.splits.values())), dataset.n_skipped, len(find_images(Path(name[7:]))))
except ValueError as error:
    print(type(error).__name__, error)
"""


def as_nobody(root: Path, bad: str) -> str:
    """What loading the folder as another user prints."""
    command = [sys.executable, "-c", AS_NOBODY, f"folder:{root}", str(root.parent / "cache"), bad]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, from whom a folder is hidden")
@pytest.mark.parametrize(
    ("hidden", "bad", "message"),
    [
        ("crow/nest", "fail", r"BadImageError image cannot be decoded: .*/crow/nest (the folder cannot be read)"),
        ("crow/nest", "skip", "20 1 21"),
        ("crow", "fail", r"BadImageError image cannot be decoded: .*/crow (the folder cannot be read)"),
        ("crow", "skip", "InputError every class must have at least 2 images to split, got 0 in class 'crow'"),
        (".", "fail", "InputError the dataset's folder must exist and be readable, got"),
    ],
)
def test_a_folder_that_may_not_be_read_is_never_left_out_in_silence(tmp_path, hidden, bad, message):
    with tempfile.TemporaryDirectory() as folder:
        # pytest's own folders are closed to other users.
        Path(folder).chmod(0o755)
        root = write_classes(Path(folder) / "birds", {"crow": 10, "owl": 10})
        write_image(root / "crow" / "nest" / "x.png", seed=99)
        (root / hidden).chmod(0o000)
        printed = as_nobody(root, bad)
    head, _, tail = message.partition(".*")
    assert printed.startswith(head), printed
    assert tail in printed
    assert printed.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, from whom a folder is hidden")
def test_a_split_that_may_not_be_read_is_refused_in_one_line():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for split, seed in (("train", 0), ("test", 50)):
            write_classes(Path(folder) / "birds" / split, {"crow": 4, "owl": 4}, first_seed=seed)
        (Path(folder) / "birds" / "test").chmod(0o000)
        message = as_nobody(Path(folder) / "birds", "skip")
    assert message.startswith("InputError the folder of a split must exist and be readable, got ")
    assert "/birds/test (Permission denied); check path and permissions\n" in message


def test_a_file_whose_name_is_not_utf8_counts_as_bad(root):
    (root / "crow" / os.fsdecode(b"caf\xe9.png")).write_bytes((root / "crow" / "000.png").read_bytes())
    for _ in range(2):
        with pytest.raises(BadImageError, match=r"caf\\udce9\.png \(its name is not UTF-8; rename it\)") as caught:
            load(root)
    str(caught.value).encode()
    skipping = load(root, on_bad_image="skip")
    assert counts(skipping) == {"crow": 10, "owl": 10}
    str(skipping.skipped_paths[0]).encode()


@pytest.mark.parametrize("where", ["class", "root"])
def test_folders_whose_names_are_not_utf8_are_refused_in_one_line(root, where):
    strange = os.fsdecode(b"h\xe9ron")
    if where == "class":
        write_classes(root, {strange: 3})
    else:
        root = root.rename(root.parent / strange)
    with pytest.raises(InputError, match=r"UTF-8, got .*h\\udce9ron.*; rename") as caught:
        load(root)
    str(caught.value).encode()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("as_splits", [False, True])
def test_class_names_in_both_unicode_forms_are_one_class(tmp_path, as_splits):
    composed, parted = (unicodedata.normalize(form, "éperon") for form in ("NFC", "NFD"))
    first, second = (tmp_path / "x" / "train", tmp_path / "x" / "test") if as_splits else (tmp_path / "x",) * 2
    write_classes(first, {composed: 6, "owl": 6})
    write_classes(second, {parted: 4}, first_seed=40)
    if as_splits:
        write_classes(second, {"owl": 4}, first_seed=80)
    dataset = load(tmp_path / "x")
    assert dataset.class_names == ("owl", composed)
    assert counts(dataset) == {"owl": 10 if as_splits else 6, composed: 10}


@pytest.mark.parametrize("name", ["/no/such", "x" * 300, "~nobody-here/x", "a\nb", "/proc/self/mem"])
def test_paths_that_lead_nowhere_are_told_in_one_line(name, tmp_path):
    with pytest.raises(InputError) as caught:
        load_folder(f"folder:{name}", data_dir=tmp_path)
    assert "\n" not in str(caught.value)
