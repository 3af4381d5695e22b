"""The table of remedies: what each is called, what it does, and which heads it applies to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from resnet_mlflow.errors import InputError, nearest
from resnet_mlflow.registry.heads import HEADS

Kind = Literal["none", "sampling", "resampling", "weighting", "loss", "posthoc", "decoupled"]

ANY_HEAD = tuple(HEADS)
TRAINED_HEADS = tuple(name for name, head in HEADS.items() if head.has_epochs)
SIZE_SENSITIVE = tuple(name for name, head in HEADS.items() if head.depends_on_class_sizes)
FORCE = "force:"
TENTHS = tuple(round(0.1 * step, 1) for step in range(21))  # 0 to 2


@dataclass(frozen=True)
class Hyperparameter:
    """One number of a method that is chosen on validation.

    Attributes:
        default: What a method uses where nothing is chosen.
        grid: What is tried otherwise.
        low: Smallest value that is possible, where a search that is no grid starts.
        high: Largest.
    """

    default: float
    grid: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Method:
    """One remedy.

    Attributes:
        kind: Where it acts: on the draw of items, their weights, the loss, the fitted classifier, or in two steps.
        heads: Heads it applies to.
        reference: Paper it is from.
        hyperparameters: What is chosen on validation, by name.
        corrects: Whether it corrects for class frequencies; two such methods together correct twice.
        residue: The classifier's scores are made for a prior proportional to ``n_c ** residue``.
        on_images: Whether a whole network can be trained with it: by the same rows, weights or loss, or afterwards.
        why_not: Why it does not apply to the other heads.
    """

    kind: Kind
    heads: tuple[str, ...]
    reference: str
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    corrects: bool = True
    residue: float = 0.0
    on_images: bool = True
    why_not: str = ""


_NO_EPOCHS = "it needs a head that is trained epoch by epoch"
_MEANS = "class means do not depend on class sizes"
_NO_LOSS = "it replaces the loss of a head that is trained by gradient descent"
_NO_LAYER = "it changes a last linear layer, which the others do not have"
_NO_COSINES = "it needs features of unit length under a linear layer"

METHODS: dict[str, Method] = {
    "none": Method("none", ANY_HEAD, "cross-entropy, instance sampling", corrects=False, residue=1.0),
    "resample_balanced": Method("sampling", SIZE_SENSITIVE, "Kang et al. (2020), Decoupling, q = 0", why_not=_MEANS),
    "resample_sqrt": Method(
        "sampling",
        SIZE_SENSITIVE,
        "Mahajan et al. (2018); Kang et al. (2020), Decoupling, q = 1/2",
        residue=0.5,
        why_not=_MEANS,
    ),
    "resample_progressive": Method(
        "sampling", TRAINED_HEADS, "Kang et al. (2020), Decoupling, equation 2", why_not=_NO_EPOCHS
    ),
    "oversample": Method("resampling", SIZE_SENSITIVE, "Buda et al. (2018), A systematic study", why_not=_MEANS),
    "undersample": Method("resampling", SIZE_SENSITIVE, "Buda et al. (2018), A systematic study", why_not=_MEANS),
    "smote": Method("resampling", SIZE_SENSITIVE, "Chawla et al. (2002), SMOTE", on_images=False, why_not=_MEANS),
    "reweight_inverse": Method(
        "weighting",
        SIZE_SENSITIVE,
        "Huang et al. (2016), Learning Deep Representation",
        why_not=_MEANS,
    ),
    "reweight_sqrt": Method("weighting", SIZE_SENSITIVE, "Mahajan et al. (2018)", residue=0.5, why_not=_MEANS),
    "reweight_effective": Method(
        "weighting",
        SIZE_SENSITIVE,
        "Cui et al. (2019), Class-Balanced Loss",
        {"beta": Hyperparameter(0.9999, (0.9, 0.99, 0.999, 0.9999), 0.9, 0.99999)},
        why_not=_MEANS,
    ),
    "focal": Method(
        "loss",
        TRAINED_HEADS,
        "Lin et al. (2017), Focal Loss",
        {"gamma": Hyperparameter(1.0, (0.5, 1.0, 2.0), 0.0, 5.0)},
        corrects=False,
        residue=1.0,
        why_not=_NO_LOSS,
    ),
    "ldam_drw": Method(
        "loss",
        ("linear",),
        "Cao et al. (2019), LDAM",
        {"margin": Hyperparameter(0.5, (0.1, 0.3, 0.5), 0.01, 1.0)},
        why_not=_NO_COSINES,
    ),
    "balanced_softmax": Method("loss", TRAINED_HEADS, "Ren et al. (2020), Balanced Meta-Softmax", why_not=_NO_LOSS),
    "logit_adjust_loss": Method(
        "loss",
        TRAINED_HEADS,
        "Menon et al. (2021), Logit Adjustment",
        {"tau": Hyperparameter(1.0, (0.5, 1.0, 1.5, 2.0), 0.0, 3.0)},
        why_not=_NO_LOSS,
    ),
    "logit_adjust_posthoc": Method(
        "posthoc",
        ANY_HEAD,
        "Menon et al. (2021), Logit Adjustment",
        {"tau": Hyperparameter(1.0, TENTHS, 0.0, 3.0)},
    ),
    "tau_norm": Method(
        "posthoc",
        TRAINED_HEADS,
        "Kang et al. (2020), Decoupling, equation 4",
        {"tau": Hyperparameter(1.0, TENTHS, 0.0, 2.0)},
        why_not=_NO_LAYER,
    ),
    "crt": Method("decoupled", TRAINED_HEADS, "Kang et al. (2020), Decoupling, section 4.2", why_not=_NO_LAYER),
    "lws": Method("decoupled", TRAINED_HEADS, "Kang et al. (2020), Decoupling, section 4.2", why_not=_NO_LAYER),
    "ncm": Method(
        "decoupled",
        ("prototype", "linear"),
        "Kang et al. (2020), Decoupling, section 4.2",
        why_not="it is a classifier of its own, in the place of a linear layer or of other prototypes",
    ),
}


def parse_methods(text: str) -> list[str]:
    """Return the methods that a comma-separated text names, each once, ``none`` first.

    Args:
        text: ``all``, or names; ``a+b`` is a combination, ``force:a+b`` one that corrects twice.

    Raises:
        InputError: If a name is unknown or stands there twice, or a combination cannot be.

    Example:
        >>> parse_methods("balanced_softmax,resample_sqrt+focal")
        ['none', 'balanced_softmax', 'resample_sqrt+focal']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(
            f"methods must be all or names with commas between, got {text!r}; known are {', '.join(METHODS)}"
        )
    if "all" in names:
        names = [name for name in names if name != "all"] + list(METHODS)
    for name in names:
        method_parts(name)
    return list(dict.fromkeys(["none", *names]))


