"""The tables of a report for papers: Markdown, CSV and LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from casvit_dense.benchmark.speed_tables import model_sizes
from casvit_dense.files import write_whole
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation
from casvit_dense.results.tables import (
    Table,
    evaluation_table,
    peer_table,
    speed_table,
    verdict_table,
)
from casvit_dense.results.targets import Targets
from casvit_dense.results.verify import Finding
from casvit_dense.zoo import FAMILIES


def report_tables(
    findings: Sequence[Finding],
    others: Sequence[Evaluation],
    speeds: Sequence[Speed],
    targets: Targets,
) -> dict[str, Table]:
    """By file name without suffix; tables without a row are left out.

    ``others`` are results that nothing was published of.
    """
    sizes = model_sizes(speeds)
    tables = {
        "verdicts": verdict_table(findings, sizes, "Published figures and ours."),
        "others": evaluation_table(others, "Results without a published figure."),
        "speed": speed_table(speeds, "Time, memory and work."),
    }
    for family in FAMILIES:
        dense = [target for target in targets.dense if target.family is family]
        caption = f"{family.title} with all backbones."
        tables[f"peers-{family.head}"] = peer_table(dense, findings, sizes, caption)
    return {name: table for name, table in tables.items() if table.rows}


def write_tables(folder: Path, tables: dict[str, Table]) -> list[Path]:
    """Writes every table as ``.md``, ``.csv`` and ``.tex``; returns the files.

    Raises:
        UserError: they cannot be written.
    """
    written = []
    for name, table in tables.items():
        formats = {"md": table.markdown() + "\n", "csv": table.csv(), "tex": table.latex()}
        for suffix, text in formats.items():
            path = folder / f"{name}.{suffix}"
            write_whole(path, text.encode())
            written.append(path)
    return written
