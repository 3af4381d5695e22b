"""The project's own source: which of its modules another one needs, by what their texts say."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Its only imports are those of names that a notebook asks it for.
_LAZY = (ROOT.name,)


def copy_source(module: str, folder: Path) -> Path:
    """Copy a module of the project, and all that it may ever import of it, below a folder; return the package's folder.

    Imports within functions count, and so do modules that a text names, as rows of registries do.

    Args:
        module: Its full name, such as ``resnet_mlflow.serving``; of a package, the modules within it as well.
        folder: To which nothing of the package was copied before.
    """
    for path in _files_behind(module):
        copy = folder / ROOT.name / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder / ROOT.name


def _files_behind(module: str) -> set[Path]:
    path = _path_of(module)
    within = sorted(path.parent.glob("*.py")) if path is not None and path.name == "__init__.py" else []
    waiting = [module, *(f"{module}.{file.stem}" for file in within)]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _path_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting.append(name.rpartition(".")[0])
        if name not in _LAZY:
            waiting += _named_in(path)
    return set(found.values())


def _path_of(name: str) -> Path | None:
    """Return the file of a module; None for what is none of the project's, such as a function in one."""
    if name.split(".")[0] != ROOT.name:
        return None
    place = ROOT.parent.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _named_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{ROOT.name}."):
            # A module, or a class or function in one.
            name = node.value.replace(":", ".")
            yield from (name, name.rpartition(".")[0])
