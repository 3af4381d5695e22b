"""Sections on how a classifier was made: its cost, and how to reproduce it."""

from collections.abc import Iterator

from resnet_mlflow.cards.content import Block, Code, Facts, Table, Text

JOULES_PER_WH = 3600


def write_cost(facts: Facts) -> Iterator[Block]:
    """Yield the time that runs took, and their energy if measured."""
    if not facts.runs:
        return
    rows = [
        [did, run_id, f"{seconds:,.1f} s", "not measured" if joules is None else f"{joules / JOULES_PER_WH:,.2f} Wh"]
        for did, run_id, seconds, joules in facts.runs
    ]
    yield Table(("run", "id", "time", "energy"), rows, numbers=False)
    if any(joules is None for *_, joules in facts.runs):
        yield Text(
            "Energy is measured by runs of version 0.2.0 or later if the processor's counter can be read (Linux on "
            "Intel or AMD, with /sys/class/powercap/*/energy_uj readable by the user)."
        )
    if any(joules is not None for *_, joules in facts.runs):
        yield Text("Energy is the total of the machine's processors during a run; GPU energy is not measured.")


def write_repeat(facts: Facts) -> Iterator[Block]:
    """Yield commands that reproduce the version, and the conditions for equal numbers."""
    if facts.commands:
        yield Code("\n".join(facts.commands))
    yield Table(("based on", "value"), [[name, value] for name, value in facts.origins.items()], numbers=False)
    yield Text(f"python -m analysis repeat {facts.tags.get('run_id', 'RUN')} runs it again and compares the numbers.")
