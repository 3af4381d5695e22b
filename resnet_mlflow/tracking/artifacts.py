"""Downloads artifacts from a store that others may write to: only of a known kind and size, into our own folder.

An announced size of zero is refused: devices, pipes and files in /proc, which have no end, report it.
"""

import json
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from resnet_mlflow.errors import InputError, of_place
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.tracking.refusals import is_unreachable, shown_reason

GIB = 2**30
# Limit for one file, or for a folder with all its files. A KNN head holds all training features.
MAX_BYTES = 16 * GIB
MAX_BACKBONE_BYTES = GIB
MAX_TABLE_BYTES = 2 * GIB
MAX_JSON_BYTES = 2**24
MAX_FILES, MAX_DEPTH = 100, 4
# A package includes the source of this project.
MAX_MODEL_FILES, MAX_MODEL_DEPTH = 5000, 8
# MLflow's error codes for missing objects.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MissingArtifactError(InputError):
    """A run or model does not contain what was requested."""


def download(run_id: str, path: str, folder: Path, max_bytes: int = MAX_BYTES) -> Path:
    """Return the local copy of a run's artifact folder or file, created in ``folder``.

    Args:
        run_id: The run.
        path: Path of the artifact, such as ``evaluation/test/predictions.parquet``.
        folder: Folder for the copy.
        max_bytes: Maximum size of the artifact.

    Raises:
        InputError: If the run has no such artifact, or one that is too large.
    """
    return _fetch(f"runs:/{run_id}", path, folder, max_bytes)


def send_file(run_id: str, file: Path, folder: str) -> None:
    """Log a local file as an artifact in a folder of a run, which may be another process's."""
    mlflow.log_artifact(str(file), folder, run_id=run_id)


def artifact_sizes(run_id: str, folder: str) -> dict[str, int]:
    """Return the sizes in bytes of the files in an artifact folder of a run, by name; empty if there is no folder."""
    found = _listed(f"runs:/{run_id}", folder)
    return {posixpath.basename(entry.path): entry.file_size or 0 for entry in found if not entry.is_dir}


def download_model_part(uri: str, path: str, folder: Path, max_bytes: int = MAX_BYTES) -> Path:
    """Return the local copy of a file or folder of a model such as ``models:/NAME@champion``; see ``download``."""
    root = uri
    if uri.startswith("runs:/"):
        run_id, _, name = uri.removeprefix("runs:/").partition("/")
        root, path = f"runs:/{run_id}", posixpath.join(name, path)
    return _fetch(root, path, folder, max_bytes)


def download_model(model_id: str, folder: Path, max_bytes: int = MAX_BYTES) -> Path:
    """Return the local copy of all files of a logged model, created in ``folder``.

    Raises:
        MissingArtifactError: If it has no files.
        InputError: If they are too large or too many.
    """
    root = f"models:/{model_id}"
    try:
        found = [one for one in _below(root, "", MAX_MODEL_DEPTH, MAX_MODEL_FILES) if not _is_left(one.path)]
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        found = []
    if not found:
        raise MissingArtifactError(f"{root} must contain a model's files, got none; use another version")
    n_bytes = sum(entry.file_size or 0 for entry in found)
    if n_bytes > max_bytes:
        raise InputError(f"{root} must have at most {max_bytes} bytes, got {n_bytes}; use another version")
    repository = get_artifact_repository(root)
    for entry in found:
        place = folder / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.file_size:
            repository.download_artifacts(entry.path, str(folder))  # type: ignore[no-untyped-call]
        else:  # such as py.typed; created here instead of read, since devices and pipes also report size zero
            place.touch()
    return folder


def _is_left(path: str) -> bool:
    """Return whether a file in a local store is left over from loading a model: MLflow loads models in place."""
    return "/__pycache__/" in path or path == "registered_model_meta"


