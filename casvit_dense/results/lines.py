"""Result rows as lines of JSON: what was evaluated or timed, brought up to the present version."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from casvit_dense.results.measurements import BenchmarkRow
from casvit_dense.results.row import SCHEMA_VERSION, Evaluation

Row = Evaluation | BenchmarkRow
_ROW: TypeAdapter[Row] = TypeAdapter(Annotated[Row, Field(discriminator="kind")])


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Speeds kept most of their fields as text in ``more``, named as in the CSV files of 0.1."""
    if content["kind"] != "speed":
        return content
    fields = {name: text for name, text in content.items() if name != "more"}
    for name, text in content.get("more", {}).items():
        if name in ("rounds", "images_per_s"):  # follow from rounds_ms and median_ms
            continue
        if name == "rounds_ms":
            fields[name] = text.split()
        elif text != "nan":  # what the outputs of a failed network differ by
            fields["device_type" if name == "device" else name] = text
    return fields


#: From a version's dict to the next version's.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}


def parse_row(line: str) -> Row:
    """A row from its line, brought up to the present version.

    Raises:
        ValueError: the line is no such row, or of a version that this code does not know.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    version = content.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}; this code knows 1 to {SCHEMA_VERSION}")
    for old in range(version, SCHEMA_VERSION):
        try:
            content = {**UPGRADES[old](content), "schema_version": old + 1}
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no row of version {old}: {error!r}") from error
    row = _ROW.validate_python(content)
    row_id(row)  # what cannot be written again, half a surrogate pair for one, is no row
    return row


def line_of(row: Row) -> str:
    """The row as one line of JSON, without the line's end."""
    return row.model_dump_json()


def row_id(row: Row) -> str:
    """Twelve hex digits that tell the row from all others.

    Fields at their defaults do not count: one that is added later leaves the ids of old rows alone.
    """
    content = f"{row.kind} {row.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(content.encode()).hexdigest()[:12]
