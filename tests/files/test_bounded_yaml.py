"""YAML from outside: what it may hold, and that a few lines of it never grow."""

from pathlib import Path

import pytest
import yaml

from resnet_mlflow.errors import InputError
from resnet_mlflow.files.bounded_yaml import MAX_DEPTH, read_yaml, read_yaml_file
from resnet_mlflow.heads import parse_head_params
from resnet_mlflow.study import load_study
from resnet_mlflow.tuning.search_space import load_space

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "aliases": LAUGHS,
    "merges": MERGES,
    "itself": "C: &a [*a]",
    "itself deeper": "C: &a {k: [1, {l: *a}]}",
    "depth": "{C: " + "[" * 5000 + "]" * 5000 + "}",
    "mapping depth": "{C: " * 300 + "1" + "}" * 300,
    "length": "{C: 1}" + " " * 200_000,
    "a long number": "{C: " + "9" * 5000 + "}",
    "a long text": "{C: " + "x" * 5000 + "}",
    "many values": "{C: [" + "1," * 40_000 + "1]}",
    "no date": "{C: 2026-13-45}",
    "a tag": "!!python/object/apply:os.system ['touch exploded']",
    "a tag of names": "!!python/name:os.system",
    "two documents": "{C: 1}\n---\n{C: 2}",
    "a list as a key": "? [1, 2]\n: 3",
    "no end": "{C: [1",
    "a control character": "C: \x00",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_read_yaml_refuses_what_grows(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(yaml.YAMLError):
        read_yaml(BOMBS[kind])
    (tmp_path / "bomb.yaml").write_text(BOMBS[kind])
    for read in (
        parse_head_params,
        lambda _: load_space("bomb.yaml", "svm", {}),
        lambda _: load_study("bomb.yaml"),
    ):
        with pytest.raises(InputError) as refused:
            read(BOMBS[kind])
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 800
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.yaml"]


def test_read_yaml_reads_anchors_and_merges():
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}],
    }  # fmt: skip
    assert read_yaml("") is None
    assert read_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_read_yaml_file_refuses_files_that_are_no_text(tmp_path):
    (tmp_path / "latin").write_bytes(b"name: caf\xe9")
    for path in (tmp_path / "latin", tmp_path, tmp_path / "nowhere", Path("/dev/zero"), tmp_path / ("n" * 300)):
        with pytest.raises(yaml.YAMLError) as refused:
            read_yaml_file(path)
        assert "\n" not in str(refused.value)
