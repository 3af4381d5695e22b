import dataclasses

import numpy as np

from resnet_mlflow.robustness.results import ResultStore, SetIdentity, SetResult, cell_key
from resnet_mlflow.robustness.severities import constants_for

IDENTITY = SetIdentity(
    "items", "resnet18", "weights", "resize", 32, "fp32", "fog", 3, 0, {"32": constants_for("fog", 3, 32)}
)


def test_cell_key_changes_with_whatever_changes_features():
    changes = {
        "items": "others",
        "backbone": "resnet34",
        "weights_digest": "other",
        "preprocessing": "other",
        "image_size": 64,
        "precision": "bf16",
        "corruption": "snow",
        "severity": 4,
        "corruption_size": 32,
        "constants": {"64": constants_for("fog", 3, 64)},
        "algorithms": "0",
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(SetIdentity)}
    keys = {cell_key(dataclasses.replace(IDENTITY, **{name: value})) for name, value in changes.items()}
    assert len(keys | {cell_key(IDENTITY)}) == len(changes) + 1
    assert cell_key(IDENTITY) == cell_key(dataclasses.replace(IDENTITY))


def test_cell_store_gives_back_what_it_was_given(tmp_path):
    result = SetResult(np.array([3, 1], np.int32), np.array([0.5, 0.25], np.float32), 0.125)
    store = ResultStore(tmp_path)
    assert store.get("k", "r") is None
    store.put("k", "r", result)
    found = store.get("k", "r")
    assert (found.predictions.tolist(), found.confidences.tolist(), found.ece) == ([3, 1], [0.5, 0.25], 0.125)
    assert store.get("k", "other") is None
    assert [path.name for path in (tmp_path / "robustness" / "k").iterdir()] == ["r.npz"]


def test_cell_store_names_a_damaged_result_and_counts_it_as_none(tmp_path, caplog):
    store = ResultStore(tmp_path)
    store.put("k", "r", SetResult(np.zeros(2, np.int32), np.zeros(2, np.float32), 0.0))
    whole = store.path("k", "r").read_bytes()
    for damaged in (b"", whole[:-30], b"x" * len(whole)):
        store.path("k", "r").write_bytes(damaged)
        assert store.get("k", "r") is None
    assert caplog.text.count("damaged result") == 3
