"""Where figures were measured, and what to type to measure them again."""

from collections.abc import Sequence
from dataclasses import dataclass

from casvit_dense.report.grid import NOTHING, Cell, Column, Grid
from casvit_dense.results.row import Evaluation, Row, Speed

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Environment:
    """What ran it: one for all rows that agree in everything here.

    Attributes:
        name: ``E1``, ``E2``, … in the order of the rows.
        facts: what a reader sees, by its heading.
    """

    name: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Command:
    """A command and the rows that it made.

    Attributes:
        text: to type; None where the rows do not say.
        made: what it made.
        environment: the name of one.
        rows: how many rows.
    """

    text: str | None
    made: str
    environment: str
    rows: int


def facts_of(row: Row) -> dict[str, str]:
    """Device, software and code of a row."""
    software = row.software
    commit = f"{software.commit or NOT_RECORDED}{' with changes' if software.dirty else ''}"
    versions = [f"{name} {version}" for name, version in software.versions.items()]
    facts = {
        "Device": row.device,
        "Threads": str(row.threads),
        "Python": software.python,
        "Versions": ", ".join(versions),
        "Commit": commit,
    }
    return {heading: fact for heading, fact in facts.items() if fact}


def environments(rows: Sequence[Row]) -> list[Environment]:
    """All that differ."""
    distinct = list(dict.fromkeys(tuple(facts_of(row).items()) for row in rows))
    return [Environment(f"E{n}", dict(facts)) for n, facts in enumerate(distinct, 1)]


def commands(rows: Sequence[Row], known: Sequence[Environment]) -> list[Command]:
    """Every command once for every environment in which it ran."""
    names = {tuple(environment.facts.items()): environment.name for environment in known}
    groups: dict[tuple[str, str | None, str], list[Row]] = {}
    for row in rows:
        name = names[tuple(facts_of(row).items())]
        # Rows without a command are told apart by what they are of.
        made = row.config if isinstance(row, Evaluation) else "speed"
        groups.setdefault((name, row.command, made), []).append(row)
    return [
        Command(text, _made(group), name, len(group)) for (name, text, _), group in groups.items()
    ]


def _made(rows: Sequence[Row]) -> str:
    first = rows[0]
    if isinstance(first, Evaluation):
        return f"accuracy of {first.config} on {first.dataset.name}"
    models = list(dict.fromkeys(row.model for row in rows if isinstance(row, Speed)))
    shown = ", ".join(models[:3])
    return f"speed of {shown}{f' and {len(models) - 3} more' if len(models) > 3 else ''}"


def command_grid(found: Sequence[Command]) -> Grid:
    """The table of commands."""
    columns = (Column("What"), Column("Environment", choose=True), Column("Command"))
    rows = [
        [
            Cell(command.made, note=f"{command.rows} row{'s' * (command.rows > 1)}"),
            Cell(command.environment),
            Cell(command.text, mark="command") if command.text else Cell(NOT_RECORDED),
        ]
        for command in found
    ]
    return Grid("commands", "Commands", "The command behind every row", columns, rows)


def environment_grid(known: Sequence[Environment]) -> Grid:
    """The table of environments."""
    headings = list(dict.fromkeys(heading for one in known for heading in one.facts))
    columns = (Column("Environment"), *(Column(h, number=h == "Threads") for h in headings))
    rows = [
        [Cell(one.name), *(_fact_cell(h, one.facts.get(h, NOTHING)) for h in headings)]
        for one in known
    ]
    return Grid("environments", "Environments", "What ran it", columns, rows)


def _fact_cell(heading: str, fact: str) -> Cell:
    """Versions are many, so they may wrap."""
    return Cell("", fact, fact) if heading == "Versions" else Cell(fact)
