"""Tables of the page: cells that know what they are sorted by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NOTHING = "\u2013"

Value = str | float | None


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: its heading.
        number: cells are numbers, set to the right.
        choose: a reader may choose among its values.
    """

    title: str
    number: bool = False
    choose: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: what is shown.
        value: what it is sorted by; its text if that is all.
        note: a second, smaller line.
        mark: word that the style sheet knows, e.g. a verdict.
    """

    text: str
    value: Value = None
    note: str = ""
    mark: str = ""

    @property
    def key(self) -> str:
        """The sorting value as an attribute's text; empty where there is nothing."""
        if self.value is not None:
            return f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        return "" if self.text == NOTHING else self.text


@dataclass(frozen=True)
class Grid:
    """A table that the page lets sort and filter.

    Attributes:
        name: its id in the page.
        title: its heading.
        caption: what it shows.
        columns: see `Column`.
        rows: as many cells as columns; the first is the row's heading.
        shown: rows before the reader asks for all.
        about: a paragraph above it.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    shown: int = 25
    about: str = ""

    def lines(self) -> Iterator[list[tuple[Column, Cell]]]:
        """Every row as pairs of column and cell."""
        return (list(zip(self.columns, row, strict=True)) for row in self.rows)


def number_cell(value: float | None, form: str = "{:.1f}") -> Cell:
    """A number's cell, a dash where there is none."""
    return Cell(NOTHING) if value is None else Cell(form.format(value), float(value))


def significant(value: float | None, note: str = "") -> Cell:
    """A number's cell with three significant digits, never in powers of ten."""
    if value is None:
        return Cell(NOTHING, note=note)
    return Cell(three_digits(value), float(value), note)


def three_digits(value: float) -> str:
    """``0.123``, ``1.23``, ``12.3``, ``123``, ``1234``."""
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:.{digits}f}"
