"""The ledger: many writers, broken lines, other versions."""

import json
import multiprocessing
from pathlib import Path
from typing import Any, Literal

import pytest
from filelock import FileLock
from ledger_rows import SEM_FPN, START, evaluation, speed
from pydantic import TypeAdapter, ValidationError

from casvit_dense.errors import UserError
from casvit_dense.results import ledger
from casvit_dense.results import lines as schema
from casvit_dense.results.ledger import append_rows, read_ledger, read_ledgers, replace_rows
from casvit_dense.results.lines import line_of, parse_row, row_id
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Software, Training

PROCESSES = 16


def append_one_by_one(path: Path, first: int, rows: int) -> None:
    for number in range(first, first + rows):
        append_rows(path, [speed(number)])


@pytest.mark.parametrize("rows", [20, pytest.param(1000, marks=pytest.mark.slow)])  # minutes
def test_many_processes_append_without_loss(rows: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=append_one_by_one, args=(path, i * rows, rows))
        for i in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    found, rejected = read_ledger(path)
    assert rejected == []
    assert sorted(row.median_ms for row in found) == [1.0 + i for i in range(PROCESSES * rows)]
    # Each writer's rows stand in the order in which it wrote them.
    for i in range(PROCESSES):
        own = [r.median_ms for r in found if i * rows <= r.median_ms - 1 < (i + 1) * rows]
        assert own == sorted(own)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        evaluation(),
        speed(),
        evaluation(hour=1, per_class={"bbox": {"cat": 0.1, "dog": None}}),
    ]
    append_rows(tmp_path / "a.jsonl", rows[:1])
    append_rows(tmp_path / "a.jsonl", rows[1:])
    found, rejected = read_ledger(tmp_path / "a.jsonl")
    assert (found, rejected) == (rows, [])
    assert [row_id(row) for row in found] == [row_id(row) for row in rows]
    assert len({row_id(row) for row in rows}) == 3


