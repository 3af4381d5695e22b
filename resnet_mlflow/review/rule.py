"""Definition of a warning: a row with its code, and the function that checks for it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

SubjectT = TypeVar("SubjectT")

# Prefix of a run's tag with findings; the code follows.
TAG = "warning."


@dataclass(frozen=True)
class Rule(Generic[SubjectT]):
    """One warning.

    Attributes:
        name: Its code, such as ``W01``; codes are never reused.
        title: The problem in a few words.
        when: When it applies.
        advice: Advice, as a sentence.
        check: Maps the reviewed subject to one clause per finding; empty if there are none.
    """

    name: str
    title: str
    when: str
    advice: str
    check: Callable[[SubjectT], Iterable[str]]

    def message(self, found: Iterable[str]) -> str:
        """Return the warning as a line: code, title, findings, advice."""
        return f"{self.name} {self.title}: {'; '.join(found)}. {self.advice}"


@dataclass(frozen=True)
class Finding:
    """The findings under one code, one clause each."""

    code: str
    clauses: tuple[str, ...]


def find(rules: Mapping[str, Rule[SubjectT]], subject: SubjectT) -> list[Finding]:
    """Return the findings of rules in a subject, without rules that find nothing."""
    checked = {code: tuple(rule.check(subject)) for code, rule in rules.items()}
    return [Finding(code, clauses) for code, clauses in checked.items() if clauses]
