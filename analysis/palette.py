"""Colours and markers that mean the same head or backbone in every figure.

Heads and methods have the hues of Okabe and Ito (2008), which are distinguishable with all common forms of colour
blindness. Backbones form a ramp from shallow to deep and have a marker each, so that they are distinguishable in print
as well. All are visible on white and on dark backgrounds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.heads import HEADS

BLUE, ORANGE, SKY, VERMILLION = "#0072b2", "#e69f00", "#56b4e9", "#d55e00"
GREY = "#7f7f7f"
# Rows without a fixed colour get an unused one.
HEAD_COLOURS = {name: head.colour for name, head in HEADS.items() if head.colour} | {"finetune": VERMILLION}
BACKBONE_COLOURS = {name: backbone.colour for name, backbone in BACKBONES.items() if backbone.colour}
# The more layers a fine-tuning trains, the darker its colour.
STRATEGIES = {"frozen": SKY, "fc": "#f2a36b", "layer4": "#e5803a", "layer3+": VERMILLION, "all": "#993f00"}
GROUPS = {"many": BLUE, "medium": ORANGE, "few": VERMILLION}
KNOWN = {**HEAD_COLOURS, **BACKBONE_COLOURS, **STRATEGIES, **GROUPS, "none": GREY}
ANY_MARKER = ("o", "circle")
STROKES = (("solid", "solid"), ("dashed", "dash"), ("dotted", "dot"), ("dashdot", "dashdot"))


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour per name: the fixed one if the first word is a head, backbone or group, else an unused one.

    Example:
        >>> colours_of(["svm", "finetune all", "crt"])
        {'svm': '#0072b2', 'finetune all': '#d55e00', 'crt': '#e69f00'}
    """
    wanted = list(dict.fromkeys(names))
    colours = {name: KNOWN[first] for name in wanted if (first := _first_word(name)) in KNOWN}
    hues = (*HEAD_COLOURS.values(), *BACKBONE_COLOURS.values())
    free = [colour for colour in hues if colour not in colours.values()] or [GREY]
    strangers = [name for name in wanted if name not in colours]
    colours |= {name: free[i % len(free)] for i, name in enumerate(strangers)}
    return {name: colours[name] for name in wanted}


def strokes_of(colours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return a line style per name, for matplotlib and for plotly: lines of equal colour differ in style.

    Example:
        >>> strokes_of({"svm": "#0072b2", "svm tuned": "#0072b2"})
        {'svm': ('solid', 'solid'), 'svm tuned': ('dashed', 'dash')}
    """
    seen: Counter[str] = Counter()
    strokes = {}
    for name, colour in colours.items():
        strokes[name] = STROKES[seen[colour] % len(STROKES)]
        seen[colour] += 1
    return strokes


def marker_of(text: str) -> tuple[str, str]:
    """Return the marker of the backbone that a text names, for matplotlib and for plotly."""
    return next((row.marker for name, row in BACKBONES.items() if name in text.split()), ANY_MARKER)


def _first_word(name: str) -> str:
    return name.split()[0] if name.split() else ""
