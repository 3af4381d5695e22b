"""Bad inputs to every entry point: one line that says what to do, exit code 2, no traceback.

``python tests/bad_inputs.py --cases 250`` is the whole. Cases are drawn by a seed from what each parameter must not be,
beside a list of those that once failed. Each runs in a process of its own.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import random
import re
import runpy
import sys
import tempfile
import time
import typing
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIMIT_S = 120
Case = tuple[str, tuple[str, ...], dict[str, str]]

NUMBERS = ("abc", "1.5.2", "None", "nan", "9" * 5000, "1e400", "0x10", "-99999999999", "[1]", "")
WORDS = ("nonsense", "", "n" * 5000, "a'b\"c", "../../x", "line\nbreak", "<img src=x>")
PLACES = ("/proc/x", "/dev/null/x", "n" * 300, "/" + "d/" * 3000, "~nobody-there/x", "/dev/full/x")
BOMBS = ("{C: &a [*a]}", "[" * 5000, "{C: " + "9" * 5000 + "}", "{C: -1}", "{c: 1}", "just text", "{1: 2}", "{C: .nan}")
STORES = ("file:/tmp/x", "a/path", "sqlite://", "sqlite:////proc/x.db", "http://127.0.0.1:1", "ftp://x/y", "s3://x/y",
          "postgresql://u:p@127.0.0.1:1/x", "mysql://u:p@127.0.0.1:1/x", "http://", "nonsense:")  # fmt: skip


def by_parameter() -> Iterator[Case]:
    """Yield what each parameter's type and rule refuse."""
    from resnet_mlflow.config import ENTRY_POINTS

    for name, config in ENTRY_POINTS.items():
        yield name, ("--no_such_parameter", "1"), {}
        yield name, ("stray",), {}
        yield name, ("--",), {}
        for field, info in config.model_fields.items():
            yield name, (f"--{field}",), {}
            kind = info.annotation
            if kind in (int, float):
                bad = [text for text in NUMBERS if kind is int or text != "1e400"]  # infinity, for a float
            elif typing.get_origin(kind) is typing.Literal:
                bad = list(WORDS)
            elif kind is bool:
                bad = ["perhaps", "2", "None"]
            else:
                continue
            for text in bad:
                yield name, (f"--{field}", text), {}


def special() -> Iterator[Case]:
    """Yield places, texts, names and stores that are none."""
    for place in PLACES:
        for name, field in (
            ("extract", "cache_dir"), ("fit_head", "cache_dir"), ("finetune", "cache_dir"), ("longtail", "cache_dir"),
            ("main", "cache_dir"), ("main", "report_dir"), ("compare", "output"), ("extract", "weights"),
            ("audit", "cache_dir"), ("fit_head", "corrections"),
            ("main", "study"),
        ):  # fmt: skip
            yield name, (f"--{field}", place), {}
    for text in BOMBS:
        yield "fit_head", ("--head", "svm", "--head_params", text), {}
        yield "longtail", ("--head_params", text), {}
    for store in STORES:
        for name in ("extract", "fit_head", "promote", "compare", "robustness", "main"):
            given = ("--filter", "tags.x = 'y'") if name == "robustness" else ()
            yield name, given, {"MLFLOW_TRACKING_URI": store}
    for name, field, text in (
        ("robustness", "runs", "../../x"), ("robustness", "runs", "0" * 32), ("robustness", "model", "models:/x'y@z"),
        ("robustness", "filter", "drop table"), ("robustness", "filter", "tags.x = 'it's'"),
        ("robustness", "model", "x"),
        ("robustness", "filter", "tags.stage = 'nothing'"), ("promote", "run_id", "../../x"),
        ("promote", "run_id", "x" * 5000), ("predict", "model", "models:/../x"), ("predict", "model", "models:/x@y"),
        ("predict", "images", "/proc/x"),
        ("monitor", "model", "models:/x@y"), ("monitor", "model", "models:/../x"),
        ("compare", "experiment", "none such"), ("compare", "since", "tomorrow"),
        ("compare", "tags", "nonsense"), ("compare", "parent", "x"), ("longtail", "seeds", "1.5"),
        ("longtail", "seeds", "0,0"), ("longtail", "seeds", "9" * 400), ("longtail", "methods", "magic"),
        ("fit_head", "weights", "runs:/../../x"), ("fit_head", "weights", "models:/m-1"),
        ("fit_head", "dataset", "nope"),
        ("fit_head", "weights", "runs:/" + "0" * 32), ("extract", "dataset", "folder:/proc/x"),
        ("extract", "dataset", "folder:" + "n" * 300), ("fit_head", "dataset", "folder:/dev/null"),
        ("fit_head", "dataset", "table:/proc/x.csv"), ("extract", "dataset", "table:/dev/zero"),
        ("extract", "dataset", "table:" + "n" * 300 + ".csv"), ("extract", "dataset", "table:"),
        ("fit_head", "group_by", "patient_("), ("extract", "group_by", "(" * 5000), ("promote", "group_by", "nobody"),
        ("longtail", "dataset", "table:/etc/passwd"), ("promote", "dataset", "table:~nobody-there/x.csv"),
    ):  # fmt: skip
        yield name, (f"--{field}", text), {}
    for variable, text in (
        ("MLFLOW_EXPERIMENT_ID", "4711"), ("MLFLOW_RUN_ID", "0" * 32), ("RESNET_MLFLOW_CACHE", "/proc/x"),
        ("TMPDIR", "/proc/x"),
    ):  # fmt: skip
        for name in ("extract", "fit_head", "finetune"):
            if variable != "TMPDIR":  # Python itself then takes /tmp
                yield name, (), {variable: text}


