"""What a warning is: a row with its code, and the function that finds what it is about."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

SubjectT = TypeVar("SubjectT")

# Before a code, the tag of a run that holds what was found.
TAG = "warning."


@dataclass(frozen=True)
class Rule(Generic[SubjectT]):
    """One warning.

    Attributes:
        name: Its code, such as ``W01``; a code is never given again.
        title: What is wrong, in a few words.
        when: When it applies.
        advice: What to do about it, as a sentence.
        check: From what is reviewed to one clause for each thing found; none where all is well.
    """

    name: str
    title: str
    when: str
    advice: str
    check: Callable[[SubjectT], Iterable[str]]

    def message(self, found: Iterable[str]) -> str:
        """Return the warning as a line: code, title, what was found, what to do."""
        return f"{self.name} {self.title}: {'; '.join(found)}. {self.advice}"


@dataclass(frozen=True)
class Finding:
    """What was found under one code, a clause for each."""

    code: str
    clauses: tuple[str, ...]


def find(rules: Mapping[str, Rule[SubjectT]], subject: SubjectT) -> list[Finding]:
    """Return what rules find in a subject, those that find nothing left out."""
    checked = {code: tuple(rule.check(subject)) for code, rule in rules.items()}
    return [Finding(code, clauses) for code, clauses in checked.items() if clauses]
