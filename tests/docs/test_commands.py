"""Every command of README and docs: its parser takes it with these values, or the reason why not stands below."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from analysis.cli import _build_parser as build_analysis_parser
from benchmarks.suite import BENCHMARKS
from resnet_mlflow.cli import parse, without_verbose
from resnet_mlflow.config import ENTRY_POINTS, DatasetConfig, MainConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.data import catalogue
from resnet_mlflow.errors import InputError
from resnet_mlflow.registry.datasets import DATASETS
from resnet_mlflow.study import load_study

# MLflow's command line imports examples of its own that warn.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
PAGES += sorted(path for path in (PROJECT / "docs").glob("*.md"))
# What starts a command; a block without any of these shows files or output.
PROGRAMS = {"CONFIRM", "curl", "cat", "dask", "docker", "export", "for", "git", "kill", "ls", "make", "mlflow", "pip"}
PROGRAMS |= {"python", "resnet-mlflow", "source", "torchrun"}
# Commands that no parser of ours knows, by their beginning, and why no test runs them as they stand.
NOT_RUN = {
    "git clone <this repository>": "the address is the reader's",
    "cd ": "changes the folder",
    "source .venv/bin/activate": "the shell's; tests run in that environment",
    "export ": "sets variables for the commands below it",
    "pip install": "needs packages from outside; `make setup` installs the same extras for tests",
    "curl -s http://127.0.0.1": "tests/e2e/test_model_server.py sends such requests to a served champion",
    "cat costs.yaml": "shows a file",
    "ls answers": "shows a folder",
    "echo ": "shows an exit code",
    "tail -1": "shortens what is shown",
    "grep monitor:": "shortens what is shown",
    "dask scheduler": "tests/e2e/test_parallel_cells.py starts the same by Dask's own classes",
    "dask worker": "tests/e2e/test_parallel_cells.py starts the same by Dask's own classes",
    "docker run": "needs Docker; tests/e2e/test_quota.py has the quota itself",
    "python -c": "one line of torch or timm",
    "python -m benchmarks.": "needs CIFAR-10 or weights that are not shipped",
    "for ": "prepares a part of CIFAR-10, which is not shipped",
    "mkdir -p": "inside that loop",
    "ls $class": "inside that loop",
    "head -": "inside that loop",
    "kill -9": "tests/e2e/test_interruptions.py kills stages so",
    "mlflow run . --env-manager local -e <entry point>": "stands for all of them",
    "python -m entrypoints.<entry point>": "stands for all of them",
    "done": "ends a loop",
    "do": "in a loop",
}
# Texts in prose that name a program, or stand for what the reader puts there.
NAMES = ("mlflow run", "mlflow models serve", "python -m analysis repeat")


def _blocks(page):
    text = page.read_text()
    for block in re.finditer(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield re.sub(r"\\\n\s*", "", block[1]).splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        if " " in span and span.split()[0] in PROGRAMS and " ".join(span.split()) not in NAMES:
            yield [" ".join(span.split())]


def _commands():
    """Each command of the pages with the error that is shown below it, if there is one."""
    for page in PAGES:
        for lines in _blocks(page):
            prompted = any(line.startswith("$ ") for line in lines)
            plain = not prompted and any(line.split()[:1] and line.split()[0] in PROGRAMS for line in lines)
            for line, below in zip(lines, [*lines[1:], ""], strict=True):
                if line.startswith("$ ") if prompted else plain and line.strip() and not line.startswith("#"):
                    for command in _split(line.removeprefix("$ ").strip()):
                        error = below.removeprefix("error: ") if below.startswith("error: ") else ""
                        yield pytest.param(command, error, id=f"{page.stem}: {' '.join(command)[:60]}")


def _split(line):
    """The commands of a line, each as its words, without comments, settings and where its output goes."""
    line = line.replace("$head", "linear")  # What a loop puts there.
    # A request's text may go on in the next lines.
    words = line.split() if line.startswith("curl ") else shlex.split(re.sub(r"\s2>&1", "", line), comments=True)
    command = []
    for word in words:
        if word in ("|", "&&", ";") or word.endswith(";"):
            yield [*command, word.removesuffix(";")] if word.endswith(";") and word != ";" else command
            command = []
        elif command or not re.fullmatch(r"[A-Z_]+=\S*", word):
            command.append(word)
    if command:
        yield command


def _given(arguments):
    return dict(one.split("=", 1) for one in arguments)


def _parse_mlflow(words):
    """MLflow's own parser takes its options; ours takes the parameters of ``mlflow run .``."""
    import click
    from mlflow.cli import cli

    command, context, rest = cli, None, list(words)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(click.Context(command), rest)
    context = command.make_context(name, rest)
    if name == "run":
        entry_point = context.params["entry_point"]
        _check_config(ENTRY_POINTS[entry_point], _given(context.params["param_list"]))


def _check_config(config_class, given):
    config = validate(config_class, {name: value.strip() for name, value in given.items()})
    _check_names(config)


def _check_names(config):
    if isinstance(config, DatasetConfig) and not any(kind.accepts(config.dataset) for kind in DATASETS.values()):
        raise InputError(catalogue._unknown(config.dataset))
    if isinstance(config, MainConfig) and not config.study.endswith(".yaml"):
        load_study(config.study, config.set)


def _parse_python(words):
    module, *arguments = words[1:] if words[0] == "-m" else words
    room, _, name = module.partition(".")
    if room == "entrypoints":
        _parse_entry_point(name, arguments)
    elif module == "analysis":
        _parse_analysis(arguments)
    else:
        assert module == "benchmarks"
        parser = argparse.ArgumentParser()
        parser.add_argument("--only", action="append", choices=list(BENCHMARKS))
        parser.add_argument("--stale", action="store_true")
        parser.parse_args(arguments)


def _parse_entry_point(name, arguments):
    if arguments != ["--help"]:
        _check_names(parse(ENTRY_POINTS[name], without_verbose(arguments)))


def _parse_analysis(arguments):
    command = arguments if arguments and not arguments[0].startswith("-") else ["report", *arguments]
    given = vars(build_analysis_parser("analysis", command[0]).parse_args(command))
    if given["command"] == "table":
        from analysis.tables import TABLES

        TABLES.find(given["name"])


def _parse_console(words):
    if words != ["--version"]:
        _parse_analysis(words[1:]) if words[0] == "analysis" else _parse_entry_point(words[0], words[1:])


def _parse_torchrun(words):
    assert words[0] == "--nproc-per-node"
    _parse_python(words[2:])


def _parse_make(words):
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in words if "=" not in word and word not in targets] == []


PARSERS = {
    "mlflow": _parse_mlflow,
    "python": _parse_python,
    "resnet-mlflow": _parse_console,
    "torchrun": _parse_torchrun,
    "make": _parse_make,
}


@pytest.mark.parametrize(("command", "error"), list(_commands()))
def test_command_of_the_docs_is_taken_by_its_parser(command, error, monkeypatch):
    monkeypatch.chdir(PROJECT)
    text = " ".join(command)
    if any(text.startswith(beginning) for beginning in NOT_RUN):
        return
    assert command[0] in PARSERS, "neither a parser nor a reason why it is not run"
    assert _refusal(command) in ("", error)


def _refusal(command):
    try:
        PARSERS[command[0]](command[1:])
    except InputError as refused:
        return str(refused)
    return ""


def test_every_reason_has_a_command():
    texts = [" ".join(one.values[0]) for one in _commands()]
    assert [beginning for beginning in NOT_RUN if not any(text.startswith(beginning) for text in texts)] == []
