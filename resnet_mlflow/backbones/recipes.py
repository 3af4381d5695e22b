"""Recipes of seeded random weights: their names, and the labels and digests of their weights. Does not import torch."""

import importlib.metadata
import re
from dataclasses import dataclass

from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.registry.backbones import TIMM

RANDOM = "random"


@dataclass(frozen=True)
class Recipe:
    """A way to turn a seed into weights; a change needs a new name, or old features would be used for new weights.

    Attributes:
        name: The name that users write after ``random:``.
        label: Label of its weights; the seed is appended.
        libraries: Libraries whose versions may change its numbers, for torchvision's networks.
    """

    name: str
    label: str
    libraries: tuple[str, ...] = ()


# ``library``, the initialisation of torchvision or timm, was the only recipe in 0.1.0. Its labels do not change.
LIBRARY = Recipe("library", "random-seed", ("torch",))
STANDARDIZED = Recipe("standardized", "random-standardized-seed")
RECIPES = {recipe.name: recipe for recipe in (STANDARDIZED, LIBRARY)}


def asks_for_random(weights: str) -> bool:
    """Return whether a request is ``random``, or ``random:`` and the name of a recipe."""
    return weights.partition(":")[0] == RANDOM


def recipe_of(weights: str) -> Recipe:
    """Return the recipe of the request ``random`` or ``random:NAME``.

    Raises:
        InputError: If there is none with that name.
    """
    name = weights.removeprefix(RANDOM).removeprefix(":")
    if weights == RANDOM:
        return STANDARDIZED
    if name not in RECIPES:
        known = [f"{RANDOM}:{known}" for known in RECIPES]
        raise InputError(f"random weights must be one of {', '.join(known)}, got {weights!r}{nearest(weights, known)}")
    return RECIPES[name]


def request_of(label: str) -> str:
    """Return the request that reproduces the weights of a label; empty if they are not random.

    Example:
        >>> request_of("random-seed3"), request_of("random-standardized-seed3"), request_of("file:0123")
        ('random:library', 'random', '')
    """
    bare = re.sub(r"\d+$", "", label)
    recipe = next((recipe for recipe in RECIPES.values() if recipe.label == bare), None)
    if recipe is None:
        return ""
    return RANDOM if recipe is STANDARDIZED else f"{RANDOM}:{recipe.name}"


def digest_of_random(recipe: Recipe, backbone: str, seed: int) -> str:
    """Return the identity of random weights: recipe, seed, and versions of the libraries that may change their numbers.

    Example:
        >>> digest_of_random(STANDARDIZED, "resnet18", 3)
        'random-standardized-seed3'
    """
    # timm decides which layers its networks have, and the initial values of those that are not convolutions.
    libraries = ("torch", "timm") if backbone.startswith(TIMM) else recipe.libraries
    versions = (f"{name}{'.'.join(importlib.metadata.version(name).split('.')[:2])}" for name in libraries)
    return "-".join([f"{recipe.label}{seed}", *versions])
