"""Resolves a backbone's weights: which ones, where they are stored, and the digest that identifies them."""

import glob
import hashlib
import importlib.util
import logging
import os
import re
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Any

from resnet_mlflow.backbones.file_kinds import refuse_other_kinds
from resnet_mlflow.backbones.recipes import (
    LIBRARY,
    RANDOM,
    STANDARDIZED,
    Recipe,
    asks_for_random,
    digest_of_random,
    recipe_of,
)
from resnet_mlflow.backbones.weight_notes import preprocessing_of
from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.files.digests import file_sha256
from resnet_mlflow.files.paths import user_path
from resnet_mlflow.process import is_gone, is_worker, process_mark
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import IMAGENET, PLAIN, Preprocessing

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ResolvedWeights:
    """Weights that are known to exist.

    Attributes:
        label: Text for the ``weights`` tag, such as ``ResNet18_Weights.IMAGENET1K_V1`` or
            ``random-standardized-seed0``.
        digest: Identity of the values: the start of the file's SHA-256, or recipe and seed of random weights.
        path: The file, if there is one.
        seed: The seed, if the weights are random.
        recipe: Recipe that turns the seed into weights, one of ``recipes.RECIPES``.
        preprocessing: The preprocessing that they expect.
        preprocessing_problem: Why it is unknown, if their metadata ask for something that is not supported.
        fell_back: Whether ``auto`` found no ImageNet weights and took random ones.
    """

    label: str
    digest: str
    path: Path | None = None
    seed: int | None = None
    recipe: str = LIBRARY.name
    fell_back: bool = False
    preprocessing: Preprocessing = PLAIN
    preprocessing_problem: str = ""


def resolve_weights(
    backbone: str, weights: str, weights_seed: int, fetch_artifact: Callable[[str], Path] | None = None
) -> ResolvedWeights:
    """Return the weights that a request resolves to; nothing is loaded and torch is not imported.

    Args:
        backbone: One of ``registry.backbones.BACKBONES``.
        weights: ``auto``, ``imagenet``, a torchvision weights name, ``random``, ``random:RECIPE``, a file, ``runs:/ID``
            or ``models:/NAME``. ``imagenet`` is torchvision's default for the backbone; ``auto`` is the same, but with
            random weights if those are not available.
        weights_seed: Seed of random weights.
        fetch_artifact: Returns the local ``backbone.safetensors`` of a ``runs:/`` or ``models:/`` address.

    Raises:
        InputError: If the request is not recognised, or the weights are not available.
    """
    row = BACKBONES.find(backbone)
    if asks_for_random(weights):
        return _random(backbone, recipe_of(weights), weights_seed)
    if weights == "auto":
        return _imagenet_or_random(backbone, weights_seed)
    if weights.startswith(("runs:/", "models:/")):
        return _from_artifact(weights, fetch_artifact)
    name = weights.removeprefix(f"{row.weights_class}.")
    if weights == "imagenet" or name in row.weights:
        return _published(backbone, default_name(backbone) if weights == "imagenet" else name)
    if _is_path(user_path(weights, "weights")):
        return _from_file(user_path(weights, "weights"))
    raise InputError(_unknown_weights(backbone, weights))


def default_name(backbone: str) -> str:
    """Return the name of the default weights of a backbone, torchvision's or timm's.

    Raises:
        InputError: If there are none.

    Example:
        >>> default_name("resnet18"), default_name("resnet50")
        ('IMAGENET1K_V1', 'IMAGENET1K_V2')
    """
    names = list(BACKBONES[backbone].weights)
    if not names:
        raise InputError(f"weights of {backbone} must be random or a file, because none are published, got imagenet")
    return names[-1]


