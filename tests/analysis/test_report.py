import html.parser
import json
import re
from pathlib import Path
from urllib.parse import unquote

import mlflow
import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.links import RunLinks
from analysis.page import render_page
from analysis.render import cells, shown_columns
from analysis.report import build_report, check_output, fill, write_report
from analysis.runs import load_runs
from analysis.tables import TABLES
from resnet_mlflow.errors import InputError

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Checks nesting; collects what the page loads, its links, its headings and the texts of its tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loaded, self.links, self.ids, self.rows, self.n_scripts = [], [], [], [], [], 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.n_scripts += tag == "script"
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag in ("script", "img", "iframe", "link", "source") and (attributes.get("src") or attributes.get("href")):
            self.loaded.append(attributes.get("src") or attributes["href"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.rows and {"td", "th"} & set(self.open):
            # The interval stands below its value.
            self.rows[-1][-1] += f" ({data})" if "small" in self.open else data


@pytest.fixture(scope="module")
def written(demo_store, tmp_path_factory):
    """A report of the demo's runs: the report, and the folder it was written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", demo_store)
        mlflow.set_tracking_uri(None)
        report = build_report(load_runs("resnet-mlflow"), "http://mlflow.lab:8080/")
        folder = tmp_path_factory.mktemp("report")
        fill(report, folder)
        yield report, folder


@pytest.fixture(scope="module")
def page(written):
    return Page((written[1] / "report.html").read_text())


def test_report_has_the_tables_that_there_are_runs_for(written):
    report, _ = written
    names = [table.name for table in report.tables]
    assert {"heads", "strategies", "ablation", "longtail", "cost"} <= set(names)
    for name in set(TABLES) - set(names):
        assert [remark for remark in report.missing if remark.startswith(f"Table {name} is omitted: it needs ")]


def test_page_is_valid_and_loads_nothing(page, written):
    text = (written[1] / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    icon, *images = page.loaded
    assert icon == "data:,"
    assert images, "the worst mistakes"
    assert all(image.startswith("data:image/jpeg;base64,/9j/") for image in images)
    assert len(page.ids) == len(set(page.ids))
    assert text.count('id="plotly"') == 1, "plotly.js is in it once"
    assert len(text) < 2_000_000
    assert not re.search(r"@import|url\((?!#)[\"']?http", text.split("<script>")[0])
    assert {"how-to-read", "missing", *(table.name for table in written[0].tables)} <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_page_shows_the_numbers_of_the_tables(page, written):
    rows = iter(page.rows)
    for table in written[0].tables:
        columns = shown_columns(table, images=True)
        assert next(rows) == [column.header for column in columns]
        for line in cells(table, images=True):
            pairs = zip(line, columns, strict=True)
            assert next(rows) == ["" if column.kind == "image" else cell.text for cell, column in pairs]
    assert next(rows, None) is None


def test_report_answers_first_and_each_answer_leads_to_its_table(written, page):
    report, folder = written
    best = next(table for table in report.tables if table.name == "leaderboard").frame.iloc[0]
    first, *others = report.answers
    assert first.table == "leaderboard"
    assert first.text.startswith(f"Use {best['head']} on frozen resnet18: ")
    assert f"with a test accuracy of {best['test/accuracy']:.3f} (" in first.text
    assert "strategies" in {answer.table for answer in others}
    assert page.ids[0] == "in-short"
    assert {f"#{answer.table}" for answer in report.answers} <= set(page.links)
    assert (folder / "report.md").read_text().startswith(f"# Experiment resnet-mlflow\n\n- {first.text}")


def test_page_charts_show_the_values_of_the_tables(written):
    report, folder = written
    text = (folder / "report.html").read_text()
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.DOTALL)[1])
    (heads,) = [table for table in report.tables if table.name == "heads"]
    assert charts["heads"]["data"][0]["x"] == list(heads.frame["test/accuracy"])


def test_every_number_links_to_its_runs(page, written):
    report, _ = written
    known = set(report.links.experiment_of)
    links = [link for link in page.links if link.startswith("http")]
    assert len(links) == sum(bool(cell.run_ids) for table in report.tables for line in cells(table) for cell in line)
    for link in links:
        assert link.startswith("http://mlflow.lab:8080/#/")
        named = re.findall(r"[0-9a-f]{32}", unquote(link))
        assert named
        assert set(named) <= known


def test_files_beside_the_page_hold_the_same_tables(written):
    report, folder = written
    for table in report.tables:
        frame = pd.read_csv(folder / "tables" / f"{table.name}.csv")
        column = next(column.name for column in table.columns if column.kind in ("score", "count"))
        assert frame[column].tolist() == pytest.approx(table.frame[column].tolist())
        assert table.title in (folder / "report.md").read_text()
        for ending in ("md", "tex"):
            assert (folder / "tables" / f"{table.name}.{ending}").stat().st_size > 0
    assert (folder / "figures" / "heads.svg").is_file()


def test_render_page_escapes_what_runs_are_called():
    evil = "</script><script>alert(1)</script>"
    text = render_page(evil, [evil], [], [evil], RunLinks("http://127.0.0.1:5000", {}))
    assert "alert(1)" in text
    assert "<script>alert" not in text
    Page(text)


def test_write_report_takes_filters_and_replaces_an_earlier_report(demo_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    folder = tmp_path / "out"
    first = write_report("resnet-mlflow", folder, tags={"stage": "fit_head", "head": "linear"})
    (folder / "tables" / "stale.md").write_text("")
    (folder / "mine.txt").write_text("stays")
    assert write_report("resnet-mlflow", folder, tags={"stage": "fit_head"}) == first == folder / "report.html"
    assert not (folder / "tables" / "stale.md").exists()
    assert (folder / "mine.txt").read_text() == "stays"
    assert "prototype" in (folder / "report.md").read_text()


def test_report_shows_on_a_terminal_how_far_it_is(demo_store, tmp_path, monkeypatch, as_terminal):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    with as_terminal as shown:
        write_report("resnet-mlflow", tmp_path / "out", dataset="none of ours")
    assert shown.getvalue().startswith("\rreport: ")
    assert f"0/{len(TABLES)}" in shown.getvalue()


def test_report_without_runs_says_so(demo_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    path = write_report("resnet-mlflow", tmp_path / "out", dataset="none of ours")
    page = Page(path.read_text())
    assert page.rows == []
    assert "Table heads is omitted: it needs finished runs of fit_head." in path.read_text()


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda path: path.write_text(""), "output must be a folder, got the file"),
        (lambda path: (path.mkdir(), (path / "thesis.tex").write_text("")), "output must be new, empty, or hold"),
    ],
)
def test_check_output_refuses_what_is_not_a_report(tmp_path, make, rule):
    make(tmp_path / "out")
    with pytest.raises(InputError, match=rule):
        check_output(tmp_path / "out")


def test_write_report_names_the_nearest_experiment(demo_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo_store)
    with pytest.raises(InputError, match="did you mean 'resnet-mlflow'"):
        write_report("resnet-mflow", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_of_the_page_have_the_contrast_of_wcag_aa_in_light_and_dark():
    template = (Path(analysis.__file__).parent / "templates" / "report.html.j2").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", theme)) for theme in re.findall(r"--text: [^}]+", template)]
    assert len(themes) == 2
    for theme in themes:
        for front in ("text", "quiet", "link"):
            for back in ("paper", "panel"):
                dark, light = sorted((_luminance(theme[front]), _luminance(theme[back])))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)
