"""The fuzzer, with few files: ``make fuzz`` takes 20 000 of each format."""

import pytest
from fuzz import fuzz
from mutations import FORMATS, mutated

from resnet_mlflow.data.formats import FORMATS as READ


def test_every_format_that_is_read_is_fuzzed():
    assert len(FORMATS) == len(READ)


@pytest.mark.parametrize("image_format", FORMATS)
def test_no_damaged_file_ends_or_holds_up_the_process(image_format):
    report = fuzz(image_format, seed=2, n_files=1000)
    assert report.sound, str(report)
    assert report.outcomes["decoded"] > 50 < report.outcomes["refused"]
    assert sum(report.outcomes.values()) == 1000


def test_a_file_is_found_again_by_its_number():
    assert mutated("PNG", 2, 7) == mutated("PNG", 2, 7) != mutated("PNG", 2, 8)


def test_a_crash_and_a_hang_are_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    # A decoder that dies at one file and sleeps at another stands where the real one is imported from.
    fake = tmp_path / "resnet_mlflow" / "data"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (tmp_path / "resnet_mlflow" / "__init__.py").touch()
    (fake / "decoding.py").write_text(
        "import os, time\n"
        "class BadImageError(ValueError): ...\n"
        "def decode(path, data, max_pixels):\n"
        "    number = str(path).split()[-1]\n"
        "    if number == '3': os.abort()\n"
        "    if number == '5': time.sleep(100)\n"
        "    if number == '7': raise KeyError('foreign')\n"
        "def read_size(path, data): ...\n"
    )
    monkeypatch.setattr("fuzz.PATIENCE_S", 0.5)
    monkeypatch.setattr("fuzz.PACKAGE", tmp_path)
    report = fuzz("BMP", seed=0, n_files=10)
    assert [number for number, _ in report.faults] == [3, 5, 7]
    assert [what.split("(")[0] for _, what in report.faults] == ["ended the process ", "took over 0.5 s", "KeyError"]
    assert not report.sound
