"""The generated pages of the repository: tables in Markdown files, and OpenMMLab's metafiles.

``<!-- table: NAME -->`` and ``<!-- end -->`` enclose each generated part of a Markdown file.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casvit_dense.errors import UserError
from casvit_dense.results.boards import Board, boards
from casvit_dense.results.costs import Sizes, model_sizes
from casvit_dense.results.ledger import Rejected, read_ledger
from casvit_dense.results.lines import Row
from casvit_dense.results.measurements import Speed
from casvit_dense.results.metafile import metafiles
from casvit_dense.results.row import Evaluation
from casvit_dense.results.table import Table
from casvit_dense.results.tables import board_table, overview_table, verdict_table
from casvit_dense.results.targets import Targets, read_targets
from casvit_dense.results.verify import Finding, verify
from casvit_dense.zoo import DATASETS, FAMILIES, is_casvit

PAGE_LEDGER = Path("docs", "results", "results.jsonl")
COUNTS = Path("docs", "speed", "cpu.jsonl")
PAGES = (Path("docs", "results.md"), Path("README.md"))

OPENING = re.compile(r"<!-- table:.*")
#: A part ends before the next begins.
PLACEHOLDER = re.compile(
    r"(<!-- table: (\S+) -->\n)(?:(?!<!-- table:).)*?(<!-- end -->)", flags=re.DOTALL
)


def fill(page: Path, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page's text with every placeholder refilled, by the function of its name.

    The functions' texts come without the end of their last line.

    Raises:
        UserError: there is no page or no placeholder in it; a placeholder has no end or an unknown
            name.
    """
    if not page.is_file():
        raise UserError(f"no page {page}")
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page} cannot be read as text: {error}") from error
    _check_placeholders(page, text)

    def replace(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in parts:
            raise UserError(f"{page}: no table {name!r}; there are {', '.join(parts)}")
        return f"{start}{parts[name]()}\n{end}"

    return PLACEHOLDER.sub(replace, text)


def _check_placeholders(page: Path, text: str) -> None:
    """A `UserError` if a page has no placeholder, or one without an end or beside other text."""
    openings = list(OPENING.finditer(text))
    if not openings:
        raise UserError(f"{page}: no <!-- table: NAME --> in it, so there is nothing to rewrite")
    whole = {match.start() for match in PLACEHOLDER.finditer(text)}
    for opening in openings:
        if opening.start() not in whole:
            line = text.count("\n", 0, opening.start()) + 1
            raise UserError(
                f"{page}: line {line}: {opening[0]} stands alone; it needs a line of its own and "
                "<!-- end --> below its table"
            )


@dataclass(frozen=True)
class Generated:
    """Contents by path from the repository's folder; lines of the ledger that are no rows."""

    files: Mapping[Path, str]
    rejected: Sequence[Rejected]


def generate(root: Path, counted: Sequence[Row]) -> Generated:
    """The text of all pages and metafiles of the repository in ``root``.

    Args:
        root: folder of the repository.
        counted: rows of the counts of its models.

    Raises:
        UserError: a page or the ledger is not there, or a page has an unknown placeholder.
    """
    rows, rejected = read_ledger(root / PAGE_LEDGER)
    targets = read_targets()
    findings = verify(rows, targets)
    sizes = model_sizes(counted)
    speeds = [row for row in counted if isinstance(row, Speed)]
    parts = parts_of(targets, findings, rows, speeds)
    pages = {page: fill(root / page, parts) for page in PAGES}
    meta = metafiles(root / "configs", targets, findings, sizes)
    return Generated(pages | {Path(name): text for name, text in meta.items()}, rejected)


def parts_of(
    targets: Targets, findings: Sequence[Finding], rows: Sequence[Row], speeds: Sequence[Speed]
) -> dict[str, Callable[[], str]]:
    """What the placeholders of the pages are filled with, by their names."""
    ours = [target for target in targets.dense if is_casvit(target.backbone)]
    evaluations = [row for row in rows if isinstance(row, Evaluation)]
    # The times of other machines are on a page of their own.
    counts = [row for row in speeds if row.mode == "count"]
    sizes, all_boards = model_sizes(counts), boards(evaluations, findings, counts, targets)
    return {
        "overview": lambda: _text(overview_table(ours, findings, sizes)),
        "families": lambda: _families(all_boards, findings, sizes),
        "others": lambda: _others(all_boards),
    }


def _others(all_boards: Sequence[Board]) -> str:
    """A table for each data set that models were evaluated on and no family's section is of."""
    return "\n\n".join(_text(board_table(one)) for one in _unfamiliar(all_boards)) or "None yet."


def _unfamiliar(all_boards: Sequence[Board]) -> Iterator[Board]:
    for board in all_boards:
        of = [DATASETS[family.dataset].split for family in FAMILIES]
        left = [one for one in board.entries if board.key not in of or not one.head]
        if board.measured and left:
            yield replace(board, entries=tuple(left))


def _families(all_boards: Sequence[Board], findings: Sequence[Finding], sizes: Sizes) -> str:
    """A section for each family: our models beside the published figures, and all backbones."""
    sections = []
    for family in FAMILIES:
        of_family = [finding for finding in findings if finding.target.family is family]
        ours = [finding for finding in of_family if is_casvit(finding.target.backbone)]
        board = next(one for one in all_boards if one.key == DATASETS[family.dataset].split)
        entries = tuple(entry for entry in board.entries if entry.head == family.title)
        sections += [
            f"## {family.title}",
            _text(verdict_table(ours, sizes, "Published and ours.")),
            _text(board_table(replace(board, entries=entries))),
        ]
    return "\n\n".join(sections)


def _text(table: Table) -> str:
    return table.markdown() if table.rows else "None yet."