def good_line(**changes: Any) -> str:
    return json.dumps({**json.loads(line_of(speed(7))), **changes})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no JSON at all", "Expecting value"),
        ("[1, 2]", "not a JSON object"),
        ('{"config": "x", "mAP": 0.4}', "schema_version is None"),
        (good_line(schema_version=3), "schema_version is 3; this code knows 1 to 2"),
        (good_line(schema_version=0), "schema_version is 0"),
        (good_line(schema_version="1"), "schema_version is '1'"),
        (good_line(kind="poem"), "'poem'"),
        (good_line(batch=0), "batch: must be greater than or equal to 1, not 0"),
        (good_line(sauce=1), "sauce: is not a known key"),
        (good_line(median_ms=float("nan")), "median_ms: must be a finite number"),
        (good_line(date="2026-11-01T00:00:00"), "date: Input should have timezone info"),
        ("[" * 100_000, "recursion"),
        (b"\xff\xfe", "codec can't decode"),
    ],
)
def test_strange_lines_are_reported_and_skipped(
    line: str | bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    strange = line if isinstance(line, bytes) else line.encode()
    whole = [line_of(speed(i)).encode() for i in range(2)]
    path.write_bytes(b"\n".join([whole[0], b"", strange, whole[1], b""]))
    rows, (rejected,) = read_ledger(path)
    assert rows == [speed(0), speed(1)]
    assert rejected.number == 3
    assert reason in str(rejected) and str(path) in str(rejected)


@pytest.mark.parametrize("kept", [1, 100, -2])
def test_a_killed_writers_half_line_spoils_no_other(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_rows(path, [speed(0)])
    with path.open("ab") as file:
        file.write(f"{line_of(speed(1))}\n".encode()[:kept])
    rows, (rejected,) = read_ledger(path)
    assert (rows, rejected.number) == ([speed(0)], 2)
    append_rows(path, [speed(2)])
    append_rows(path, [speed(3)])
    rows, (rejected,) = read_ledger(path)
    assert (rows, rejected.number) == ([speed(0), speed(2), speed(3)], 2)


def test_a_row_whose_line_end_alone_was_lost_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line_of(speed(0)))
    append_rows(path, [speed(1)])
    assert read_ledger(path) == ([speed(0), speed(1)], [])


class FutureSpeed(Speed):
    """A made-up fourth version, which counts seconds and names the weather."""

    schema_version: Literal[4] = 4
    weather: str


def test_rows_of_older_versions_are_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_3(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "median_ms": 1000 * content["median_ms"]}

    def to_4(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "weather": "unknown"}

    path = tmp_path / "a.jsonl"
    append_rows(path, [speed(4)])
    third = json.loads(line_of(speed(5))) | {"schema_version": 3}
    fourth = third | {"schema_version": 4, "weather": "rain"}
    broken = {"schema_version": 2, "kind": "speed"}
    fifth = fourth | {"schema_version": 5}
    with path.open("a") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in (third, fourth, broken, fifth))

    monkeypatch.setattr(schema, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(schema, "UPGRADES", {2: to_3, 3: to_4})
    monkeypatch.setattr(schema, "_ROW", TypeAdapter(FutureSpeed))
    rows, rejected = read_ledger(path)
    assert [(r.schema_version, r.median_ms, r.weather) for r in rows] == [
        (4, 5000.0, "unknown"),
        (4, 6.0, "unknown"),
        (4, 6.0, "rain"),
    ]
    assert [(r.number, r.reason) for r in rejected] == [
        (4, "no row of version 2: KeyError('median_ms')"),
        (5, "schema_version is 5; this code knows 1 to 4"),
    ]


def test_speeds_of_version_1_had_their_figures_as_text() -> None:
    first = json.loads(line_of(speed(7)))
    second = ("memory_format", "device_type", "tf32", "rounds_ms", "ratio", "error", "rois")
    first = {k: v for k, v in first.items() if k not in second and v is not None}
    more = {
        "device": "cuda",
        "memory_format": "channels_last",
        "tf32": "True",
        "rounds": "2",
        "rounds_ms": "7.5 8.5",
        "images_per_s": "125",
        "ratio": "1.5",
        "difference": "nan",
        "rois": "1000 boxes",
    }
    row = parse_row(json.dumps({**first, "schema_version": 1, "more": more}))
    assert row == speed(7).model_copy(
        update={
            "device_type": "cuda",
            "memory_format": "channels_last",
            "tf32": True,
            "rounds_ms": (7.5, 8.5),
            "ratio": 1.5,
            "rois": "1000 boxes",
        }
    )


def test_ids_of_evaluations_stay() -> None:
    """Reports and folders of predictions name rows by their ids, those of version 0.1, too."""
    hashes = {"config_sha256": "1" * 64, "pipeline_sha256": "2" * 64, "recipe_sha256": "3" * 64}
    training = Training(recipe_sha256="3" * 64, seed=0)
    row = evaluation(SEM_FPN, training=training, folder="a/test", **hashes)
    assert row_id(row) == "f7c0457f279d"  # as version 0.1 computed it
    first = {**json.loads(line_of(row)), "schema_version": 1}
    assert parse_row(json.dumps(first)) == row


def test_a_measurement_takes_the_place_of_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    append_rows(path, [speed(0).model_copy(update={"batch": batch}) for batch in (1, 2)])
    append_rows(path, [evaluation(), evaluation()])
    with path.open("a") as file:
        file.write("no row\nan unfinished li")
    before = path.read_bytes().splitlines()
    again = speed(9)  # the condition of the first, at another time
    other = speed(9).model_copy(update={"software": Software(versions={"torch": "3.0"})})
    replace_rows(path, [again, other])
    after = path.read_bytes().splitlines()
    assert after == [line_of(again).encode(), *before[1:], line_of(other).encode()]
    replace_rows(tmp_path / "new" / "b.jsonl", [again])
    assert read_ledger(tmp_path / "new" / "b.jsonl") == ([again], [])


def test_what_makes_two_measurements_the_same() -> None:
    row = speed(0)
    same = {"median_ms": 9.0, "error": "no", "command": "x", "date": START, "params_m": 1.0}
    assert all(row.model_copy(update={k: v}).condition == row.condition for k, v in same.items())
    dirty = row.software.model_copy(update={"dirty": True})
    other = {
        "model": "casvit-s",
        "precision": "bf16",
        "size": "64x64",
        "threads": 3,
        "device": "another CPU",
        "device_type": "cuda",
        "memory_format": "channels_last",
        "cudnn_benchmark": True,
        "software": dirty,
    }
    for name, value in other.items():
        assert row.model_copy(update={name: value}).condition != row.condition, name


def test_figures_have_five_digits() -> None:
    assert speed(0).model_validate(
        {**speed(0).model_dump(), "median_ms": 1.23456789, "rounds_ms": [1e-7 / 3]}
    ).model_dump(include={"median_ms", "rounds_ms"}) == {
        "median_ms": 1.2346,
        "rounds_ms": (3.3333e-08,),
    }


def test_rows_are_checked_where_they_are_made() -> None:
    with pytest.raises(ValidationError, match="finite"):
        evaluation(metrics={"mIoU": float("nan")})
    with pytest.raises(ValidationError, match="pattern"):
        evaluation(config_sha256="abc")
    with pytest.raises(ValidationError, match="frozen"):
        speed().batch = 2
    assert parse_row(line_of(speed())).schema_version == schema.SCHEMA_VERSION


def test_several_ledgers_give_each_row_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    append_rows(one, [speed(0), speed(1)])
    append_rows(two, [speed(1), speed(2)])
    two.write_bytes(two.read_bytes() + b"?\n")
    rows, (rejected,) = read_ledgers([one, two])
    assert rows == [speed(0), speed(1), speed(2)]
    assert (rejected.path, rejected.number) == (two, 3)


def test_a_ledger_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ledger can be read at .*none.jsonl: No such file"):
        read_ledger(tmp_path / "none.jsonl")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.jsonl", tmp_path):
        with pytest.raises(UserError, match="cannot be written"):
            append_rows(path, [speed()])


def test_a_field_that_is_added_later_leaves_ids_alone() -> None:
    row = evaluation()
    whole = json.loads(line_of(row))
    short = {key: value for key, value in whole.items() if value not in (None, {})}
    assert len(short) < len(whole)
    assert row_id(parse_row(json.dumps(short))) == row_id(row)


def test_what_cannot_be_written_again_is_no_row() -> None:
    broken = {**json.loads(line_of(evaluation())), "config": "\ud800"}
    with pytest.raises(ValueError):
        parse_row(json.dumps(broken))


def test_a_lock_that_another_process_holds_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.1)
    with (
        FileLock(tmp_path / ".a.jsonl.lock"),
        pytest.raises(UserError, match="another process holds it"),
    ):
        append_rows(tmp_path / "a.jsonl", [evaluation()])
    with pytest.raises(UserError, match="name is empty"):
        append_rows(Path(), [evaluation()])
