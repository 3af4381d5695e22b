"""Experiments that others write to: what is none of ours is left out and counted, and nothing they write is obeyed."""

import re

import pytest

from analysis.render import csv_of, latex_escape, slug, to_csv, to_latex, to_markdown
from analysis.report import build_report, fill
from analysis.runs import load_runs
from analysis.table import Column, Table
from benchmarks.run_store import Record, write_records

EVIL = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))"


def cell(seed="0", head="svm", params=None, dataset="digits", **tags):
    own = {"stage": "fit_head", "dataset": dataset, "dataset_digest": "d" * 32, "backbone": "resnet18", "head": head}
    own |= {"weights": "random-seed0", "seed": seed, "features_key": "k", "image_size": "32"} | tags
    given = {"head": head, "seed": seed} | (params or {})
    scores = {f"{split}/accuracy": 0.5 for split in ("val", "test")}
    return Record(f"fit_head {head} resnet18 {dataset} s{seed}", own, given, scores, "FINISHED")


FOREIGN = [
    {"seed": "None"},
    {"seed": "1.5"},
    {"seed": "-1"},
    {"seed": "9" * 400},
    {"seed": "zero"},
    {"image_size": "224x224"},
    {"image_size": "1e9999"},
    {"dataset": "d" * 300},
    {"dataset": "line\nbreak"},
    {"head": "h" * 4000},
    {"weights": "\x1b[31mred"},
    {"params": {"seed": "None"}},
    {"params": {"image_size": "224x224"}},
    {"params": {"val_fraction": "much"}},
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_report_leaves_out_and_counts_runs_that_are_none_of_ours(store, tmp_path, foreign):
    write_records(store, "resnet-mlflow", [cell(), cell(head="knn"), cell(**foreign)])
    runs = load_runs("resnet-mlflow")
    assert len(runs.frame) == 2
    assert "1 run is omitted, with numbers or names that are not this project's." in runs.warnings
    fill(build_report(runs), tmp_path / "report")


ODD = [
    *("../../../outside", "/etc/passwd", "d" * 240, EVIL, "=cmd|'/c calc'!A0", "$(touch x)"),
    *("%s %n", "\\input{x}", "..", "ä ö"),
]


@pytest.mark.parametrize("odd", ODD)
def test_report_takes_odd_names_for_texts(store, tmp_path, odd):
    write_records(
        store, "resnet-mlflow", [cell(dataset=odd), cell(head="knn", dataset=odd), cell(dataset_digest="e" * 32)]
    )
    folder = tmp_path / "deep" / "report"
    fill(build_report(load_runs("resnet-mlflow")), folder)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"]
    assert written
    assert all(path.is_relative_to(folder) for path in written)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in written)
    for path in written:
        text = path.read_text(errors="replace")
        if path.suffix in (".md", ".html"):
            assert "<img src=x" not in text
        if path.suffix == ".md":
            assert "](javascript:" not in text
        if path.suffix == ".tex":
            assert set(re.findall(r"\\label{tab:([^}]*)}", text)) <= set(re.findall(r"[A-Za-z0-9._-]+", text))
        if path.suffix == ".csv":
            assert not re.search(r"(^|,)\"?[=@]", text, re.MULTILINE)


def table_of(name):
    import pandas as pd

    frame = pd.DataFrame({"head": ["=1+1", "+a", "-b", "@c", "\td", "plain"], "score": [-0.5] * 6, "run_ids": [[]] * 6})
    return Table(name, EVIL, frame, (Column("head", "head"), Column("score", "a|b", "difference")), (EVIL,))


def test_tables_escape_what_their_form_obeys():
    table = table_of("heads_of/$x$}")
    assert r"\label{tab:heads_of-x-}" in to_latex(table)
    lines = to_csv(table).splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'+a", "'-b", "'@c", "'\td", "plain"]
    assert lines[1].split(",")[1] == "-0.5", "numbers stay numbers"
    text = to_markdown(table)
    assert "<img" not in text
    assert "](" not in text
    assert {line.count("|") - line.count(r"\|") for line in text.splitlines() if line.startswith("|")} == {3}


def test_names_of_columns_are_no_formulas_either():
    import pandas as pd

    assert csv_of(pd.DataFrame({"=x": [1]})) == "'=x\n1\n"


def test_latex_escape_keeps_one_line():
    assert latex_escape("a\nb\x00c") == "a b c"
    assert slug("a/../b") == "a-..-b"
