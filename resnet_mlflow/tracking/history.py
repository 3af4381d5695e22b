"""History of the aliases of a registered model: who moved which, when, why, and based on which difference.

Each action's run has the artifact ``history.jsonl``: everything up to and including that action, one entry per line. It
is written once, and the next action writes its own, so that no line is ever rewritten; the model's tag ``history_run``
names the newest. An entry holds the digest of the previous one, which reveals later changes.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import mlflow
from mlflow.tracking.context.registry import resolve_tags

from resnet_mlflow.process import process_name
from resnet_mlflow.tracking.artifacts import MissingArtifactError, load_text, unreadable_json
from resnet_mlflow.tracking.registry import aliases_of, find_model
from resnet_mlflow.tracking.runs import StageRun

logger = logging.getLogger(__name__)

FILE = "history.jsonl"
HISTORY_TAG = "history_run"
# Prefix of a version's tags with its part of the history, followed by the entry's number.
ENTRY_TAG = "history."
FOUND = "found"
BY_OTHERS = "aliases were moved by something other than these actions"
BEGINNING = "aliases as they were when this history began"
LOST = "the earlier history, in run {}, no longer exists"


@dataclass(frozen=True)
class Entry:
    """One change of a model's aliases, or one decision that changed none.

    Attributes:
        number: Number of the entry, from 1.
        when: Time in UTC, ISO 8601.
        user: User account.
        host: Machine.
        action: ``promote``, ``rollback``, ``copy``; ``found`` for changes by others.
        why: Reason in words.
        version: The version concerned; empty for ``found``.
        before: Version by alias, before the action.
        after: Version by alias, after the action.
        run_id: Run of the action.
        facts: Further facts, such as the interval of the difference.
        previous: Digest of the previous entry; empty for the first.
    """

    number: int
    when: str
    user: str
    host: str
    action: str
    why: str
    version: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    run_id: str
    facts: Mapping[str, str] = field(default_factory=dict)
    previous: str = ""

    @property
    def line(self) -> str:
        """Return the entry as a line of the artifact."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """Return the digest that the next entry holds of this one."""
        return hashlib.sha256(self.line.encode()).hexdigest()

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions whose aliases changed."""
        return tuple(sorted({version for pair in self._moves().values() for version in pair if version}))

    def _moves(self) -> dict[str, tuple[str, str]]:
        names = sorted({*self.before, *self.after})
        pairs = {name: (self.before.get(name, ""), self.after.get(name, "")) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def summary(self, version: str) -> str:
        """Return the entry's part about one version, in one line."""
        roles = [
            " and ".join(name for name, own in sorted(aliases.items()) if own == version) or "no alias"
            for aliases in (self.before, self.after)
        ]
        return f"{self.when}, {self.user} at {self.host}, {self.action}: {roles[0]} -> {roles[1]} ({self.why})"


@dataclass(frozen=True)
class History:
    """All entries of a model, in order.

    Attributes:
        entries: The entries.
        remarks: Problems found in them.
    """

    entries: tuple[Entry, ...] = ()
    remarks: tuple[str, ...] = ()


def read_history(name: str) -> History:
    """Return the history of a registered model; empty if none has been written.

    Raises:
        InputError: If it cannot be read, or MLflow refuses the name.
    """
    model = find_model(name)
    run_id = "" if model is None else model.tags.get(HISTORY_TAG, "")
    if not run_id:
        return History()
    try:
        return parse_history(load_text(run_id, FILE), run_id)
    except MissingArtifactError:
        return History((), (LOST.format(run_id),))


def parse_history(text: str, run_id: str) -> History:
    """Return the entries in the lines of an artifact; entries that do not match the previous ones get a remark.

    Raises:
        InputError: If a line is not an entry.
    """
    try:
        entries = tuple(Entry(**json.loads(line)) for line in text.splitlines())
    except (ValueError, TypeError, RecursionError) as error:
        raise unreadable_json(run_id, FILE, str(error)) from None
    changed = [str(first.number) for first, second in pairwise(entries) if second.previous != first.digest]
    remarks = [f"entry {number} was changed after it had been written" for number in changed]
    return History(entries, tuple(remarks))


class Ledger:
    """The history of a model during an action, under the model's lock.

    Args:
        name: Name of the registered model, which need not exist yet.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.aliases = aliases_of(name)
        self.history = read_history(name)
        for remark in self.history.remarks:
            logger.warning("history of %s: %s", name, remark)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return the entries written before this action."""
        return self.history.entries

    def write(self, run: StageRun, action: str, version: str, why: str, facts: Mapping[str, str]) -> None:
        """Write the action's changes to the aliases: to its run, and to the tags of the versions concerned.

        Aliases that others have moved since the last entry first get their own entry. An action without changes to
        aliases and without new facts, such as a decision, gets none.
        """
        after, known = aliases_of(self.name), list(self.entries)
        if after == self.aliases and (not facts or any(entry.facts == facts for entry in known)):
            return
        make = partial(_entry, run_id=run.run_id)
        if (known[-1].after if known else {}) != self.aliases:
            why_found = BY_OTHERS if known else (self.history.remarks or (BEGINNING,))[0]
            before = known[-1].after if known else {}
            known.append(make(known, FOUND, "", why_found, before, self.aliases, {}))
        known.append(make(known, action, version, why, self.aliases, after, facts))
        new = known[len(self.entries) :]
        with run.artifacts() as folder:
            (folder / FILE).write_text("".join(f"{entry.line}\n" for entry in known), encoding="utf-8")
        self._tell(run, new)

    def _tell(self, run: StageRun, new: Sequence[Entry]) -> None:
        client = mlflow.MlflowClient()
        for entry in new:
            for version in entry.versions:
                key = f"{ENTRY_TAG}{entry.number:04d}"
                client.set_model_version_tag(self.name, version, key, entry.summary(version)[:5000])
        client.set_registered_model_tag(self.name, HISTORY_TAG, run.run_id)


def _entry(
    known: Sequence[Entry],
    action: str,
    version: str,
    why: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    facts: Mapping[str, str],
    *,
    run_id: str,
) -> Entry:
    tags: Mapping[str, Any] = resolve_tags()
    return Entry(
        number=len(known) + 1,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        user=str(tags.get("mlflow.user", "unknown")),
        host=process_name().rpartition(":")[0],
        action=action,
        why=why,
        version=version,
        before=dict(before),
        after=dict(after),
        run_id=run_id,
        facts=dict(facts),
        previous=known[-1].digest if known else "",
    )
