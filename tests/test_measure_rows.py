"""The CSV file: what is the same row, what is kept, what is refused."""

from pathlib import Path

import pytest

from casvit_dense.errors import UserError
from casvit_dense.measure.rows import Ledger, read_rows

KEYS = ("model", "batch")


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.csv"
    rows = [
        {"model": "a, b", "batch": 1, "ms": 1.23456789, "note": 'says "no"'},
        {"model": "a, b", "batch": 2, "ms": None, "error": "too large"},
    ]
    Ledger(path, KEYS).put(rows)
    assert read_rows(path) == [
        {"model": "a, b", "batch": "1", "ms": "1.2346", "note": 'says "no"', "error": ""},
        {"model": "a, b", "batch": "2", "ms": "", "note": "", "error": "too large"},
    ]


def test_a_row_is_known_by_its_keys_and_replaced_in_place(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    ledger = Ledger(path, KEYS)
    ledger.put([{"model": "a", "batch": 1, "ms": 5.0}, {"model": "b", "batch": 1, "ms": 6.0}])
    ledger = Ledger(path, KEYS)
    assert ledger.holds({"model": "a", "batch": 1, "date": "today"})
    assert not ledger.holds({"model": "a", "batch": 2})
    ledger.put([{"model": "a", "batch": 1, "ms": 4.0}])
    assert [(row["model"], row["ms"]) for row in read_rows(path)] == [("a", "4"), ("b", "6")]


def test_a_failure_is_worth_another_try() -> None:
    ledger = Ledger(None, KEYS)
    ledger.put([{"model": "a", "batch": 1, "error": "no memory"}])
    assert not ledger.holds({"model": "a", "batch": 1})
    ledger.put([{"model": "a", "batch": 1, "ms": 1.0}])
    assert ledger.holds({"model": "a", "batch": 1}) and len(ledger.rows) == 1


def test_what_ran_in_a_changed_tree_is_never_known() -> None:
    ledger = Ledger(None, (*KEYS, "commit"))
    row = {"model": "a", "batch": 1, "ms": 1.0}
    ledger.put([{**row, "commit": "1234567"}, {**row, "commit": "1234567-dirty"}])
    assert ledger.holds({**row, "commit": "1234567"})
    assert not ledger.holds({**row, "commit": "1234567-dirty"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model,size\nx,1\n", "no column batch"),
        (b"model,batch\nx\n", "row 2"),
        (b"model,batch\nx,1,2\n", "row 2"),
        (b'model,batch\n"x,1', "CSV"),
        (b"\xff\xfe\x00", "CSV"),
    ],
)
def test_other_files_are_refused_and_stay(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        Ledger(path, KEYS)
    assert path.read_bytes() == content
