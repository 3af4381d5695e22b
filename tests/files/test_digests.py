import hashlib
import os

import pytest

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
