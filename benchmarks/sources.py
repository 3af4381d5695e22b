"""The code behind a benchmark's figures: if it has changed since the measurement, they are stale."""

import ast
import copy
import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "torchvision", "scikit-learn", "scikit-learn-intelex", "mlflow", "numpy", "pillow")
_OURS = re.compile(r"(resnet_mlflow|analysis|entrypoints|benchmarks)(\.\w+)*")
# These modules only record what others measure.
_NOT_MEASURED = frozenset({"benchmarks.report", "benchmarks.suite", "benchmarks.sources", "benchmarks.__main__"})


def code_digest(module: str) -> str:
    """Return a digest of a module, all project modules that it imports or names, and the libraries' versions.

    Comments and docstrings are ignored.

    Args:
        module: Such as ``benchmarks.extraction``.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(f"{name} {_code_of(name)}".encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()[:12]


def version(library: str) -> str:
    """Return the installed version."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _closure(module: str) -> set[str]:
    found, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in _NOT_MEASURED:
            found.add(name)
            waiting += _named_in(name)
    return found


@cache
def _named_in(module: str) -> tuple[str, ...]:
    """Return the project modules that a module imports, or names in strings, as commands and registry rows do."""
    names = {name for node in ast.walk(_tree(module)) for name in _names(node)}
    return tuple(sorted(filter(None, map(_module, names))))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from (found.group() for found in _OURS.finditer(node.value))


def _module(name: str) -> str | None:
    """Return the longest prefix of a dotted name that is a project module; None if there is none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if _file(".".join(parts[:end])) is not None:
            return ".".join(parts[:end])
    return None


@cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py") if _OURS.fullmatch(module) else ()
    return next((file for file in files if file.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    return ast.parse(file.read_text(encoding="utf-8") if file else "")


@cache
def _code_of(module: str) -> str:
    class _NoDocstrings(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
            return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    return ast.dump(_NoDocstrings().visit(copy.deepcopy(_tree(module))))
