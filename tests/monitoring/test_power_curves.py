"""How soon changes are noticed: power by size of the change and of the batch, and the sentence that says so."""

from dataclasses import replace

import numpy as np
import pytest

from resnet_mlflow.monitoring.changes import Pool
from resnet_mlflow.monitoring.power import (
    Curve,
    FalseAlarms,
    batch_sizes,
    count_false_alarms,
    measure_curve,
    power_as_json,
    sentence_of,
)

LEVEL = 0.025


@pytest.fixture(scope="module")
def curves(pool):
    """Of images whose features are shifted a little, more and a lot."""

    def shifted(size):
        moved = pool.images.features.copy()
        moved[:, :60] += size
        return Pool(pool.reference, replace(pool.images, features=moved))

    return {size: measure_curve("fog", 3, shifted(size), LEVEL) for size in (0.25, 0.5, 1.5)}


def test_power_grows_with_the_change_and_with_the_batch(curves):
    mild, medium, strong = curves.values()
    assert strong.power == (1.0,), "nothing is measured beyond what is always noticed"
    assert (strong.n_images, strong.noticed_from) == ((10,), 10)
    for curve in (mild, medium):
        assert curve.power[-1] > curve.power[0] + 0.3
        assert (np.diff(curve.power) > -0.2).all()
    assert all(np.array(medium.power) >= np.array(mild.power[: len(medium.power)]) - 0.1)
    assert medium.noticed_from < (mild.noticed_from or 1000)


def test_false_alarms_are_counted_over_all_sizes(pool):
    found = count_false_alarms(pool, LEVEL, n_batches=40)
    assert found.batches == 40
    assert found.alarms <= 5
    # At this level each of the five tests finds everything.
    assert count_false_alarms(pool, 5.0, n_batches=10).alarms == 10


def test_power_as_json_is_what_a_model_card_reads():
    curve = Curve("fog", 5, (10, 20), (0.5, 1.0), 20)
    found = power_as_json([curve], FalseAlarms(3, 200), LEVEL)
    assert found == {
        "sentence": "notices strong fog with 20 images or more; false alarms 3 of 200 batches",
        "target_power": 0.8,
        "level": 0.025,
        "false_alarms": {"alarms": 3, "batches": 200},
        "curves": [{"corruption": "fog", "severity": 5, "n_images": (10, 20), "power": (0.5, 1.0), "noticed_from": 20}],
    }


def test_sentence_names_the_ends_of_each_corruption():
    made = [
        *(Curve("fog", severity, (10,), (1.0,), 10) for severity in (1, 3, 5)),
        Curve("jpeg_compression", 1, (10, 20, 40), (0, 0, 0.1), None),
        Curve("jpeg_compression", 3, (10, 20, 40), (0, 0, 0.7), None),
        Curve("jpeg_compression", 5, (10, 20, 40), (0, 0.2, 0.9), 40),
    ]
    assert sentence_of(made, FalseAlarms(0, 200)) == (
        "notices strong fog and mild fog with 10 images or more, strong jpeg compression with 40; not mild jpeg "
        "compression "
        "up to 40; false alarms 0 of 200 batches"
    )
    assert sentence_of(made[3:4], FalseAlarms(1, 9)).startswith("notices none of the corruptions; not mild jpeg")


@pytest.mark.parametrize(("n_images", "largest"), [(19, 0), (20, 10), (359, 160), (1000, 320)])
def test_batches_are_half_of_the_images_at_most(n_images, largest):
    assert max(batch_sizes(n_images), default=0) == largest
