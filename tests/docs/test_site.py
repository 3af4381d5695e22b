"""The documentation as a site: every link leads somewhere, and nothing is fetched from the network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material", reason="needs the dependency group docs")
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does: any warning, such as of a broken link, ends the build."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_site_has_every_page_and_what_pages_link_to(site):
    pages = {path.relative_to(PROJECT) for path in (PROJECT / "docs").rglob("*.md") if path.name != "README.md"}
    assert [page for page in pages if not (site / page.with_suffix(".html")).exists()] == []
    assert all((site / name).exists() for name in ("index.html", "docs/decisions/index.html", "studies/digits.yaml"))


def test_site_needs_no_network(site):
    fetched = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"?(https?:[^\" >]+)")
    assert {url for page in site.rglob("*.html") for url in fetched.findall(page.read_text())} == set()


def test_site_is_searched_without_a_server(site):
    text = (site / "search" / "search_index.js").read_text()
    index = json.loads(text.removeprefix("var __index = "))
    assert any(entry["location"].startswith("docs/troubleshooting.html") for entry in index["docs"])
    assert "docs/site/iframe-worker.js" in (site / "index.html").read_text()
