"""A table of text cells as plain text, Markdown, CSV and LaTeX, and how figures become cells."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Where there is no figure. Empty in CSV, which other programs read.
NOTHING = "-"

#: What Markdown would take as markup; underscores inside words are none.
MARKUP = re.compile(r"[\\`*<\[|]|(?<!\w)_|_(?!\w)")

#: Characters with a meaning in LaTeX, and those that its fonts have under another name.
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "\u00d7": r"$\times$",
        "†": r"$^{\dagger}$",
        "…": r"\ldots{}",
        "\u2013": "--",
        "\u2014": "---",
        "\u2212": "$-$",
    }
)


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        columns: headings.
        rows: as many cells as columns.
        caption: what the table shows.
        notes: lines below it.
        align: a letter for each column, ``'l'`` or ``'r'``; by default the first column is aligned
            to the left and the others, which are numbers, to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    notes: Sequence[str] = ()
    align: str = ""

    def __post_init__(self) -> None:
        widths = {len(self.columns), len(self.alignment), *map(len, self.rows)}
        if len(widths) > 1:
            raise ValueError(f"headings, alignment and rows have {sorted(widths)} cells")

    @property
    def alignment(self) -> str:
        """A letter for each column."""
        return self.align or "l" + "r" * (len(self.columns) - 1)

    def text(self) -> list[str]:
        """Aligned lines for a terminal, the headings first; neither caption nor notes."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        pads = [str.rjust if letter == "r" else str.ljust for letter in self.alignment]
        return [
            "  ".join(
                pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]

    def markdown(self) -> str:
        """A GitHub table, its caption above and its notes below."""
        marks = {"l": "---", "r": "---:"}
        lines = [
            _line(map(_markdown, self.columns)),
            _line(marks[letter] for letter in self.alignment),
            *(_line(map(_markdown, row)) for row in self.rows),
        ]
        parts = ["\n".join(lines), *map(_markdown, self.notes)]
        return "\n\n".join([_markdown(self.caption), *parts] if self.caption else parts)

    def csv(self) -> str:
        """Headings and rows as comma-separated values; neither caption nor notes."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if c == NOTHING else c for c in row] for row in self.rows)
        return text.getvalue()

    def latex(self) -> str:
        """A ``table`` with booktabs' rules; needs no other package."""
        caption = [rf"  \caption{{{_latex(self.caption)}}}"] if self.caption else []
        notes = [rf"  \par\smallskip{{\footnotesize {_latex(note)}\par}}" for note in self.notes]
        lines = [
            r"\begin{table}",
            r"  \centering",
            *caption,
            rf"  \begin{{tabular}}{{{self.alignment}}}",
            r"    \toprule",
            _latex_line(self.columns),
            r"    \midrule",
            *map(_latex_line, self.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            *notes,
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _latex_line(cells: Sequence[str]) -> str:
    """A line of cells; ``{}`` keeps LaTeX from reading a first ``[…]`` as an option of ``\\\\``."""
    text = " & ".join(map(_latex, cells))
    return f"    {'{}' if text.startswith(('[', '*')) else ''}{text} \\\\"


def _latex(text: str) -> str:
    if text == NOTHING:
        return "--"
    minus = r"$-$" if re.match(r"-\d", text) else ""
    return minus + " ".join(text[bool(minus) :].split()).translate(LATEX)


def shown(value: float | None, form: str = "{:.2f}") -> str:
    """A number as a cell."""
    return NOTHING if value is None else form.format(value)
