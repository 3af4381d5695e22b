import hashlib
import os

import pytest

from resnet_mlflow.errors import InputError
from resnet_mlflow.files import digests


@pytest.fixture
def read(monkeypatch):
    """What was read to digest it."""
    digests.forget_digests()
    found, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: found.append(file.name) or digest(file, name))
    return found


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path, read):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert [digests.file_sha256(path) for _ in range(2)] == [expected] * 2
    assert len(read) == 1
    stamps = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert digests.file_sha256(path) == hashlib.sha256(b"abd").hexdigest()
    assert len(read) == 2


def test_check_digests_names_files_that_changed_are_missing_or_new(tmp_path):
    for name in ("a", "b", "c/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    then = digests.digests_of(tmp_path)
    assert list(then) == ["a", "b", "c/d"]
    digests.check_digests("a copy", digests.digests_of(tmp_path), then, "copy it again")
    (tmp_path / "a").write_text("other")
    (tmp_path / "b").rename(tmp_path / "e")
    now = digests.digests_of(tmp_path)
    assert digests.digest_of_all(now) != digests.digest_of_all(then)
    text = r"a copy must have the same digests as at its origin, got 3 that differ \(a, b, e\); copy it again"
    with pytest.raises(InputError, match=text):
        digests.check_digests("a copy", now, then, "copy it again")
