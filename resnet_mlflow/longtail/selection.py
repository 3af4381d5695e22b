"""Methods named in a text: how they combine, which apply to a head, and their hyperparameters."""

from collections.abc import Iterator, Mapping, Sequence

from resnet_mlflow.errors import InputError
from resnet_mlflow.longtail.method import Hyperparameter
from resnet_mlflow.longtail.methods import METHODS
from resnet_mlflow.review import Searched

FORCE = "force:"


def parse_methods(text: str) -> list[str]:
    """Return the methods named in a comma-separated text, each once, ``none`` first.

    Args:
        text: ``all``, or names; ``a+b`` is a combination, and ``force:a+b`` allows one that corrects twice.

    Raises:
        InputError: If a name is unknown or repeated, or a combination is invalid.

    Example:
        >>> parse_methods("balanced_softmax,resample_sqrt+focal")
        ['none', 'balanced_softmax', 'resample_sqrt+focal']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(
            f"methods must be all or comma-separated names, got {text!r}; valid methods: {', '.join(METHODS)}"
        )
    if "all" in names:
        names = [name for name in names if name != "all"] + list(METHODS)
    for name in names:
        method_parts(name)
    return list(dict.fromkeys(["none", *names]))


def method_parts(name: str) -> tuple[str, ...]:
    """Return the methods combined in a name; one for a plain name.

    Raises:
        InputError: If a part is unknown, two parts act in the same place, or both correct for class frequencies.

    Example:
        >>> method_parts("resample_sqrt+focal")
        ('resample_sqrt', 'focal')
    """
    parts = tuple(part.strip() for part in name.removeprefix(FORCE).split("+"))
    for part in parts:
        METHODS.find(part)
    if len(parts) > 1:
        _check_combination(name, parts)
    return parts


def _check_combination(name: str, parts: tuple[str, ...]) -> None:
    places = [METHODS[part].place for part in parts]
    if "none" in places or "decoupled" in places or len(set(places)) < len(places):
        raise InputError(
            "a combination must have at most one method each of sampling, weighting or loss, and posthoc, got "
            f"{name!r} ({', '.join(places)}); to compare methods, separate them by commas"
        )
    chosen = [parameter for part in parts for parameter in METHODS[part].hyperparameters]
    if len(set(chosen)) < len(chosen):
        raise InputError(
            f"the methods of a combination must not tune the same parameter, got {name!r}, which both tune "
            f"{max(chosen, key=chosen.count)}; remove one"
        )
    correcting = [part for part in parts if METHODS[part].corrects]
    if len(correcting) > 1 and not name.startswith(FORCE):
        raise InputError(
            f"a combination must correct for class frequencies only once, got {' and '.join(correcting)}, which both "
            f"do; write {FORCE}{name} to run it anyway"
        )


def inapplicable(name: str, head: str) -> str:
    """Return why a method does not apply to a head, or an empty text if it does.

    Example:
        >>> inapplicable("balanced_softmax", "svm")
        'balanced_softmax applies to mlp, linear: it replaces the loss of a head that is trained by gradient descent'
    """
    for part in method_parts(name):
        method = METHODS[part]
        if head not in method.heads:
            return f"{part} applies to {', '.join(method.heads)}: {method.applies_to.why_not}"
    return ""


def applicable(name: str, head: str) -> bool:
    """Return whether a method, or every part of a combination, applies to a head."""
    return not inapplicable(name, head)


def select_methods(text: str, head: str) -> list[str]:
    """Return the methods in a text for one head: ``all`` omits those that do not apply; a named one must apply.

    Raises:
        InputError: If a named method does not apply to the head.

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
            raise InputError(f"every method must apply to head {head}, got {name!r} ({reason}); leave it out")
    return chosen


def hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of a method or a combination, by name.

    Example:
        >>> hyperparameters("reweight_effective+focal").keys()
        dict_keys(['beta', 'gamma'])
    """
    merged: dict[str, Hyperparameter] = {}
    for part in method_parts(name):
        merged |= METHODS[part].hyperparameters
    return merged


def searched_on_grid(
    name: str, chosen: Mapping[str, float], tried: Sequence[Mapping[str, float]]
) -> Iterator[Searched]:
    """Yield the hyperparameters that were chosen from at least three values, with the range searched.

    Args:
        name: A method or a combination.
        chosen: Its hyperparameters.
        tried: All sets of hyperparameters tried.

    Example:
        >>> grid = [{"tau": 0.5}, {"tau": 1.0}, {"tau": 1.5}, {"tau": 2.0}]
        >>> [one.edge for one in searched_on_grid("logit_adjust_loss", {"tau": 2.0}, grid)]
        ['high']
    """
    for parameter, rule in hyperparameters(name).items():
        values = sorted({params[parameter] for params in tried if parameter in params})
        if len(values) > 2 and parameter in chosen:
            low, high = values[0], values[-1]
            limits = {"open_below": low > rule.low, "open_above": high < rule.high}
            yield Searched(parameter, chosen[parameter], low, high, margin=0.0, **limits)
