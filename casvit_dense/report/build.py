"""From ledgers to one HTML file, which has styles, scripts, data and pictures inside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from casvit_dense import __version__
from casvit_dense.analysis.sources import Log, no_log
from casvit_dense.extras import require
from casvit_dense.report.models import Model, model_of, titles_of
from casvit_dense.report.page_tables import (
    SIGNS,
    board_grid,
    cell_grid,
    command_grid,
    environment_grid,
    environments,
    speed_grid,
    verdict_grid,
)
from casvit_dense.report.paper_tables import report_tables
from casvit_dense.report.pictures import Pictures
from casvit_dense.report.scatter import scatter
from casvit_dense.report.sources import Sources, read_sources, with_predictions
from casvit_dense.report.training_logs import POINTS, read_curves
from casvit_dense.results.boards import Board, boards
from casvit_dense.results.tables import Table
from casvit_dense.results.targets import PUBLISHED, read_targets
from casvit_dense.results.verify import Verdict, counts, verify

#: Pictures of each model.
IMAGES = 12

#: Heading of the page.
TITLE = "Published and measured"

STATIC = Path(__file__).with_name("static")

#: In the order in which they build on each other.
STYLES = ("base.css", "tables.css", "charts.css", "gallery.css", "print.css")
SCRIPTS = (
    "dom.js",
    "theme.js",
    "grid.js",
    "axes.js",
    "lines.js",
    "scatter.js",
    "curves.js",
    "heatmap.js",
    "histogram.js",
    "analysis.js",
    "overlay.js",
    "gallery.js",
    "viewer.js",
    "main.js",
)

#: Nothing is fetched from anywhere, whatever a class or a file is called.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Report:
    """The HTML file, the same tables for papers, and notes on what was left out."""

    html: bytes
    tables: dict[str, Table]
    notes: list[str] = field(default_factory=list)


def build_report(
    ledgers: Sequence[Path],
    speed: Sequence[Path] = (),
    runs: Sequence[Path] = (),
    images: int = IMAGES,
    targets: Path = PUBLISHED,
    title: str = TITLE,
    log: Log = no_log,
) -> Report:
    """Reads, compares, analyses and renders.

    Args:
        ledgers: files of result rows.
        speed: ledgers of ``casvit-dense benchmark``.
        runs: folders that are searched for training logs.
        images: pictures of each model.
        targets: file of published figures.
        title: heading of the page.
        log: gets a line for each model.

    Raises:
        UserError: a file is missing, there is no row, or jinja2 is not installed.
    """
    sources = read_sources(ledgers, speed, runs)
    published = read_targets(targets)
    findings = verify(sources.rows, published)
    evaluations = [evaluated.row for evaluated in sources.evaluations]
    all_boards = boards(evaluations, findings, sources.speeds, published)
    pictures = Pictures()
    models, notes = _models(sources, images, pictures, log)
    logs = [{"name": name, "curves": read_curves(log)} for name, log in sources.logs.items()]
    speed_grids = [speed_grid(sources.speeds)] if sources.speeds else []
    speed_grids += [cell_grid(name, rows) for name, rows in sources.others.items()]
    compared = any(finding.verdict is not Verdict.NOT_RUN for finding in findings)
    verdicts = counts(findings) if compared else {}
    known = environments(sources.rows)
    html = render(
        "report.html.j2",
        {
            "title": title,
            "files": [path.name for path in sources.files],
            "evaluations": len(evaluations),
            "speeds": len(sources.speeds),
            "counts": [(verdict, SIGNS[verdict], n) for verdict, n in verdicts.items()],
            "rejected": [f"{r.path.name}, line {r.number}: {r.reason}" for r in sources.rejected],
            "measured": [_part(one, n) for n, one in enumerate(all_boards, 1) if one.measured],
            "published": [_part(one, n) for n, one in enumerate(all_boards, 1) if not one.measured],
            "verdicts": verdict_grid(findings),
            "compared": compared,
            "models": models,
            "runs": [run for run in logs if run["curves"]],
            "points": POINTS,
            "speed_grids": speed_grids,
            "environments": environment_grid(known),
            "commands": command_grid(sources.rows, known),
            "pictures": pictures.texts,
        },
    )
    tables = report_tables(findings, all_boards, sources.speeds)
    return Report(html, tables, [*map(str, sources.rejected), *notes])


def _models(
    sources: Sources, images: int, pictures: Pictures, log: Log
) -> tuple[list[Model], list[str]]:
    """The sections of all models, and a note on everything that is missing."""
    chosen = with_predictions(sources.evaluations)
    models, notes = [], []
    titles = titles_of(chosen)
    for number, (evaluated, title) in enumerate(zip(chosen, titles, strict=True), 1):
        model = model_of(evaluated, images, pictures, title)
        models.append(model)
        notes += [f"{model.title}: {note}" for note in model.notes]
        log(f"{number} of {len(chosen)}: {model.title}")
    return models, notes


def _part(board: Board, number: int) -> dict[str, Any]:
    """A data set's table and chart."""
    return {"number": number, "grid": board_grid(board, number), "scatter": scatter(board)}


def render(template: str, content: Mapping[str, Any]) -> bytes:
    """The HTML file from a template and its variables; needs jinja2."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(STATIC),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda value: jinja2.utils.markupsafe.Markup(embedded(value))
    page = environment.get_template(template).render(
        policy=POLICY,
        styles=_joined(STYLES),
        scripts=_joined(SCRIPTS),
        made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        **content,
    )
    # A log may hold lone UTF-16 surrogates, which cannot be encoded.
    return page.encode(errors="replace")


def embedded(value: Any) -> str:
    """JSON for a script element; no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)