def method_parts(name: str) -> tuple[str, ...]:
    """Return the methods that a name combines; one for a plain name.

    Raises:
        InputError: If a part is unknown, two parts act in the same place, or both correct for class frequencies.

    Example:
        >>> method_parts("resample_sqrt+focal")
        ('resample_sqrt', 'focal')
    """
    parts = tuple(part.strip() for part in name.removeprefix(FORCE).split("+"))
    for part in parts:
        if part not in METHODS:
            raise InputError(
                f"a method must be one of {', '.join(METHODS)}, got {part!r}{nearest(part, METHODS)}; write all for all"
            )
    if len(parts) > 1:
        _check_combination(name, parts)
    return parts


def _check_combination(name: str, parts: tuple[str, ...]) -> None:
    places = [_place(part) for part in parts]
    if "none" in places or "decoupled" in places or len(set(places)) < len(places):
        raise InputError(
            "a combination must take one method each from sampling, weighting or loss, and posthoc, got "
            f"{name!r} ({', '.join(places)}); write the methods with a comma between to compare them"
        )
    chosen = [parameter for part in parts for parameter in METHODS[part].hyperparameters]
    if len(set(chosen)) < len(chosen):
        raise InputError(
            f"the methods of a combination must not choose the same parameter, got {name!r}, which both choose "
            f"{max(chosen, key=chosen.count)}; leave one out"
        )
    correcting = [part for part in parts if METHODS[part].corrects]
    if len(correcting) > 1 and not name.startswith(FORCE):
        raise InputError(
            f"a combination must correct for class frequencies once, got {' and '.join(correcting)}, which both do; "
            f"write {FORCE}{name} to do it all the same"
        )


def _place(part: str) -> str:
    kind = METHODS[part].kind
    return {"resampling": "sampling"}.get(kind, kind)


def inapplicable(name: str, head: str) -> str:
    """Return why a method does not apply to a head, or an empty text where it does.

    Example:
        >>> inapplicable("balanced_softmax", "svm")
        'balanced_softmax applies to mlp, linear: it replaces the loss of a head that is trained by gradient descent'
    """
    for part in method_parts(name):
        method = METHODS[part]
        if head not in method.heads:
            return f"{part} applies to {', '.join(method.heads)}: {method.why_not}"
    return ""


def applicable(name: str, head: str) -> bool:
    """Return whether a method, or each of those it combines, applies to a head."""
    return not inapplicable(name, head)


def select_methods(text: str, head: str) -> list[str]:
    """Return the methods of a text for one head: ``all`` leaves out those that do not apply, a name must apply.

    Raises:
        InputError: If a method that is named does not apply to the head.

    Example:
        >>> select_methods("all", "prototype")
        ['none', 'logit_adjust_posthoc', 'ncm']
    """
    named = [name.strip() for name in text.split(",")]
    chosen = []
    for name in parse_methods(text):
        reason = inapplicable(name, head)
        if not reason:
            chosen.append(name)
        elif name in named:
            raise InputError(f"a method must apply to head {head}, got {name!r} ({reason}); leave it out")
    return chosen


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """Return what is chosen on validation for a method or a combination, by name.

    Example:
        >>> hyperparameters("reweight_effective+focal").keys()
        dict_keys(['beta', 'gamma'])
    """
    merged: dict[str, Hyperparameter] = {}
    for part in method_parts(name):
        merged |= METHODS[part].hyperparameters
    return merged
