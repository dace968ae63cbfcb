"""The tables of a report for papers: Markdown, CSV and LaTeX."""

import re
from collections.abc import Sequence
from pathlib import Path

from casvit_dense.files import write_whole
from casvit_dense.results.boards import Board
from casvit_dense.results.costs import model_sizes
from casvit_dense.results.measurements import Speed
from casvit_dense.results.tables import Table, board_table, speed_table, verdict_table
from casvit_dense.results.verify import Finding, Verdict


def report_tables(
    findings: Sequence[Finding], all_boards: Sequence[Board], speeds: Sequence[Speed]
) -> dict[str, Table]:
    """By file name without suffix; tables without a row are left out, as is what was not run."""
    run = [finding for finding in findings if finding.verdict is not Verdict.NOT_RUN]
    tables = {
        "verdicts": verdict_table(run, model_sizes(speeds), "Published figures and ours."),
        "speed": speed_table(speeds, "Time, memory and work."),
    }
    for board in all_boards:
        stem = file_stem(board.title)
        taken = stem in tables
        tables[f"{stem}-{board.key[:8]}" if taken else stem] = board_table(board)
    return {name: table for name, table in tables.items() if table.rows}


def file_stem(title: str) -> str:
    """A title as a part of a file's name on any system."""
    return "-".join(re.findall(r"[^\W_]+", title.lower())) or "data"


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
