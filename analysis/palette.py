"""Colours and markers that stand for the same head or backbone in every figure.

Heads and methods have the hues of Okabe and Ito (2008), told apart with every common colour blindness. Backbones are a
ramp from shallow to deep, and have a marker each, so that they are told apart in print as well. All of them can be seen
on white and on dark paper.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"
GREY = "#7f7f7f"
HEADS = {"svm": BLUE, "knn": ORANGE, "mlp": GREEN, "prototype": PURPLE, "linear": SKY, "finetune": VERMILLION}
BACKBONES = {
    "resnet18": "#414487", "resnet34": "#31688e", "resnet50": "#21918c", "resnet101": "#2fb47c", "resnet152": "#5ec962",
}  # fmt: skip
# The deeper the training, the darker the colour of fine-tuning.
STRATEGIES = {"frozen": SKY, "fc": "#f2a36b", "layer4": "#e5803a", "layer3+": VERMILLION, "all": "#993f00"}
GROUPS = {"many": BLUE, "medium": ORANGE, "few": VERMILLION}
KNOWN = {**HEADS, **BACKBONES, **STRATEGIES, **GROUPS, "none": GREY}
# Of matplotlib and of plotly: the same shapes in both.
MARKERS = {
    "resnet18": ("o", "circle"), "resnet34": ("v", "triangle-down"), "resnet50": ("s", "square"),
    "resnet101": ("D", "diamond"), "resnet152": ("P", "cross"),
}  # fmt: skip
ANY_MARKER = ("o", "circle")
STROKES = (("solid", "solid"), ("dashed", "dash"), ("dotted", "dot"), ("dashdot", "dashdot"))


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour per name: its own where the first word is a head, backbone or group, else the next that is free.

    Example:
        >>> colours_of(["svm", "finetune all", "crt"])
        {'svm': '#0072b2', 'finetune all': '#d55e00', 'crt': '#e69f00'}
    """
    wanted = list(dict.fromkeys(names))
    colours = {name: KNOWN[first] for name in wanted if (first := _first_word(name)) in KNOWN}
    free = [colour for colour in (*HEADS.values(), *BACKBONES.values()) if colour not in colours.values()] or [GREY]
    strangers = [name for name in wanted if name not in colours]
    colours |= {name: free[i % len(free)] for i, name in enumerate(strangers)}
    return {name: colours[name] for name in wanted}


def strokes_of(colours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return a stroke per name, for matplotlib and for plotly: lines of one colour differ in it.

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
    return next((marker for backbone, marker in MARKERS.items() if backbone in text.split()), ANY_MARKER)


def _first_word(name: str) -> str:
    return name.split()[0] if name.split() else ""
