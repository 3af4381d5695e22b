"""Images that the tests of served classifiers share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def noisy_colours():
    """Make noisy images of 40 x 48 pixels: red, green and blue in turn."""

    def make(n_images):
        images = np.random.default_rng(0).integers(0, 120, (n_images, 40, 48, 3), dtype=np.uint8)
        images[np.arange(n_images), :, :, np.arange(n_images) % 3] += 130
        return images

    return make
