"""The files of the repository that are made of rows and published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.marked import fill
from casvit_dense.results.metafile import metafiles
from casvit_dense.results.names import HEAD_NAMES
from casvit_dense.results.row import Evaluation, Row
from casvit_dense.results.table import Table
from casvit_dense.results.tables import (
    Sizes,
    evaluation_table,
    overview_table,
    peer_table,
    verdict_table,
)
from casvit_dense.results.targets import Targets, read_targets
from casvit_dense.results.verify import Finding, verify

PAGE_LEDGER = Path("docs", "results", "results.jsonl")
COUNTS = Path("docs", "speed", "cpu.csv")
PAGES = (Path("docs", "results.md"), Path("README.md"))
OURS = "CAS-ViT"


@dataclass(frozen=True)
class Generated:
    """Contents by path from the repository's folder; lines of the ledger that are no rows."""

    files: Mapping[Path, str]
    rejected: Sequence[Rejected]


def generate(root: Path, sizes: Sizes) -> Generated:
    """Pages and metafiles, made anew.

    Args:
        root: folder of the repository, with ``docs`` and ``configs``.
        sizes: counted models.

    Raises:
        UserError: a page or the ledger is not there, or a page has an unknown marker.
    """
    rows, rejected = read_ledger(root / PAGE_LEDGER)
    targets = read_targets()
    findings = verify(rows, targets)
    tables = tables_of(targets, findings, rows, sizes)
    parts = {name: partial(_text, table) for name, table in tables.items()}
    files = {page: fill(root / page, parts) for page in PAGES}
    meta = metafiles(root / "configs", targets, findings, sizes)
    return Generated({**files, **{Path(name): text for name, text in meta.items()}}, rejected)


def tables_of(
    targets: Targets, findings: Sequence[Finding], rows: Sequence[Row], sizes: Sizes
) -> dict[str, Table]:
    """Every table that a page can name."""
    ours = [target for target in targets.dense if target.backbone.startswith(OURS)]
    tables = {"overview": overview_table(ours, findings, sizes)}
    for head, name in HEAD_NAMES.items():
        own = [f for f in findings if f.target in ours and f.target.head == head]
        tables[name.replace(" ", "-")] = verdict_table(own, sizes, "Published and ours.")
        under_head = [target for target in targets.dense if target.head == head]
        tables[f"{name.replace(' ', '-')}-peers"] = peer_table(
            under_head, findings, sizes, f"Backbones under {name}."
        )
    without = [
        row for row in rows if isinstance(row, Evaluation) and targets.of_config(row.config) is None
    ]
    return {**tables, "others": evaluation_table(without)}


def _text(table: Table) -> str:
    return table.markdown() if table.rows else "None yet."
