"""A comparison table is a file with a row: one added here is asked for by name, and has its chart in the report."""

from functools import partial

from analysis.cells import frozen_or_tuned
from analysis.illustration import scores_chart
from analysis.questions import Question, answer
from analysis.table import Column
from analysis.tables import TABLES
from analysis.tables.row import TableRow


def weights(frame):
    """Return scores per head and weights of the backbone."""
    columns = (Column("head", "head"), Column("weights", "weights"))
    return answer(Question(ROW.name, ROW.question, columns), frozen_or_tuned(frame))


ROW = TableRow(
    "weights",
    "Which weights serve which head?",
    needs="finished runs of fit_head with any weights",
    build=weights,
    chart=partial(scores_chart, coloured_by="head"),
)


def add() -> None:
    TABLES.add(ROW)


def test_an_added_table_goes_through_the_command_line(run_added, tmp_path):
    empty = run_added(__file__, "entrypoints.extract")
    assert empty.returncode == 0, empty.stderr
    missing = run_added(__file__, "analysis", "table", "weights")
    assert missing.returncode == 2
    assert "table weights needs finished runs of fit_head with any weights, got none among 1 runs" in missing.stderr
    for head in ("prototype", "knn"):
        assert run_added(__file__, "entrypoints.fit_head", "--head", head).returncode == 0
    printed = run_added(__file__, "analysis", "table", "weights")
    assert printed.stdout.startswith("## Which weights serve which head?"), printed.stderr
    assert "prototype" in printed.stdout
    written = run_added(__file__, "analysis", "report", "--output", str(tmp_path / "report"))
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "report" / "tables" / "weights.csv").exists()
    assert (tmp_path / "report" / "figures" / "weights.svg").exists()
    assert 'id="chart-weights"' in (tmp_path / "report" / "report.html").read_text()
    assert "Which weights serve which head?" in run_added(__file__, "analysis", "table", "--help").stdout
