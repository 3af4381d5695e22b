"""Errors that the docs quote are those that the code gives."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = ("resnet_mlflow", "analysis", "entrypoints")
# Fewer letters of its own, and a text of the code is like any other.
FEWEST_LETTERS = 10


def _pattern(node):
    if isinstance(node, ast.Constant):
        # Rules of parameters are filled in by ``str.format``.
        return re.sub(r"\\\{\w+\\\}", ".*", re.escape(node.value)) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".*" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_pattern(node.left) or ".*") + (_pattern(node.right) or ".*")
    return None


@pytest.fixture(scope="module")
def patterns():
    """Every text of the code as a pattern; what it is filled with may be anything."""
    files = [path for room in ROOMS for path in (PROJECT / room).rglob("*.py")]
    found = {_pattern(node) for path in files for node in ast.walk(ast.parse(path.read_text()))} - {None}
    # What all errors have after their rule tells none from another.
    return [re.compile(text) for text in found if _letters(text.split(r",\ got")[0]) >= FEWEST_LETTERS]


def _letters(pattern):
    return len(re.sub(r"\.\*|\W", "", pattern))


def _is_of(pattern, error):
    """Whether it is the whole error, or its rule, which stands alone where several errors share their end."""
    is_rule = r"must\ " in pattern.pattern and r",\ got" not in pattern.pattern
    return pattern.search(error) if is_rule else pattern.fullmatch(error)


def quoted_errors():
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    return [
        pytest.param(line.removeprefix("error: ").replace("...", "x"), id=f"{page.name}:{number}")
        for page in pages
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if line.startswith("error: ")
    ]


@pytest.mark.parametrize("error", quoted_errors())
def test_quoted_error_is_one_of_the_code(patterns, error):
    assert any(_is_of(pattern, error) for pattern in patterns), "no text of the code is like it"


def test_troubleshooting_has_15_errors():
    page = (PROJECT / "docs" / "troubleshooting.md").read_text()
    assert len(re.findall(r"^### ", page, re.MULTILINE)) == len(re.findall(r"^error: ", page, re.MULTILINE)) == 15
