"""What a cleaned copy of a data set has otherwise than its source."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from casvit_dense.data.findings import Findings
from casvit_dense.files import short_path
from casvit_dense.progress import counted


@dataclass(frozen=True)
class Change:
    """One change of one record.

    Attributes:
        what: what was done, e.g. ``'box cut at the edge of its image'``.
        file: of the source.
        where: the record as the source calls it, e.g. ``'annotation 7 (000139.jpg)'``.
        held: what the source has there.
    """

    what: str
    file: str
    where: str
    held: str = ""


@dataclass
class Changes:
    """All changes, and what stayed.

    Attributes:
        made: in the order in which they were made.
        left: what a check of the copy still finds.
    """

    made: list[Change] = field(default_factory=list)
    left: Findings = field(default_factory=Findings)

    def add(self, what: str, file: Path, where: str, held: object = "") -> None:
        """Notes a change."""
        text = str(held)
        self.made.append(
            Change(what, str(short_path(file)), where, text if len(text) < 200 else text[:200])
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``changes.json``."""
        return {"changes": [asdict(change) for change in self.made], "left": self.left.to_dict()}

    def lines(self) -> list[str]:
        """How often each change was made, then what stayed."""
        counts = Counter((change.what, change.file) for change in self.made)
        lines = [f"{file}: {what}: {counted(n, 'time')}" for (what, file), n in counts.items()]
        return (lines or ["nothing was to be changed"]) + [
            f"left as it is: {found.lines()[0]}" for found in self.left.all()
        ]
