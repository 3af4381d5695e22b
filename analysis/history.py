"""The history of a registered model's aliases, as Markdown: who moved which alias, when, and why."""

from collections.abc import Mapping

from resnet_mlflow.errors import InputError
from resnet_mlflow.markdown import markdown_table
from resnet_mlflow.tracking import CHALLENGER, CHAMPION, Entry, aliases_of, find_model, reach_store, read_history

TITLES = ("", "when (UTC)", "who", "action", CHAMPION, CHALLENGER, "why", "run")


def history(name: str) -> str:
    """Return the history of a registered model, oldest first.

    Raises:
        InputError: If there is no such model, or it was never promoted.
    """
    reach_store()
    if find_model(name) is None:
        raise InputError(f"a history needs a registered model, got {name!r}; see the models in MLflow")
    found = read_history(name)
    remarks = list(found.remarks)
    if not found.entries:
        raise InputError(
            f"a history is written by promote, got none for {name} "
            f"({'; '.join(remarks) or 'no action since version 0.2.0'}); promote a classifier first"
        )
    if aliases_of(name) != found.entries[-1].after:
        remarks.append(
            f"since then, aliases were moved by something else: {_list_aliases(aliases_of(name))}; the next action "
            f"will record it"
        )
    lines = [f"# History of {name}", "", *markdown_table(TITLES, [_row(entry) for entry in found.entries])]
    return "\n".join([*lines, *(["", *(f"- {remark}" for remark in remarks)] if remarks else [])])


def _row(entry: Entry) -> list[str]:
    when = entry.when.partition("+")[0].replace("T", " ")
    roles = [_move(entry, alias) for alias in (CHAMPION, CHALLENGER)]
    who = f"{entry.user} at {entry.host}"
    return [str(entry.number), when, who, entry.action, *roles, entry.why, entry.run_id]


def _move(entry: Entry, alias: str) -> str:
    before, after = (f"v{one[alias]}" if alias in one else "-" for one in (entry.before, entry.after))
    return after if before == after else f"{before} -> {after}"


def _list_aliases(aliases: Mapping[str, str]) -> str:
    return ", ".join(f"{alias} version {version}" for alias, version in aliases.items()) or "none remain"
