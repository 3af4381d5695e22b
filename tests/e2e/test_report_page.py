"""The report as a person sees it: in a window, and on paper."""

from pathlib import Path

import pytest

browser_module = pytest.importorskip("browser", reason="needs selenium")
pytestmark = pytest.mark.skipif(
    not browser_module.AVAILABLE, reason=f"needs {browser_module.CHROMIUM} and {browser_module.DRIVER}"
)
# Between margins of 12 mm, at 96 pixels per inch.
A4 = {"portrait": 703, "landscape": 1032}


@pytest.fixture(scope="module")
def page(demo_store, tmp_path_factory):
    """The report of the demo's study in a browser."""
    opened = browser_module.Browser(tmp_path_factory.mktemp("profile"))
    report = Path(demo_store.removeprefix("sqlite:///")).parent / "report" / "report.html"
    opened.open(report.as_uri())
    opened.wait(lambda: opened.all(".chart .main-svg"), "the charts")
    yield opened
    opened.quit()


@pytest.mark.parametrize("width", A4.values(), ids=A4)
def test_report_fits_on_paper_whole(page, width):
    driver = page.driver
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    try:
        right = (
            "return Math.max(...[...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().right))"
        )
        for what in ("td", "th", ".chart .main-svg", ".point", ".xtick text", "li"):
            assert driver.execute_script(right, what) <= width + 1, what
        assert driver.execute_script("return getComputedStyle(document.body).color") == "rgb(29, 36, 48)"
        fonts = driver.execute_script(
            "return [...document.querySelectorAll('.xtick text')].map(e => getComputedStyle(e).fontFamily)"
        )
        assert fonts
        assert all("sans-serif" in font for font in fonts)
    finally:
        driver.execute_script("dispatchEvent(new Event('afterprint'))")
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def phone(page):
    """The page in a window of 390 pixels."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield page
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_tables_show_every_score_on_a_phone_without_scrolling_sideways(phone):
    edges = "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().right)"
    for what in ("tbody th", "td", "td.number", "thead button"):
        edge = phone.driver.execute_script(edges, what)
        assert edge
        assert max(edge) <= 390, what
    label = "return getComputedStyle(document.querySelector('#leaderboard td.number'), '::before').content"
    assert phone.driver.execute_script(label) == '"val accuracy"'
    # Rows stay rows for those who hear the page, though they look like cards.
    rows = phone.driver.find_elements("css selector", "#leaderboard tbody tr")
    assert {row.aria_role for row in rows} == {"row"}


def test_keyboard_goes_from_a_way_past_the_contents_to_filters_headers_and_table(page):
    page.driver.execute_script("scrollTo(0, 0); document.activeElement.blur()")
    page.driver.find_element("css selector", "body").send_keys("\ue004")
    assert page.driver.switch_to.active_element.text == "Skip to the tables"
    # Without a positive tabindex the order is that of the page, which is that of reading.
    order = page.driver.execute_script(
        "return [...document.querySelectorAll('#leaderboard :is(select, .copy, thead button, .scroll)')]"
        ".map(e => e.tabIndex + e.localName)"
    )
    assert order[0] == "0select"
    assert order[order.index("0div") + 1] == "0button"


def test_charts_and_tables_have_names_to_be_read_aloud(page):
    for what in (".chart", ".scroll", "main section[id]"):
        found = page.driver.find_elements("css selector", what)
        assert found
        assert all(len(element.accessible_name) > 10 for element in found), what


def shown_rows(page):
    return page.all("#leaderboard tbody tr")


def shown_scores(page):
    cells = [row.find_elements("css selector", "td.number")[1] for row in shown_rows(page)]
    return [float(cell.get_attribute("data-value")) for cell in cells]


def test_leaderboard_is_sorted_filtered_and_copied(page):
    every = shown_scores(page)
    page.click("#leaderboard thead button", "test accuracy")
    assert shown_scores(page) == sorted(every, reverse=True)
    page.click("#leaderboard thead button", "test accuracy")
    assert shown_scores(page) == sorted(every)
    page.find("#leaderboard select[data-column='1']").send_keys("knn")
    assert {row.find_elements("css selector", "td")[0].text for row in shown_rows(page)} == {"knn"}
    # The clipboard of a window without a screen cannot be read.
    page.driver.execute_script("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.click("#leaderboard .copy")
    page.wait_for_text("1 row copied")
    header, line, end = page.driver.execute_script("return window.copied").split("\n")
    assert header.startswith("backbone,head,strategy,")
    assert line.startswith("resnet18,knn,frozen,")
    assert end == ""
