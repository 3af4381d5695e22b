"""Faulty pictures, and cues: found where they are, and no wolf cried at photographs and flat objects."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter1d
from synthetic_pictures import textures

from resnet_mlflow.audit.cues import measure_cues
from resnet_mlflow.audit.issues import KINDS
from resnet_mlflow.audit.measuring import NUMBERS, ImageFacts, measure_images
from resnet_mlflow.audit.pictures import FAULTS, find_faults
from resnet_mlflow.data.datasets import ImageSplit


def photograph(seed: int, width: int = 640, height: int = 480) -> np.ndarray:
    """A picture with sharp edges and grain."""
    rng = np.random.default_rng(seed)
    small = textures(1, seed, side=24)[0]
    image = Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)
    return np.clip(np.asarray(image) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def flat_object(seed: int) -> np.ndarray:
    """A grey disc on white, as in a catalogue: few edges, most of it blown out."""
    y, x = np.mgrid[:900, :900]
    disc = (x - 450) ** 2 + (y - 450) ** 2 < (150 + 10 * seed) ** 2
    return np.repeat(np.where(disc, 130, 252)[..., None], 3, axis=2).astype(np.uint8)


def small_object(shade: int, ground: int) -> np.ndarray:
    """A disc on a hundredth of a plain ground: a ring in a catalogue, a stroke of a pen."""
    y, x = np.mgrid[:900, :900]
    disc = (x - 450) ** 2 + (y - 450) ** 2 < 55**2
    return np.repeat(np.where(disc, shade, ground)[..., None], 3, axis=2).astype(np.uint8)


ODD = {
    "tiny": lambda: photograph(90, 30, 24),
    "blurred": lambda: gaussian_filter(photograph(91), (10, 10, 0)),
    "dark": lambda: photograph(92) // 8,
    "blown_out": lambda: 250 - photograph(93) // 60,
    "flat": lambda: np.full((480, 640, 3), 140, np.uint8),
    "odd_aspect": lambda: photograph(94, 1600, 200),
    "odd_size": lambda: photograph(95, 2800, 2100),
}


def facts_of(images: list[np.ndarray], folder) -> ImageFacts:
    paths = []
    for place, pixels in enumerate(images):
        paths.append(folder / f"{place}.png")
        Image.fromarray(pixels).save(paths[-1], compress_level=1)
    ids = np.array([f"{place:032x}" for place in range(len(images))])
    return measure_images(ImageSplit(np.zeros(len(images), np.int64), ids, paths=tuple(paths)))


def found_in(facts: ImageFacts) -> dict[str, list[int]]:
    labels = np.zeros(len(facts), np.int64)
    return {one.fault.name: one.rows.tolist() for one in find_faults(facts, labels) if len(one.rows)}


@pytest.fixture(scope="module")
def ordinary():
    return [photograph(seed) for seed in range(30)]


def test_find_faults_finds_each_and_nothing_else(ordinary, tmp_path):
    images = [*ordinary, *(make() for make in ODD.values())]
    found = found_in(facts_of(images, tmp_path))
    expected = {name: len(ordinary) + place for place, name in enumerate(ODD)}
    for name, row in expected.items():
        assert row in found[name], name
    # What is tiny is of an odd size, too; what shows nothing is blown out or flat besides.
    others = {name: set(rows) - set(expected.values()) for name, rows in found.items()}
    assert all(not rows for rows in others.values()), others


def test_find_faults_let_high_resolution_and_flat_objects_pass(tmp_path):
    images = [photograph(seed, 2400, 1800) for seed in range(3)] + [flat_object(seed) for seed in range(3)]
    images += [small_object(20, 255), small_object(255, 90), small_object(150, 90)]
    assert found_in(facts_of(images, tmp_path)) == {}


@pytest.mark.parametrize("axis", [0, 1])
def test_find_faults_find_pictures_that_moved_one_way(ordinary, tmp_path, axis):
    # As stripes do, these have an edge one way only.
    stripes = np.repeat((np.arange(480) // 40 % 2 * 120 + 60)[:, None], 640, axis=1)
    stripes = np.repeat((stripes + np.linspace(0, 40, 640))[..., None], 3, axis=2).astype(np.uint8)
    ends = [stripes, np.rot90(stripes)]
    moved = uniform_filter1d(photograph(96), 40, axis=axis)
    assert found_in(facts_of([*ordinary, *ends, moved], tmp_path)) == {"blurred": [len(ordinary) + 2]}


def test_find_faults_take_what_most_images_have_for_the_dataset(tmp_path):
    images = [photograph(seed) // 8 for seed in range(12)]
    labels = np.zeros(12, np.int64)
    dark = {one.fault.name: one for one in find_faults(facts_of(images, tmp_path), labels)}["dark"]
    assert (dark.share, len(dark.rows)) == (1.0, 0)


def test_measure_images_tells_what_cannot_be_read(tmp_path):
    Image.fromarray(photograph(0)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:2000])
    split = ImageSplit(np.zeros(2, np.int64), np.array(["a", "b"]), paths=(tmp_path / "good.png", tmp_path / "bad.png"))
    facts = measure_images(split)
    assert list(facts.errors) == [1]
    assert facts.readable.tolist() == [True, False]
    assert facts.formats.tolist() == ["PNG", ""]
    assert facts.column("width").tolist()[0] == 640


def test_measure_cues_find_the_format_that_gives_labels_away():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    numbers = rng.normal(size=(400, len(NUMBERS)))
    formats = np.where(labels == 0, "JPEG", "PNG")
    facts = ImageFacts(numbers, formats.astype("<U12"), np.zeros((400, 32, 32), np.uint8), {})
    cues = {cue.name: cue for cue in measure_cues(facts, labels, np.arange(400), 2)}
    assert cues["file"].accuracy == 1
    assert cues["file"].gives_away
    assert not cues["light"].gives_away
    low, high = cues["light"].interval
    assert low < 0.5 < high


def test_measure_cues_leave_out_what_is_equal_for_all():
    facts = ImageFacts(np.ones((50, len(NUMBERS))), np.full(50, "PNG"), np.zeros((50, 32, 32), np.uint8), {})
    assert measure_cues(facts, np.arange(50) % 2, np.arange(50), 2) == []


def test_every_fault_is_a_kind_of_issue_and_has_a_picture_here():
    assert {fault.name for fault in FAULTS} == set(ODD) <= set(KINDS)
