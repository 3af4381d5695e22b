"""Light of pictures, and what it explains."""

import numpy as np

from resnet_mlflow.uncertainty.pictures import explain, fit_limits, measure_light

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(40, 200, (300, 48, 64, 3), dtype=np.uint8)


def test_pictures_are_explained_by_their_light():
    limits = fit_limits(measure_light(PICTURES))
    strange = np.stack([PICTURES[0] // 8, 220 + PICTURES[0] // 8, PICTURES[0] // 8 + 105, PICTURES[0]])
    found = explain(measure_light(strange), limits).tolist()
    assert found == ["too dark", "too bright", "too little contrast", ""]
    text = explain(measure_light(PICTURES), limits)
    assert (text != "").mean() < 0.05
    assert explain(np.full((2, 4), np.nan, dtype=np.float32), limits).tolist() == ["", ""]
    assert explain(measure_light(strange), {}).tolist() == [""] * 4


def test_light_of_a_large_picture_is_that_of_a_small_one():
    small = np.tile(np.linspace(20, 230, 64, dtype=np.uint8)[None, :, None], (48, 1, 3))
    large = small.repeat(10, axis=0).repeat(10, axis=1)
    np.testing.assert_allclose(measure_light(large[None]), measure_light(small[None]), atol=0.02)
