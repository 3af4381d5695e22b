import csv
import html.parser
import io
import math

import pandas as pd
import pytest

from analysis.links import RunLinks
from analysis.render import Entry, cells, format_value, latex_escape, to_csv, to_html, to_latex, to_markdown
from analysis.table import Column, Table


@pytest.fixture
def table():
    frame = pd.DataFrame(
        {
            "head": ["svm", "a|b_1 <i>&"],
            "acc": [0.9625, 0.5],
            "acc std": [0.0125, math.nan],
            "acc n": [2, 1],
            "acc low": [0.9, math.nan],
            "acc high": [1.0, math.nan],
            "gain": [-0.01, math.nan],
            "gain low": [-0.02, math.nan],
            "gain high": [0.01, math.nan],
            "p": [0.0004, "n too small"],
            "fit": [0.001, 123.4],
            "run_ids": [["r1", "r2"], ["r3"]],
        }
    )
    columns = (
        Column("head", "head"),
        Column("acc", "test accuracy", "score"),
        Column("gain", "gain", "difference"),
        Column("p", "p (Holm)", "p_value"),
        Column("fit", "fit s", "seconds"),
    )
    return Table(
        "heads", "Which head is best at 100 %?", frame, columns, ("One & only note.",), frozenset({(0, "acc")})
    )


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.98765, "score", "0.9877"),
        (-0.5, "difference", "-0.5000"),
        (0.0, "difference", "+0.0000"),
        (0.001, "p_value", "0.001"),
        (0.00099, "p_value", "< 0.001"),
        (1.0, "p_value", "1.000"),
        (0.0, "seconds", "0.00"),
        (0.004, "seconds", "< 0.01"),
        (0.0004, "number", "< 0.001"),
        (-0.5, "number", "-0.500"),
        (12.34, "seconds", "12.3"),
        (1234.6, "seconds", "1,235"),
        (25_557_032, "count", "25,557,032"),
        (0.4321, "number", "0.432"),
        (4_100_000, "number", "4,100,000"),
        ("n too small", "p_value", "n too small"),
        (math.nan, "count", "-"),
        (None, "text", "-"),
        ("", "text", "-"),
    ],
)
def test_format_value_follows_the_kind(value, kind, text):
    assert format_value(value, kind) == text


def test_cells_hold_deviation_interval_weight_and_runs(table):
    first, second = cells(table)
    assert first[1] == Entry("0.9625 ± 0.0125", "0.9000 to 1.0000", True, ("r1", "r2"), number=0.9625)
    assert first[2] == Entry("-0.0100", "-0.0200 to +0.0100", False, ("r1", "r2"), number=-0.01)
    # One seed has no deviation, a value that is missing no runs.
    assert second[1] == Entry("0.5000", "", False, ("r3",), number=0.5)
    assert second[2] == Entry("-")


def test_to_markdown_bolds_winners_only_and_escapes_pipes(table):
    text = to_markdown(table)
    assert text.count("**") == 2
    assert "| **0.9625 ± 0.0125 (0.9000 to 1.0000)** |" in text
    assert r"a\|b_1" in text
    assert text.endswith("\n\n- One & only note.\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1, "columns line up"


def test_to_markdown_without_intervals_keeps_deviations(table):
    text = to_markdown(table, intervals=False)
    assert "**0.9625 ± 0.0125**" in text
    assert "1.0000" not in text


def test_to_csv_holds_numbers_in_full(table):
    first, second = csv.DictReader(io.StringIO(to_csv(table)))
    assert (float(first["acc"]), float(first["acc std"]), first["acc n"]) == (0.9625, 0.0125, "2")
    assert first["run_ids"] == "r1 r2"
    assert second["head"] == "a|b_1 <i>&"
    assert second["p"] == "n too small"


def test_to_latex_escapes_and_sets_minus_signs(table):
    text = to_latex(table)
    assert r"\textbf{\boldmath 0.9625 $\pm$ 0.0125 (0.9000 to 1.0000)}" in text
    assert r"$-$0.0100 ($-$0.0200 to +0.0100)" in text
    assert r"a$|$b\_1 $<$i$>$\&" in text
    assert r"\caption{Which head is best at 100 \%?}" in text
    assert r"\begin{tabular}{lrrrrr}" in text


def test_latex_escape_leaves_no_special_character_bare():
    assert latex_escape("\\{}_%&#$~^") == (r"\textbackslash{}\{\}\_\%\&\#\$\textasciitilde{}\textasciicircum{}")


class Reader(html.parser.HTMLParser):
    """Collects the texts of cells, links and bold parts."""

    def __init__(self):
        super().__init__()
        self.links, self.bold, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "elements are nested"

    def handle_data(self, data):
        if "b" in self.open:
            self.bold.append(data)


def test_to_html_links_each_number_to_its_runs_and_escapes(table):
    links = RunLinks("http://127.0.0.1:5000", {"r1": "7", "r2": "7", "r3": "8"})
    text = to_html(table, links.url)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.bold == ["0.9625 ± 0.0125"]
    assert reader.links.count("http://127.0.0.1:5000/#/experiments/8/runs/r3") == 4
    compared = "http://127.0.0.1:5000/#/compare-runs?runs=%5B%22r1%22%2C%22r2%22%5D&experiments=%5B%227%22%5D"
    assert reader.links.count(compared) == 5
    assert "a|b_1 &lt;i&gt;&amp;" in text


def test_to_html_without_addresses_has_no_links(table):
    assert "<a " not in to_html(table, lambda run_ids: "")


def test_html_names_both_parts_of_an_interval():
    ends = {"acc low": 0.7, "acc high": 0.9, "acc seeds low": 0.72, "acc seeds high": 0.88}
    frame = pd.DataFrame([{"head": "svm", "acc": 0.8, **ends, "acc items low": 0.75, "acc items high": 0.85}])
    table = Table("heads", "Which?", frame, (Column("head", "head"), Column("acc", "test accuracy", "score")))
    title = 'title="over seeds 0.7200 to 0.8800; over images 0.7500 to 0.8500"'
    assert f"<small {title}>0.7000 to 0.9000</small>" in to_html(table, lambda _: "")
    assert "acc seeds low,acc seeds high,acc items low,acc items high" in to_csv(table)
    alone = Table("heads", "Which?", frame.drop(columns=["acc items low", "acc items high"]), table.columns)
    assert "<small>0.7000 to 0.9000</small>" in to_html(alone, lambda _: "")