def load_config(run_id: str) -> dict[str, Any]:
    """Return the ``config.json`` of a run: its parameters with their types.

    Raises:
        InputError: If the run has none, or something else in its place.
    """
    return load_json(run_id, "config.json")


def load_text(run_id: str, path: str) -> str:
    """Return a text artifact of a run.

    Raises:
        MissingArtifactError: If the run has no such artifact.
        InputError: If it is too large.
    """
    with scratch_folder() as folder:
        return download(run_id, path, folder, MAX_JSON_BYTES).read_text(encoding="utf-8")


def load_json(run_id: str, path: str) -> dict[str, Any]:
    """Return the mapping in a JSON artifact of a run.

    Raises:
        InputError: If the run has no such artifact, or something else in its place.
    """
    with scratch_folder() as folder:
        file = download(run_id, path, folder, MAX_JSON_BYTES)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise unreadable_json(run_id, path, str(error)) from None
    if not isinstance(content, dict):
        raise unreadable_json(run_id, path, f"a {type(content).__name__}")
    return content


def unreadable_json(run_id: str, path: str, got: str) -> InputError:
    """Return the error for a JSON artifact with unexpected content."""
    return InputError(f"{path} must be JSON as a stage logs it, got {got:.100} in run {run_id}; use another run")


def _fetch(root: str, path: str, folder: Path, max_bytes: int) -> Path:
    try:
        found = list(_announced(root, path))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        found = []
    if not found:
        raise MissingArtifactError(f"{root} must contain {path}, got no such artifact; use another run or model")
    sizes = [entry.file_size or 0 for entry in found]
    if min(sizes) <= 0:
        raise InputError(f"artifacts must not be empty files, got {path} with no content in {root}; use another run")
    n_bytes = sum(sizes)
    if n_bytes > max_bytes or len(found) > MAX_FILES:
        raise InputError(
            f"{path} must have at most {max_bytes} bytes in {MAX_FILES} files, got {n_bytes} in {len(found)} in "
            f"{root}; use another run"
        )
    if shutil.disk_usage(folder).free < n_bytes:
        raise InputError(
            f"the folder for temporary files must have space for {path} ({n_bytes} bytes), got a full disk at "
            f"{folder}; "
            "free space, or set TMPDIR to another folder"
        )
    try:
        if root.startswith("models:/"):
            copied: str = get_artifact_repository(root).download_artifacts(path, str(folder))  # type: ignore[no-untyped-call]
            return Path(copied)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{root}/{path}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        if is_unreachable(error) or of_place(error) is not None:
            raise
        # For example for a link that leads out of the store.
        raise InputError(f"{path} of {root} must be available to be fetched, got {shown_reason(error)[:300]}") from None


def _announced(root: str, path: str, depth: int = MAX_DEPTH) -> Iterator[FileInfo]:
    """Yield a store's information on an artifact: the file, or all files below the folder."""
    parent, name = posixpath.split(path)
    for entry in _listed(root, parent):
        # Repositories differ in the root of their paths.
        if posixpath.basename(entry.path) == name:
            yield from _below(root, path, depth) if entry.is_dir else [entry]


def _below(root: str, path: str, depth: int, max_files: int = MAX_FILES) -> Iterator[FileInfo]:
    for number, entry in enumerate(_listed(root, path)):
        if number > max_files or depth == 0:
            raise InputError(f"artifacts must be few files, got more in {path} of {root}; use another run")
        own = posixpath.join(path, posixpath.basename(entry.path))
        yield from _below(root, own, depth - 1, max_files) if entry.is_dir else [FileInfo(own, False, entry.file_size)]


def _listed(root: str, path: str) -> list[FileInfo]:
    found: list[FileInfo]
    if root.startswith("models:/"):
        found = get_artifact_repository(root).list_artifacts(path or None)
    else:
        found = mlflow.artifacts.list_artifacts(run_id=root.removeprefix("runs:/"), artifact_path=path or None)
    return found
