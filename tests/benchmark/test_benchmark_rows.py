"""The CSV file: what is the same row, what is kept, what is refused."""

import re
from pathlib import Path

import pytest

from casvit_dense.benchmark.rows import FIGURES, WHOLE, Ledger, read_rows
from casvit_dense.errors import UserError

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
        (b"model,batch,median_ms\na,1,\nb,1,2\nc,1,abc\n", "row 4, median_ms: 'abc' is no number"),
        (b"model,batch,ratio\na,1,nan\n", "other.csv: row 2, ratio: 'nan' is no number"),
        (b"model,batch,seconds\na,1,inf\n", "row 2, seconds: 'inf' is no number"),
        (b"model,batch\na,1.5\n", "row 2, batch: '1.5' is no whole number"),
    ],
)
def test_other_files_are_refused_and_stay(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        Ledger(path, KEYS)
    assert path.read_bytes() == content


def test_every_column_of_figures_is_known() -> None:
    """Those of the committed files, by their content."""
    for path in sorted((Path(__file__).parents[2] / "docs/speed").glob("*.csv")):
        rows = read_rows(path)
        for column in rows[0]:
            texts = [row[column] for row in rows if row[column]]
            numbers = all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", text) for text in texts)
            if texts and not column.startswith(("mAP", "AR", "commit")):  # no page's figures
                assert numbers == (column in WHOLE | FIGURES), column


def test_a_failed_row_may_differ_by_nan(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    ledger = Ledger(path, KEYS)
    ledger.put([{"model": "a", "batch": 1, "difference": float("nan"), "error": "outputs differ"}])
    assert [row["difference"] for row in read_rows(path)] == ["nan"]


def test_a_place_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.csv cannot be written: .*file: Not a directory"):
        Ledger(tmp_path / "file" / "x.csv", KEYS)
    with pytest.raises(UserError, match="is a folder; give a file"):
        Ledger(tmp_path, KEYS)
    Ledger(tmp_path / "new" / "newer" / "x.csv", KEYS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
