"""Heads read back from skops files, restricted to the types that our heads consist of.

skops builds the types that it is asked to trust, and others that it trusts by default. A file from a shared store is
therefore inspected before skops sees it: every node and every type must be one that our own heads have.
"""

import json
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from resnet_mlflow.errors import InputError
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.process import is_claimed
from resnet_mlflow.registry.heads import HEADS

# Heads that wrap heads, defined in other packages: by name, since those packages depend on this one.
WRAPPERS = ("resnet_mlflow.longtail.adjusted.AdjustedHead",)
# The scikit-learn types in our heads.
ESTIMATORS = ("sklearn.svm._classes.SVC", "sklearn.svm._classes.LinearSVC")
CONTAINERS = {"DictNode": ("builtins.dict",), "ListNode": ("builtins.list",), "TupleNode": ("builtins.tuple",)}
SCALARS = ("builtins.str", "builtins.int", "builtins.float", "builtins.bool")
# Limits of a schema: ours have a few hundred nodes, and a depth of about 20.
MAX_SCHEMA_BYTES, MAX_NODES, MAX_DEPTH = 2**24, 100_000, 100
MAX_FEATURES = 2**16
_TORCH_SHIM = "sklearn.externals.array_api_compat.torch"


@cache
def head_types() -> tuple[str, ...]:
    """Return the full names of the permitted classes of a stored head.

    Example:
        >>> "resnet_mlflow.heads.svm.SVMHead" in head_types()
        True
    """
    return (*(head.estimator.replace(":", ".") for head in HEADS.values()), *WRAPPERS)


def read_head(path: Path) -> HeadBase:
    """Return the head in a skops file.

    Raises:
        InputError: If the file is damaged, holds a type that no head has, or a head that cannot predict.
    """
    with quiet_light_imports():
        import skops.io

    try:
        _look_through(path)
        head = skops.io.load(path, trusted=[*head_types(), *ESTIMATORS])
        _try(head)
    except InputError:
        raise
    except Exception as error:  # skops, zipfile, NumPy and scikit-learn can raise anything on inconsistent files
        text = (str(error).splitlines() or [""])[0][:150]
        raise _refusal(path, f"a damaged one ({type(error).__name__}: {text})") from None
    return head  # type: ignore[no-any-return]


def write_head(head: HeadBase, path: Path) -> None:
    """Write a head to a skops file."""
    with quiet_light_imports():
        import skops.io

    skops.io.dump(head, path)


def _look_through(path: Path) -> None:
    """Refuse a file that holds anything but a head, before any object is built."""
    with zipfile.ZipFile(path) as archive:
        announced = sum(member.file_size for member in archive.infolist())
        # Ours are stored uncompressed, so that a small file cannot grow in memory.
        if announced > path.stat().st_size or archive.getinfo("schema.json").file_size > MAX_SCHEMA_BYTES:
            raise _refusal(path, f"{announced} bytes packed into {path.stat().st_size}")
        schema = json.loads(archive.read("schema.json"))
    for kind, name in _nodes(schema, path):
        if not _is_trusted(kind, name):
            raise _refusal(path, f"{name[:100]} ({kind[:40]})")
    if _type_of(schema) not in head_types():
        raise _refusal(path, f"{_type_of(schema)[:100]} itself")


def _nodes(schema: Any, path: Path) -> Iterator[tuple[str, str]]:
    """Yield kind and type of every node of a schema."""
    pending, n_seen = [(schema, 0)], 0
    while pending:
        value, depth = pending.pop()
        n_seen += 1
        if depth > MAX_DEPTH or n_seen > MAX_NODES:
            raise _refusal(path, "one with more parts or levels than a head has")
        if isinstance(value, dict):
            if "__loader__" in value:
                yield str(value["__loader__"]), _type_of(value)
            pending += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            pending += [(part, depth + 1) for part in value]


def _type_of(node: Any) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}" if isinstance(node, dict) else type(node).__name__


def _is_trusted(kind: str, name: str) -> bool:
    if kind == "ObjectNode":
        return name in (*head_types(), *ESTIMATORS)
    if kind == "NdArrayNode":
        return name == "numpy.ndarray" or name in _number_types()
    if kind == "TypeNode":  # types of a mapping's keys
        return name in SCALARS or name in _number_types()
    # JSON content is text or numbers; an object named a second time was inspected the first time.
    return kind in ("JsonNode", "CachedNode") or name in CONTAINERS.get(kind, ())


@cache
def _number_types() -> frozenset[str]:
    kinds = (kind for kind in np.sctypeDict.values() if issubclass(kind, np.number | np.bool_))
    return frozenset(f"numpy.{kind.__name__}" for kind in kinds)


def _try(head: Any) -> None:
    """Let a head predict once, so that inconsistent parts are found now and not after hours of work."""
    n_features, n_classes = int(head.n_features_in_), len(head.classes_)
    if not isinstance(head, HeadBase) or not 0 < n_features <= MAX_FEATURES:
        raise ValueError(f"{type(head).__name__} of {n_features} features")
    with np.errstate(all="ignore"):
        answers = head.predict_proba(np.ones((2, n_features), dtype=np.float32))
    if answers.shape != (2, n_classes) or not np.isfinite(answers).all():
        raise ValueError(f"answers of shape {answers.shape} for {n_classes} classes")


def _refusal(path: Path, got: str) -> InputError:
    return InputError(
        f"a stored head must contain only arrays and this project's own types, got {got} in {path.name}; use another "
        f"run, or fit the head again"
    )


@contextmanager
def quiet_light_imports() -> Iterator[None]:
    """Import skops and MLflow without their slow parts, and without a warning that users cannot act on.

    skops imports all of scikit-learn, tests included, to list the estimators that it trusts. Our own commands need only
    the estimators in our heads. In a process shared with other code, it may walk everything except a shim for torch,
    which takes seconds and holds no estimator. MLflow warns about type hints in its own modules on import.
    """
    with warnings.catch_warnings(), _few_estimators() if is_claimed() else _no_torch():
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
        yield


@contextmanager
def _few_estimators() -> Iterator[None]:
    """Let scikit-learn's ``all_estimators`` list only ``ESTIMATORS``: types with their names, not imported."""
    import sklearn.utils

    names = [name.rpartition(".")[::2] for name in ESTIMATORS]
    few = [(name, type(name, (), {"__module__": module})) for module, name in names]
    with mock.patch.object(sklearn.utils, "all_estimators", return_value=few):
        yield


@contextmanager
def _no_torch() -> Iterator[None]:
    hide = "torch" not in sys.modules and _TORCH_SHIM not in sys.modules
    if hide:
        sys.modules[_TORCH_SHIM] = None  # type: ignore[assignment] # makes its import fail, which the walk passes over
    try:
        yield
    finally:
        if hide:
            del sys.modules[_TORCH_SHIM]
