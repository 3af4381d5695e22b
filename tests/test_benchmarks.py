"""The measuring of benchmarks, not their figures: those depend on the machine."""

import ast
from pathlib import Path

import pytest

from benchmarks import report, sources, suite, verdict
from benchmarks.gpu import rows_on
from benchmarks.growth import FACTORS, fit_exponent, growth_row, time_growth
from benchmarks.harness import Disturbance, Row, alternate, fastest, limit_row, rate, ratio_row
from benchmarks.images import make_photos
from benchmarks.suite import BENCHMARKS, NOT_QUICK


def test_ratio_row_is_above_one_where_the_peer_takes_longer() -> None:
    row = ratio_row("extraction", 3.0, [2.0, 1.0, 1.0], [8.0, 3.0, 5.0], n_items=100)

    assert row.measured == 4.0
    assert row.spread == (3.0, 5.0)
    assert (row.ours, row.peer) == ("100 images/s", "20 images/s")


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("faster", 3.0, 3.0), True),
        (Row("faster", 2.99, 3.0), False),
        (Row("shorter", 0.3, 0.3, at_least=False), True),
        (Row("shorter", 0.31, 0.3, at_least=False), False),
    ],
)
def test_table_says_whether_a_target_is_met(row: Row, met: bool) -> None:
    assert row.met is met
    assert ("**missed**" not in report.table([row])[-1]) is met


def test_limit_row_takes_the_median_of_the_turns() -> None:
    row = limit_row("logging", 0.3, [0.1, 0.9, 0.2], unit="s")

    assert (row.measured, row.spread, row.met) == (0.2, (0.1, 0.9), True)


def test_rate_shows_images_where_there_are_any() -> None:
    assert (rate(2.0, 500), rate(0.25)) == ("250 images/s", "0.25 s")


def test_alternate_takes_turns_after_one_of_each() -> None:
    done: list[str] = []

    ours, peer = alternate(lambda: done.append("ours"), lambda: done.append("peer"), turns=3)

    assert done == ["ours", "peer"] * 4
    assert (len(ours), len(peer)) == (3, 3)


def test_fastest_names_the_fastest_way() -> None:
    assert fastest([lambda: sum(range(3_000_000)), lambda: None]) == 1


def test_disturbance_does_not_count_the_own_process() -> None:
    disturbance = Disturbance()
    sum(range(10_000_000))

    assert 0 <= disturbance.share() <= 1


def test_table_shows_a_cosine_short_of_one() -> None:
    assert "| 0.999962 |" in report.table([Row("cosine", 0.999962, 0.9999, unit="")])[-1]


CODES = {"first": "1a", "second": "2b"}


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what")]


def test_write_keeps_the_lines_of_benchmarks_that_did_not_run(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    report.write(path, {"second": ([Row("b", 5.0, 3.0)], "now")}, CODES)
    report.write(path, {"first": ([Row("a", 1.0, 3.0), Row("a2", 4.0, 3.0)], "now")}, CODES)
    report.write(path, {"second": ([Row("b", 2.0, 3.0)], "now")}, CODES)

    assert [line.split(" | ")[:2] for line in lines_of(path)] == [["| a", "1 x"], ["| a2", "4 x"], ["| b", "2 x"]]
    assert report.STALE not in path.read_text()


def test_write_keeps_the_tables_of_other_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.md"
    report.write(path, {"first": ([Row("a", 1.0, 3.0)], "now")}, CODES)
    monkeypatch.setattr(report, "title", lambda: "another processor")
    report.write(path, {"first": ([Row("a", 2.0, 3.0)], "now")}, CODES)

    assert sorted(line.split(" | ")[1] for line in lines_of(path)) == ["1 x", "2 x"]
    assert "## another processor" in path.read_text()


def test_rows_of_code_that_changed_since_are_stale(tmp_path: Path) -> None:
    path, changed = tmp_path / "results.md", CODES | {"first": "3c"}
    report.write(path, {"first": ([Row("a", 1.0, 3.0)], "now")}, CODES)
    assert report.stale(path, CODES) == ["second"]
    assert report.stale(path, changed) == ["first", "second"]
    report.write(path, {}, changed)
    report.write(path, {}, changed)

    assert [line.count(report.STALE) for line in lines_of(path)] == [1]
    report.write(path, {}, CODES)
    assert report.STALE not in path.read_text()


def test_forced_instructions_have_a_table_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")

    assert report.title().endswith("forced to less (ONEDNN_MAX_CPU_ISA=AVX2)")


def test_code_digest_covers_what_a_module_imports_or_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {"benchmarks/a.py": "from resnet_mlflow import b\nRUN = ['-m', 'entrypoints.c']\n"}
    written |= {"resnet_mlflow/__init__.py": "", "resnet_mlflow/b.py": "x = 1\n", "resnet_mlflow/d.py": "x = 1\n"}
    written |= {"entrypoints/__init__.py": "", "entrypoints/c.py": "x = 1\n"}
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)

    def digest_with(name: str, text: str) -> str:
        for function in (sources._named_in, sources._file, sources._tree, sources._code_of):
            function.cache_clear()
        (tmp_path / name).write_text(text)
        return sources.code_digest("benchmarks.a")

    try:
        first = digest_with("resnet_mlflow/b.py", "x = 1\n")
        assert digest_with("resnet_mlflow/b.py", '"""Text."""\n\nx = 1  # comment\n') == first
        assert digest_with("resnet_mlflow/d.py", "x = 2\n") == first
        assert digest_with("entrypoints/c.py", "x = 2\n") != first
        assert digest_with("resnet_mlflow/b.py", "x = 2\n") != first
    finally:
        for function in (sources._named_in, sources._file, sources._tree, sources._code_of):
            function.cache_clear()


