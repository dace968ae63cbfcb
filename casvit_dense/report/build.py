"""From ledgers to one HTML file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from casvit_dense import __version__
from casvit_dense.report.conditions import (
    command_grid,
    commands,
    environment_grid,
    environments,
)
from casvit_dense.report.costs import scatter
from casvit_dense.report.curves import POINTS, read_curves
from casvit_dense.report.grid import Grid
from casvit_dense.report.models import model_of, titles_of
from casvit_dense.report.page import render
from casvit_dense.report.pictures import Pictures
from casvit_dense.report.sources import Sources, read_sources, with_predictions
from casvit_dense.report.speeds import csv_grid, speed_grid
from casvit_dense.report.tables import report_tables
from casvit_dense.report.verdicts import SIGNS, other_grid, verdict_grid
from casvit_dense.results.ledger import Rejected
from casvit_dense.results.row import Evaluation
from casvit_dense.results.tables import Table
from casvit_dense.results.targets import PUBLISHED, read_targets
from casvit_dense.results.verify import Finding, Verdict, counts, verify

IMAGES = 12  # of a gallery


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of.

    Attributes:
        ledgers: files of result rows.
        speed: CSV files of ``casvit-dense benchmark``.
        runs: folders below which training logs are looked for.
        images: pictures of each model.
        targets: file of published figures.
        title: heading of the page.
    """

    ledgers: Sequence[Path]
    speed: Sequence[Path] = ()
    runs: Sequence[Path] = ()
    images: int = IMAGES
    targets: Path = PUBLISHED
    title: str = "Published and measured"


@dataclass(frozen=True)
class Report:
    """The file's content, the same tables for papers, and what was left out on the way."""

    html: bytes
    tables: dict[str, Table]
    notes: list[str] = field(default_factory=list)


#: Told of each model: how many are done, how many there are, and its name.
Said = Callable[[int, int, str], None]


def build_report(options: ReportOptions, said: Said | None = None) -> Report:
    """Reads, compares, analyses and renders.

    Args:
        options: see `ReportOptions`.
        said: told of the progress.

    Raises:
        UserError: a file is missing, nothing is in them, or jinja2 is not installed.
    """
    sources = read_sources(options.ledgers, options.speed, options.runs)
    targets = read_targets(options.targets)
    findings = verify(sources.rows, targets)
    evaluations = [evaluated.row for evaluated in sources.evaluations]
    others = [row for row in evaluations if targets.of_config(row.config) is None]
    pictures = Pictures()
    models, notes = _models(sources, options.images, pictures, said)
    known = environments(sources.rows)
    html = render(
        {
            "title": options.title,
            "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            "version": __version__,
            "files": [path.name for path in sources.files],
            "evaluations": len(evaluations),
            "speeds": len(sources.speeds),
            "counts": _counted(findings) if evaluations else [],
            "rejected": [_named(line) for line in sources.rejected],
            "results": _result_grids(findings, others),
            "scatter": scatter(findings, evaluations, sources.speeds, targets),
            "models": models,
            "runs": _runs(sources),
            "points": POINTS,
            "speed_grids": _speed_grids(sources),
            "environments": environment_grid(known),
            "commands": command_grid(commands(sources.rows, known)),
            "pictures": pictures.texts,
        }
    )
    tables = report_tables(findings, others, sources.speeds, targets)
    return Report(html, tables, [*map(str, sources.rejected), *notes])


def _models(
    sources: Sources, images: int, pictures: Pictures, said: Said | None
) -> tuple[list[Any], list[str]]:
    """The parts of all models, and a line on each that lacks something."""
    chosen = with_predictions(sources.evaluations)
    models, notes = [], []
    titles = titles_of(chosen)
    for number, (evaluated, title) in enumerate(zip(chosen, titles, strict=True), 1):
        model = model_of(evaluated, images, pictures, title)
        models.append(model)
        notes += [f"{model.title}: {note}" for note in model.notes]
        if said is not None:
            said(number, len(chosen), model.title)
    return models, notes


def _runs(sources: Sources) -> list[dict[str, Any]]:
    runs = [{"name": name, "curves": read_curves(log)} for name, log in sources.logs.items()]
    return [run for run in runs if run["curves"]]


def _speed_grids(sources: Sources) -> list[Grid]:
    grids = [speed_grid(sources.speeds)] if sources.speeds else []
    return grids + [csv_grid(name, rows) for name, rows in sources.others.items()]


def _result_grids(findings: Sequence[Finding], others: Sequence[Evaluation]) -> list[Grid]:
    """Both tables of results; that of published figures first if any was run."""
    grids = [verdict_grid(findings)]
    if others:
        run = any(finding.verdict is not Verdict.NOT_RUN for finding in findings)
        grids.insert(int(run), other_grid(others))
    return grids


def _counted(findings: Sequence[Finding]) -> list[tuple[Verdict, str, int]]:
    return [(verdict, SIGNS[verdict], n) for verdict, n in counts(findings).items()]


def _named(line: Rejected) -> str:
    return f"{line.path.name}, line {line.number}: {line.reason}"
