import os

import pytest

from resnet_mlflow.devices import wait_asleep


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "100000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "1000"}, "1000")],
)
def test_threads_wait_asleep_unless_a_user_has_decided(monkeypatch, given, count):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_asleep()
    assert os.environ.get("GOMP_SPINCOUNT") == count
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