def checkpoint_folder() -> Path:
    """Return the folder where torchvision keeps downloaded weights; ``TORCH_HOME`` changes it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _random(backbone: str, recipe: Recipe, seed: int, fell_back: bool = False) -> ResolvedWeights:
    label, digest = f"{recipe.label}{seed}", digest_of_random(recipe, backbone, seed)
    return ResolvedWeights(label, digest, seed=seed, recipe=recipe.name, fell_back=fell_back)


@cache
def _announce(message: str) -> None:
    # Only once: a study resolves the same weights in every cell, and should not do so in each of its workers.
    logger.log(logging.DEBUG if is_worker() else logging.WARNING, message)


def _imagenet_or_random(backbone: str, seed: int) -> ResolvedWeights:
    try:
        return _published(backbone, default_name(backbone))
    except InputError as error:
        logger.debug("%s", error)
        place = f"none in {checkpoint_folder()}, and they cannot be downloaded"
        _announce(f"no ImageNet weights of {backbone} ({place}); using random weights instead (seed {seed})")
        return _random(backbone, STANDARDIZED, seed, fell_back=True)


def _published(backbone: str, name: str) -> ResolvedWeights:
    row = BACKBONES[backbone]
    label, file = f"{row.weights_class}.{name}", row.weights[name]
    digest, problem = _obtain(file, checkpoint_folder(), row.addresses.get(file, ""))
    path = checkpoint_folder() / file
    if problem:
        raise InputError(
            f"weights {label} must be in {path.parent} or downloadable, got {problem}; "
            f"copy {path.name} there, or pass weights=random"
        )
    return ResolvedWeights(label, digest, path=path, preprocessing=row.preprocessing.get(name, IMAGENET))


# A study requests the same file once per cell: a failed download is not retried in the same process.
@lru_cache(maxsize=64)
def _obtain(file_name: str, folder: Path, address: str = "") -> tuple[str, str]:
    """Return the digest of a published file, downloaded if missing, and the error if that failed."""
    path, named = folder / file_name, re.search(r"-([0-9a-f]{8,64})\.pth$", file_name)
    prefix = named[1] if named else ""
    try:
        if not path.exists():
            _fetch(address or _torchvision_url(file_name), path, prefix)
        digest = file_sha256(path)
    except (OSError, ValueError) as error:  # a malformed address or proxy gives a ValueError
        return "", f"{' '.join(str(error).split()) or type(error).__name__}"
    if not digest.startswith(prefix):
        return "", f"a damaged {path.name} (SHA-256 starts with {digest[:8]})"
    return digest[:16], ""


def _torchvision_url(file_name: str) -> str:
    """Return a file's address from torchvision's source code: importing torchvision would take seconds."""
    spec = importlib.util.find_spec("torchvision")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        source = (Path(place) / "models" / "resnet.py").read_text(encoding="utf-8")
        if found := re.search(rf"https?://[^\s\"']+/{re.escape(file_name)}", source):
            return found.group()
    raise FileNotFoundError(f"the installed torchvision has no address for {file_name}")


def _fetch(url: str, path: Path, prefix: str) -> None:
    """Download an address to ``path``; the file gets its name only once its digest is right."""
    response: Any = _open_within(url, _TIMEOUT_S)
    length = response.headers.get("Content-Length") if hasattr(response, "headers") else None
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.info("fetching %s", url)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):  # left by a process that was killed
        if is_gone(left.name.removeprefix(f"{path.name}.").removesuffix(".partial").replace("-", ":")):
            left.unlink(missing_ok=True)
    beside = path.with_name(f"{path.name}.{process_mark().replace(':', '-')}.partial")
    with response, beside.open("wb") as file:
        try:
            digest = hashlib.sha256()
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
            is_whole = length is None or int(length) == file.tell()
            if not (is_whole and digest.hexdigest().startswith(prefix)):
                raise OSError(f"a damaged download of {path.name}")
            file.flush()
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _open_within(url: str, seconds: float) -> IO[bytes]:
    """Return the opened address; host name lookup has no timeout of its own, hence the thread."""
    outcome: list[IO[bytes] | Exception] = []

    def attempt() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=seconds))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(outcome[0], Exception):
        raise OSError(str(outcome[0])) from outcome[0]
    return outcome[0]


def _is_path(path: Path) -> bool:
    """Return whether a request names a file: it exists, contains a folder, or has a suffix."""
    return path.exists() or len(path.parts) > 1 or (path.suffix != "" and "_Weights." not in path.name)


def _from_file(path: Path) -> ResolvedWeights:
    if path.is_dir():
        raise InputError(f"weights must be a file, got the folder {path}; pass the file in it that holds the tensors")
    if not path.is_file():
        raise InputError(f"weights must be an existing file, got {path}; check the path")
    refuse_other_kinds(path)
    digest = _digest_of(path)
    preprocessing, problem = preprocessing_of(path)
    return ResolvedWeights(
        f"file:{digest[:12]}",
        digest[:16],
        path=path.absolute(),
        preprocessing=preprocessing,
        preprocessing_problem=problem,
    )


def _digest_of(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(
            f"weights file must be readable, got {path} ({error.strerror}); check its permissions"
        ) from error


def _from_artifact(address: str, fetch_artifact: Callable[[str], Path] | None) -> ResolvedWeights:
    if fetch_artifact is None:
        raise InputError(f"weights {address} need a tracking server, but none is in use here; pass a file")
    found = _from_file(fetch_artifact(address))
    return replace(found, label=f"{address}#{found.digest[:12]}")


def _unknown_weights(backbone: str, weights: str) -> str:
    known = ["auto", "imagenet", *BACKBONES[backbone].weights, RANDOM]
    return (
        f"weights of {backbone} must be one of {', '.join(known)}, a file, runs:/ID or "
        f"models:/NAME, got {weights!r}{nearest(weights, known)}"
    )