def draw(n_cases: int, seed: int) -> list[Case]:
    """Return all special cases, as far as they go, and a draw of the others."""
    rng = random.Random(seed)
    always, others = list(special()), list(by_parameter())
    rng.shuffle(always)
    half = always[: max(n_cases // 2, n_cases - len(others))]
    return half + rng.sample(others, min(n_cases - len(half), len(others)))


def _run(case: Case, folder: Path) -> None:
    name, arguments, environment = case
    with (folder / "stderr").open("w") as said, (folder / "stdout").open("w") as out:
        os.dup2(said.fileno(), 2)
        os.dup2(out.fileno(), 1)
    os.chdir(folder)
    for variable in [variable for variable in os.environ if variable.startswith("MLFLOW_")]:
        del os.environ[variable]
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / 'mlflow.db'}",
        "RESNET_MLFLOW_CACHE": str(folder.parent / "cache"),
        **environment,
    }
    sys.argv = [name, *arguments]
    sys.stderr = os.fdopen(2, "w", buffering=1)
    runpy.run_module(f"entrypoints.{name}", run_name="__main__")


def wrong_with(case: Case, folder: Path) -> str:
    """Run a case; gives what is wrong with how it ended, empty where nothing is."""
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(case, folder))
    begun = time.monotonic()
    process.start()
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return f"hangs over {LIMIT_S} s"
    said = (folder / "stderr").read_text(errors="replace")
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if process.exitcode != 2 or "Traceback" in said or len(lines) != 1:
        return f"exit code {process.exitcode} after {time.monotonic() - begun:.0f} s, {len(lines)} lines: {said[-500:]}"
    return f"a line of {len(lines[0])} characters" if len(lines[0]) > 2000 else ""


def _warm_up() -> None:
    """Import once what stages import, and look for weights once, so that each case costs a fork and its own work."""
    for stage in ("finetune", "main", "predict", "promote", "robustness"):
        importlib.import_module(f"resnet_mlflow.stages.{stage}")
    from resnet_mlflow.backbones.weights import resolve_weights

    resolve_weights("resnet18", "auto", 0)


def try_cases(cases: list[Case], root: Path) -> list[str]:
    """Return what was wrong, one text a case."""
    _warm_up()
    import mlflow

    mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}").search_experiments()
    wrong = []
    for number, case in enumerate(cases):
        if found := wrong_with(case, root / "case"):
            message = f"{case[0]} {' '.join(argument[:60] for argument in case[1])} {case[2]}: {found}"
            wrong.append(message)
            print(re.sub("\n", " | ", message), flush=True)
        if number % 10 == 9:
            print(f"{number + 1}/{len(cases)} tried, {len(wrong)} wrong", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.path.insert(0, str(PROJECT))
    with tempfile.TemporaryDirectory() as folder:
        cases = draw(given.cases, given.seed)
        wrong = try_cases(cases, Path(folder))
    print(json.dumps({"cases": len(cases), "right": len(cases) - len(wrong)}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