def test_code_of_extraction_holds_the_networks_and_not_the_report() -> None:
    found = sources._closure("benchmarks.extraction")

    assert "resnet_mlflow.backbones.inference" in found
    assert "benchmarks.report" not in found


def test_quick_figures_are_compared_with_the_last_ones_of_the_processor(tmp_path: Path) -> None:
    path = tmp_path / "quick.json"

    def compare(title: str, speed: float, taken_s: float) -> list[str]:
        rows = [Row("speed", speed, 3.0), Row("time", taken_s, 3.0, unit="s", at_least=False)]
        return verdict.compare(path, title, rows, "now")

    assert compare("one", 2.0, 1.0) == ["no earlier figures of one: these are the first"]
    assert compare("other", 1.0, 2.0) == ["no earlier figures of other: these are the first"]
    assert compare("one", 1.85, 1.05) == ["none of 2 figures is worse than 0.9 of the last one of one"]
    assert compare("one", 1.5, 1.3) == [
        "worse: speed: 1.5 x, 1.85 on now",
        "worse: time: 1.3 s, 1.05 on now",
    ]


@pytest.mark.parametrize(("best", "n_worse"), [(1.9, 0), (1.7, 1)])
def test_a_quick_figure_is_worse_if_even_its_best_turn_is(tmp_path: Path, best: float, n_worse: int) -> None:
    path = tmp_path / "quick.json"
    verdict.compare(path, "one", [Row("speed", 2.0, 3.0)], "now")
    found = verdict.compare(path, "one", [Row("speed", 1.5, 3.0, spread=(1.0, best))], "now")
    assert sum(line.startswith("worse") for line in found) == n_worse


@pytest.mark.parametrize(("best", "n_worse"), [(1.05, 0), (1.2, 1)])
def test_a_quick_time_is_worse_if_even_its_shortest_is(tmp_path: Path, best: float, n_worse: int) -> None:
    path = tmp_path / "quick.json"
    verdict.compare(path, "one", [Row("time", 1.0, 3.0, at_least=False)], "now")
    found = verdict.compare(path, "one", [Row("time", 1.5, 3.0, at_least=False, spread=(best, 2.0))], "now")
    assert sum(line.startswith("worse") for line in found) == n_worse


@pytest.mark.parametrize(
    ("costs", "exponent"),
    [([5, 5, 5, 5], 0.0), ([3, 6, 12, 24], 1.0), ([2, 8, 32, 128], 2.0), ([1, 2, 4, 16], 1.3)],
    ids=["constant", "proportional", "square", "a last doubling that costs four times"],
)
def test_fit_exponent_is_the_slope_of_the_logarithms(costs: list[float], exponent: float) -> None:
    # The last: logarithms to base 2 are 0, 1, 2, 4 at 0, 1, 2, 3; sum of products from the means 6.5, of squares 5.
    assert fit_exponent([1, 2, 4, 8], costs) == pytest.approx(exponent)


def test_growth_row_takes_the_median_exponent_of_the_turns() -> None:
    row = growth_row("sweep", 1.05, {100: [1.0, 1.0, 1.0], 200: [2.0, 4.0, 1.0]})

    assert row.measured == pytest.approx(1.0)
    assert row.spread == pytest.approx((0.0, 2.0))
    assert row.met
    assert "100: 1 s, 200: 2 s" in row.ours


def test_time_growth_goes_through_all_sizes_in_every_turn() -> None:
    done: list[int] = []

    taken = time_growth(lambda size: lambda: done.append(size), base=10, turns=2)

    assert done == [10] + [10, 20, 40, 80] * 2
    assert [len(turns) for turns in taken.values()] == [2] * len(FACTORS)


def test_gpu_rows_compare_with_forward_passes_and_with_the_peer(tmp_path: Path) -> None:
    # On the processor: what a GPU would do differently, forward.py decides.
    rows = rows_on("cpu", "this processor", make_photos(tmp_path / "photos", 24), "resnet18", turns=1)

    assert [row.what.rpartition(" at 224 px, ")[2] for row in rows] == [
        "over forward passes alone (one turn)",
        "over the tuned peer (one turn)",
    ]
    assert all(row.measured > 0 and "24 JPEG photos" in row.what for row in rows)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_is_a_function_that_says_what_it_returns(name: str) -> None:
    module, function = BENCHMARKS[name]
    # Read, not imported: the peers' libraries are only there after `make bench`.
    source = ast.parse((Path(suite.__file__).parent / f"{module}.py").read_text())
    found = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == function]

    assert [[argument.arg for argument in node.args.args] for node in found] == [["folder", "quick"]]
    assert (ast.get_docstring(found[0]) or "").startswith("Return")


def test_quick_leaves_out_only_what_there_is() -> None:
    assert set(BENCHMARKS) > NOT_QUICK
