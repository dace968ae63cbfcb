"""What a check of data found: each kind of fault once, with its records counted."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from casvit_dense.errors import UserError
from casvit_dense.files import short_path
from casvit_dense.progress import counted

Severity = Literal["error", "warning"]

#: Records that a finding names; the others are counted.
EXAMPLES: Final = 5


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        code: stable name, e.g. ``'box-not-finite'``.
        severity: ``'error'``: a training or an evaluation would stop, or report a wrong figure;
            ``'warning'``: something is left out, or probably not meant.
        problem: what is wrong, to be read after the file's name and the count.
        remedy: what to do.
    """

    code: str
    severity: Severity
    problem: str
    remedy: str


def _read_kinds() -> dict[str, Kind]:
    text = Path(__file__).with_name("kinds.tsv").read_text(encoding="utf-8")
    rows: Any = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["code"]: Kind(**row) for row in rows}


#: Every kind by its code, as ``kinds.tsv`` and docs/data.md list them.
KINDS: Final = _read_kinds()


@dataclass
class Finding:
    """One kind of fault in one file or folder.

    Attributes:
        file: as a user would type it.
        count: records with the fault.
        where: the first of these records, e.g. ``'annotation 7 (image 000139.jpg)'``.
        examples: what the first of them hold, e.g. ``'bbox [1, 2, nan, 4]'``.
    """

    kind: Kind
    severity: Severity
    file: str
    count: int = 0
    where: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As ``data check --json`` writes it."""
        return {
            "severity": self.severity,
            "code": self.kind.code,
            "file": self.file,
            "where": ", ".join(self.where),
            "count": self.count,
            "message": f"{self.kind.problem}. {self.kind.remedy}",
            "examples": self.examples,
        }

    def lines(self) -> list[str]:
        """For a console: what and where, then the remedy."""
        more = f" and {self.count - len(self.where):,} more" if self.count > len(self.where) else ""
        records = f": {', '.join(self.where)}{more}" if self.where else ""
        held = f" ({'; '.join(self.examples[:2])})" if self.examples else ""
        place = f"{self.severity} {self.kind.code}: {short_path(self.file)}"
        return [
            f"{place}: {self.kind.problem}{records}{held}",
            f"    {self.kind.remedy}",
        ]


class Findings:
    """Collects what the checks of one run find, and counts what repeats.

    Args:
        named: records that a finding names; None: all.

    Attributes:
        notes: harmless oddities that are read as they were meant, one line each.
        splits: facts of each split by its name: numbers of images, objects, labels.
    """

    def __init__(self, named: int | None = EXAMPLES) -> None:
        self._named = named
        self._found: dict[tuple[str, str], Finding] = {}
        self.notes: list[str] = []
        self.splits: dict[str, dict[str, Any]] = {}

    def add(
        self,
        kind: Kind,
        file: str | Path,
        where: str = "",
        example: str = "",
        count: int = 1,
        severity: Severity | None = None,
    ) -> None:
        """Counts a fault.

        Args:
            where: the record, as a user can find it: annotation id and image.
            example: what the record holds.
            severity: in place of the kind's, where the task makes a difference.
        """
        found = self._found.setdefault(
            (kind.code, str(file)), Finding(kind, severity or kind.severity, str(file))
        )
        found.count += count
        if severity == "error":
            found.severity = severity
        for text, kept in ((where, found.where), (example, found.examples)):
            if text and (self._named is None or len(kept) < self._named):
                kept.append(text)

    def has(self, kind: Kind, file: Path | None) -> bool:
        """Whether a file has such a fault."""
        return (kind.code, str(file)) in self._found

    def note(self, line: str) -> None:
        """Keeps a line about a harmless oddity, once."""
        if line not in self.notes:
            self.notes.append(line)

    def extend(self, other: "Findings") -> None:
        """Takes in what another check found."""
        for key, found in other._found.items():
            mine = self._found.setdefault(key, Finding(found.kind, found.severity, found.file))
            mine.count += found.count
            mine.where = (mine.where + found.where)[:EXAMPLES]
            mine.examples = (mine.examples + found.examples)[:EXAMPLES]
            if found.severity == "error":
                mine.severity = "error"
        for line in other.notes:
            self.note(line)
        self.splits |= other.splits

    def to_keep(self) -> dict[str, Any]:
        """Everything as JSON can hold it, for `take_kept`."""
        found = [{**vars(finding), "kind": finding.kind.code} for finding in self._found.values()]
        return {"found": found, "notes": self.notes, "splits": self.splits}

    def take_kept(self, kept: Mapping[str, Any]) -> None:
        """Takes in what an earlier run found."""
        other = Findings()
        for content in kept["found"]:
            finding = Finding(**{**content, "kind": KINDS[content["kind"]]})
            other._found[finding.kind.code, finding.file] = finding
        other.notes, other.splits = kept["notes"], kept["splits"]
        self.extend(other)

    def rename(self, old: str, new: str) -> None:
        """Calls files by another folder's name."""
        for found in self._found.values():
            found.file = found.file.replace(old, new)
            found.where = [text.replace(old, new) for text in found.where]
            found.examples = [text.replace(old, new) for text in found.examples]
        self.notes = [line.replace(old, new) for line in self.notes]

    def all(self) -> list[Finding]:
        """Errors first, then warnings, each in the order in which they were found."""
        return sorted(self._found.values(), key=lambda found: found.severity != "error")

    def errors(self) -> list[Finding]:
        """Those that forbid a run."""
        return [found for found in self._found.values() if found.severity == "error"]

    def raise_errors(self) -> None:
        """Raises a UserError with every error, if there is one."""
        errors = self.errors()
        if errors:
            lines = [line for found in errors for line in found.lines()]
            raise UserError("\n".join([f"{counted(len(errors), 'fault')} in the data:", *lines]))

    def to_dict(self) -> dict[str, Any]:
        """As ``data check --json`` writes it."""
        return {
            "findings": [found.to_dict() for found in self.all()],
            "notes": self.notes,
            "splits": self.splits,
        }
