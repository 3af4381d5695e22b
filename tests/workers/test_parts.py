"""Parts given to workers of this machine: in which order, and to which worker."""

import os
import time

import pytest

from resnet_mlflow.workers.cluster import open_workers
from resnet_mlflow.workers.parts import Part, do_parts

SHORT_S, LONG_S = 0.05, 1.0


def do(content):
    started = time.monotonic()
    time.sleep(content["seconds"])
    return {"worker": str(os.getpid()), "started": str(started)}


def part(key, seconds, priority, after=()):
    return Part(key, {"seconds": seconds}, after, priority)


@pytest.mark.slow
def test_long_parts_begin_first_and_are_shared_out():
    features = [part(f"features {i}", SHORT_S, 100) for i in range(3)]
    long = [part(f"long {i}", LONG_S, 3) for i in range(3)]
    short = [part(f"short {i}", SHORT_S, 1, (features[i % 3].key,)) for i in range(30)]
    with open_workers(2, "") as client:
        answers = dict(do_parts(client, do, [*features, *short, *long]))
    assert len(answers) == 36
    begun = {key: float(answer["started"]) for key, answer in answers.items()}
    assert all(begun[one.key] > begun[one.after[0]] + SHORT_S for one in short), "features are there before"
    assert set(sorted(begun, key=begun.get)[2:5]) == {"features 2", "long 0", "long 1"}
    assert answers["long 0"]["worker"] != answers["long 1"]["worker"]
    # The first worker to finish takes the third; both may finish at once.
    assert "long 2" in sorted(begun, key=begun.get)[5:7]
