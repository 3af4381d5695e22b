"""Names that mean a split, whatever their case, separators, prefix or suffix."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# "held": words for held-out images, which are the test split, or the validation split if another is the test split.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validating", "validation"), "val"),
    **dict.fromkeys(("dev", "devel", "develop", "development"), "val"),
    **dict.fromkeys(("test", "tests", "testing"), "test"),
    **dict.fromkeys(("eval", "evals", "evaluate", "evaluating", "evaluation", "holdout", "heldout"), "held"),
}
# Too short to mean a split on their own.
_SHORT = {"tr": "train", "trn": "train", "va": "val", "vl": "val", "te": "test", "ts": "test", "tst": "test"}
_HOLD_OUT = re.compile(r"h(?:o|e)ld[\W_]*out", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]+")
_CAPITAL_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class SplitName:
    """What a name says about a split.

    Attributes:
        role: ``train``, ``val``, ``test``, or ``held``: the test split, or the validation split if there is another
            test split.
        rest: The other words, in lower case and without digits; all splits of a dataset have the same.
        sure: Whether the word for the split stands by itself and is not an abbreviation.
    """

    role: str
    rest: tuple[str, ...]
    sure: bool


def read_split_name(name: str) -> SplitName | None:
    """Return what a name says about a split, or None if it says nothing or is ambiguous.

    Example:
        >>> read_split_name("seg_train")
        SplitName(role='train', rest=('seg',), sure=True)
        >>> read_split_name("2-TestSet")
        SplitName(role='test', rest=('set',), sure=True)
        >>> read_split_name("contest")
        SplitName(role='test', rest=('con',), sure=False)
        >>> read_split_name("crow")
    """
    name = "".join(
        character for character in unicodedata.normalize("NFKD", name) if not unicodedata.combining(character)
    )
    name = _HOLD_OUT.sub("holdout", name)
    words = [word for letters in _LETTERS.findall(name) for word in _words(letters)]
    sure = any(word in _WORDS for word in words)
    read = [({_WORDS[word]}, "") if word in _WORDS else (set(), word) if sure else _read_word(word) for word in words]
    roles = set().union(*(roles for roles, _ in read))
    # A split for both training and validation, such as trainval, is the training split: validation is drawn from it.
    role = "train" if roles == {"train", "val"} else next(iter(roles)) if len(roles) == 1 else ""
    return SplitName(role, tuple(rest for _, rest in read if rest), sure) if role else None


def _words(letters: str) -> list[str]:
    """Return the words in a run of letters: divided at capitals, if that gives a word for a split."""
    parts = _CAPITAL_BEGINS.sub(" ", letters).lower().split()
    return parts if any(part in _WORDS or part in _SHORT for part in parts) else [letters.lower()]


def _read_word(word: str) -> tuple[set[str], str]:
    """Return the roles that a word begins or ends with, and the rest of the word."""
    if word in _SHORT:
        return {_SHORT[word]}, ""
    roles = set()
    for known in sorted(_WORDS, key=len, reverse=True):
        # Not a plural: testset ends in "set".
        if known.endswith("s"):
            continue
        if word.startswith(known) or word.endswith(known):
            roles.add(_WORDS[known])
            word = word.removeprefix(known) if word.startswith(known) else word.removesuffix(known)
    return roles, word


def splits_of_roles(roles: Collection[str]) -> dict[str, str]:
    """Return the split of each role, given the others: a lone validation split is the test split.

    Example:
        >>> splits_of_roles(["train", "val", "held"])
        {'train': 'train', 'val': 'val', 'held': 'test'}
        >>> splits_of_roles(["train", "test", "held"])
        {'train': 'train', 'test': 'test', 'held': 'val'}
        >>> splits_of_roles(["train", "val"])
        {'train': 'train', 'val': 'test'}
    """
    splits = {role: role for role in roles}
    if "held" in splits:
        splits["held"] = "val" if "test" in splits else "test"
    if "test" not in splits.values():
        splits |= {role: "test" for role, split in splits.items() if split == "val"}
    return splits


def are_splits(roles: Iterable[str]) -> bool:
    """Return whether these roles form a dataset: a training split, and another that is held out.

    Example:
        >>> are_splits(["train", "held"]), are_splits(["val", "test"])
        (True, False)
    """
    return "train" in (found := set(roles)) and len(found) > 1
