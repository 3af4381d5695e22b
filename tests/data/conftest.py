from pathlib import Path

import pytest
from sample_images import write_classes


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """A folder of train and test with two classes: 4 + 4 and 2 + 2 images."""
    root = tmp_path / "birds"
    write_classes(root / "train", {"crow": 4, "owl": 4})
    write_classes(root / "test", {"crow": 2, "owl": 2}, first_seed=100)
    return root
