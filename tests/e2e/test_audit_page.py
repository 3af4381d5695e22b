"""The page of an audit as a person uses it: sorted, filtered, marked, on a phone, and what was marked given back."""

import base64
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from resnet_mlflow.config import AuditConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.stages.audit import run_audit

browser_module = pytest.importorskip("browser", reason="needs selenium")
pytestmark = pytest.mark.skipif(
    not browser_module.AVAILABLE, reason=f"needs {browser_module.CHROMIUM} and {browser_module.DRIVER}"
)


def shapes(root: Path) -> Path:
    """Noise of two tints, of which one class is called as a verdict is; twins, a black picture, and a text."""
    rng = np.random.default_rng(0)
    for split, n_images in (("train", 16), ("test", 6)):
        for name, tint in (("drop", 60), ("leaf", 140)):
            (root / split / name).mkdir(parents=True)
            for place in range(n_images):
                pixels = rng.integers(0, 100, (40, 40, 3)) + np.array([tint, 60, 60])
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{place}.png")
    for place in range(3):
        twin = Image.open(root / "train" / "leaf" / f"{place}.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        twin.save(root / "test" / "leaf" / f"twin{place}.png")
    Image.new("RGB", (40, 40)).save(root / "train" / "leaf" / "black.png")
    (root / "train" / "drop" / "notes.png").write_text("no image")
    return root


@pytest.fixture(scope="module")
def audited(module_store):
    """A folder, and the page of its audit."""
    folder = shapes(Path.cwd() / "shapes")
    outcome = run_audit(AuditConfig(dataset=f"folder:{folder}", weights="random", image_size=32))
    page = mlflow.artifacts.download_artifacts(run_id=outcome.run_id, artifact_path="audit/audit.html")
    return folder, Path(page)


@pytest.fixture(scope="module")
def page(audited, tmp_path_factory):
    opened = browser_module.Browser(tmp_path_factory.mktemp("profile"))
    opened.open(audited[1].as_uri())
    yield opened
    opened.quit()


@pytest.fixture(autouse=True)
def _fresh(page):
    page.driver.refresh()


def choose(page, control: str, value: str) -> None:
    page.driver.execute_script(
        "const made = document.getElementById(arguments[0]); made.value = arguments[1];"
        "made.dispatchEvent(new Event('input'));",
        control,
        value,
    )


def cards(page) -> list[str]:
    return [card.text for card in page.all("#cards .card")]


def first_paths(page) -> list[str]:
    return [card.find_element("css selector", "figcaption").text for card in page.all("#cards .card")]


def test_page_is_filtered_by_finding_split_label_and_path(page):
    every = len(cards(page))
    page.click("button.plain", "Near-duplicate in another split")
    assert sorted(first_paths(page)) == [f"test/leaf/twin{place}.png" for place in range(3)]
    assert all("flipped" in text for text in cards(page))
    assert f"3 of {every} issues" in page.find("#count").text
    choose(page, "split", "train")
    assert cards(page) == []
    choose(page, "kind", "")
    choose(page, "label", "drop")
    assert "train/drop/notes.png" in first_paths(page)
    choose(page, "text", "NOTES")
    assert first_paths(page) == ["train/drop/notes.png"]
    assert "no image" in cards(page)[0]


def test_page_is_sorted_by_score_and_by_path(page):
    choose(page, "order", "path")
    assert first_paths(page) == sorted(first_paths(page))
    for order, turned in (("score", True), ("low", False)):
        choose(page, "order", order)
        scores = page.driver.execute_script(
            "const cards = [...document.querySelectorAll('#cards .card')];"
            "return cards.map(card => +card.textContent.match(/score ([-\\d.e]+)/)[1]);"
        )
        assert scores == sorted(scores, reverse=turned)


def test_verdicts_of_the_page_are_corrections(audited, page, tmp_path):
    page.click("button.plain", "Near-duplicate in another split")
    for number, verdict in enumerate(("drop", "label:drop", "keep")):
        select = page.all("#cards .card select")[number]
        page.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'));", select, verdict
        )
        assert select.get_property("value") == verdict
    choose(page, "kind", "unreadable")
    page.find("#cards .card select").send_keys("drop")
    choose(page, "kind", "twin_across")
    # What was marked stays while other things are looked at.
    assert [one.get_property("value") for one in page.all("#cards .card select")] == ["drop", "label:drop", "keep"]
    page.driver.execute_script(
        "URL.createObjectURL = blob => { const r = new FileReader(); r.onload = () => window.saved = r.result;"
        "r.readAsDataURL(blob); return '#'; };"
    )
    page.click("#download")
    saved = page.wait(lambda: page.driver.execute_script("return window.saved"), "the table")
    (tmp_path / "audit.csv").write_bytes(base64.b64decode(saved.partition(",")[2]))
    options = {"data_dir": tmp_path, "on_bad_image": "skip"}
    before = load_dataset(f"folder:{audited[0]}", **options)
    after = load_dataset(f"folder:{audited[0]}", corrections=str(tmp_path / "audit.csv"), **options)
    assert before.class_counts("test") == {"drop": 6, "leaf": 9}
    assert after.class_counts("test") == {"drop": 7, "leaf": 7}
    assert after.class_counts("train") == before.class_counts("train")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_light_and_dark(page, scheme):
    driver = page.driver
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    try:
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        for css in (".scroll table", ".controls > *", ".card"):
            for found in page.all(css):
                assert found.rect["x"] + found.rect["width"] <= 390, css
        paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
