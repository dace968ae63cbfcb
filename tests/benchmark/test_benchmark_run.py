"""A whole run on a very small network: rows, checks, failures, known rows."""

import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from casvit_dense.benchmark import backends, machine, memory, run
from casvit_dense.benchmark.cases import BenchmarkCase, product
from casvit_dense.benchmark.group import Group, Settings
from casvit_dense.benchmark.machine import Rates
from casvit_dense.benchmark.run import Benchmark
from casvit_dense.casvit import ARCHS
from casvit_dense.errors import UserError
from casvit_dense.export import writers
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.measurements import Speed

QUICK = Settings(rounds=3, threads=1, memory=False, turn_seconds=0.001)
TINY = dict(model=["casvit-tiny"], size=[(64, 64)])
PAIR: dict[str, Any] = dict(model="casvit-tiny", size=(64, 64))


costs_once = cache(run.costs_of)  # counting takes longer than timing something so small


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHS, "tiny", {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)})
    monkeypatch.setattr(run, "measure_rates", lambda *kind: Rates(100e9, 10e9, "torch"))
    monkeypatch.setattr(run, "costs_of", costs_once)
    # Rows of changed code are measured again, and this code may be just that.
    monkeypatch.setattr(machine, "code_commit", lambda: "1234567")


def wrap_prepare(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[BenchmarkCase, Any], Any]
) -> None:
    """Lets a test change what a case is prepared to."""
    original = backends.prepare

    def prepare(case: BenchmarkCase, threads: int, folder: Path) -> backends.Prepared:
        return change(case, original(case, threads, folder))

    monkeypatch.setattr(backends, "prepare", prepare)


def quiet(line: str) -> None:
    """Takes no notice of what a run reports."""


def measured(
    cases: list[BenchmarkCase], settings: Settings = QUICK, ledger: Path | None = None
) -> tuple[list[Speed], list[Group]]:
    """The rows of a run and the groups that it timed."""
    benchmark = Benchmark(ledger, settings, quiet)
    groups = benchmark.run(cases)
    return list(benchmark.rows.values()), groups


def rows_of(path: Path) -> list[Speed]:
    rows, rejected = read_ledger(path)
    assert rejected == []
    return rows


def test_a_row_holds_condition_and_figures(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    messages: list[str] = []
    cases = product(**TINY, batch=[2], memory_format=["default", "channels_last"])
    Benchmark(path, QUICK, messages.append, "casvit-dense benchmark x").run(cases)
    rows = rows_of(path)
    assert [row.memory_format for row in rows] == ["default", "channels_last"]
    for row in rows:
        assert row.error is None and row.memory_error is None
        assert (row.model, row.size, row.batch, row.device_type) == (
            "casvit-tiny",
            "64x64",
            2,
            "cpu",
        )
        assert (row.threads, row.software.versions["torch"]) == (1, torch.__version__)
        assert (row.software.commit, row.software.dirty) == ("1234567", False)
        assert (row.base, row.command) == ("reference eager fp32", "casvit-dense benchmark x")
        assert row.median_ms == sorted(row.rounds_ms)[1] and len(row.rounds_ms) == 3
        assert row.images_per_s == pytest.approx(2000 / row.median_ms)
        # One tiny backbone makes 957,760 MACs an image (counted by hand in test_counts).
        assert row.gmacs == pytest.approx(957_760 / 1e9, rel=1e-4)
        share = 2 * 2 * 957_760 / (row.median_ms / 1e3) / 100e9
        assert row.matmul_share == pytest.approx(share, rel=1e-3)
        assert row.difference <= 1e-4
    assert rows[0].ratio == 1
    assert rows[0].run == rows[1].run
    assert any("2 cases, about" in line for line in messages)


def test_known_rows_are_skipped_and_named(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    (first,), _ = measured(product(**TINY), ledger=path)
    before = path.read_bytes()
    messages: list[str] = []
    assert Benchmark(path, QUICK, messages.append).run(product(**TINY)) == []
    assert path.read_bytes() == before
    (line,) = messages
    start = "already there: casvit-tiny backbone, infer, 1x3x64x64, reference eager fp32: "
    assert line.startswith(f"{start}{first.median_ms:.2f} ms (")
    measured(product(**TINY), replace(QUICK, again=True), path)
    assert len(rows_of(path)) == 1 and path.read_bytes() != before


def test_a_new_row_is_measured_against_the_known_reference(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    (first,), _ = measured(product(**TINY), ledger=path)
    _, (group,) = measured(product(**TINY, memory_format=["default", "channels_last"]), ledger=path)
    assert len(group.samples) == 2  # the reference ran beside the new one, whose ratio needs it
    rows = rows_of(path)
    assert rows[0] == first and rows[1].ratio is not None


def test_a_changed_tree_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "code_commit", lambda: "1234567-dirty")
    path = tmp_path / "speed.jsonl"
    for _ in range(2):
        assert measured(product(**TINY), ledger=path)[1]
    assert [row.software.dirty for row in rows_of(path)] == [True]


def test_ratios_are_to_the_reference_whatever_is_asked() -> None:
    (row,), (group,) = measured(product(**TINY, form=["fused"]))
    assert (row.form, row.base) == ("fused", "reference eager fp32")
    assert [case.form for case in group.cases] == ["reference", "fused"]


def test_a_pair_is_timed_alone() -> None:
    pair = [
        BenchmarkCase(**PAIR, form="fused"),
        BenchmarkCase(**PAIR, memory_format="channels_last"),
    ]
    (group,) = Benchmark(None, QUICK, quiet).run(pair, alone=True)
    assert list(group.samples) == pair
    assert {figures["base"] for figures in group.figures.values()} == {pair[0].label}


def test_a_new_form_is_timed_beside_the_reference_on_its_backend() -> None:
    # Another layout stands for another backend: both have a reference of their own.
    benchmark = Benchmark(None, QUICK, quiet)
    layouts = ["default", "channels_last"]
    benchmark.run(product(**TINY, memory_format=layouts))
    known = list(benchmark.rows.values())
    forms = product(**TINY, form=["reference", "fused"], memory_format=layouts[1:])
    (group,) = benchmark.run(forms)
    assert [case.label for case in group.samples] == [
        "reference eager fp32",
        "reference eager fp32 channels_last",
        "fused eager fp32 channels_last",
    ]
    rows = list(benchmark.rows.values())
    assert rows[:2] == known  # they were timed again, but their rows stay
    reference, fused = (group.samples[case] for case in forms)
    by_hand = median(a / b for a, b in zip(reference, fused, strict=True))
    assert rows[2].form_ratio == pytest.approx(by_hand, rel=1e-4)


def test_a_failed_case_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref] = []

    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "default":
            prepared.itself = prepared  # only the garbage collector finds a circle
            seen.append(weakref.ref(prepared))
            raise MemoryError("no room")
        seen.append(seen[0]())
        return prepared

    wrap_prepare(monkeypatch, fail)
    measured(product(**TINY, memory_format=["default", "channels_last"]))
    assert len(seen) == 2 and seen[1] is None


def test_a_failed_count_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def costs_of(case: BenchmarkCase) -> None:
        raise NotImplementedError("no shapes")

    monkeypatch.setattr(run, "costs_of", costs_of)
    benchmark = Benchmark(None, QUICK, quiet)
    benchmark.run(product(**TINY, mode=["count"]))
    assert benchmark.failures == 1
    (row,) = benchmark.rows.values()
    assert row.error == "not counted: NotImplementedError: no shapes"


def test_every_kind_of_output_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(case: BenchmarkCase, prepared: Any) -> Any:
        maps = prepared.outputs()["maps"]
        factor = 1.1 if case.memory_format == "channels_last" else 1.0
        prepared.outputs = lambda: {"maps": maps, "results": [maps[0] * factor]}
        return prepared

    wrap_prepare(monkeypatch, spoil)
    benchmark = Benchmark(None, QUICK, quiet)
    benchmark.run(product(**TINY, memory_format=["default", "channels_last"]))
    good, wrong = benchmark.rows.values()
    assert good.error is None and benchmark.failures == 1
    assert wrong.error.startswith("ValueError: results differ from the reference's by 0.1")
    assert wrong.difference <= 1e-4  # that of the maps


@pytest.mark.parametrize(("factor", "shown"), [(1.001, "0.001"), (float("nan"), "nan")])
def test_wrong_outputs_are_a_failed_row(
    factor: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "channels_last":
            right = prepared.outputs()["maps"]
            prepared.outputs = lambda: {"maps": [right[0] * factor, *right[1:]]}
        return prepared

    wrap_prepare(monkeypatch, spoil)
    (good, wrong), _ = measured(product(**TINY, memory_format=["default", "channels_last"]))
    assert good.error is None and good.median_ms is not None
    assert wrong.error.startswith(f"ValueError: maps differ from the reference's by {shown}")
    expected = None if shown == "nan" else pytest.approx(1e-3, rel=0.01)
    assert wrong.difference == expected
    assert wrong.median_ms is None and wrong.ratio is None


def test_a_failure_is_a_row_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.batch == 2:
            raise torch.cuda.OutOfMemoryError("no room\nfor 3 GB")
        return prepared

    wrap_prepare(monkeypatch, fail)
    messages: list[str] = []
    benchmark = Benchmark(None, QUICK, messages.append)
    benchmark.run(product(**TINY, batch=[2, 1]))
    failed, good = benchmark.rows.values()
    assert failed.error == "OutOfMemoryError: no room" and failed.median_ms is None
    assert good.error is None and good.median_ms is not None
    assert any("failed: OutOfMemoryError: no room" in line for line in messages)


def test_a_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.jsonl"
    with monkeypatch.context() as patch:
        wrap_prepare(patch, lambda case, prepared: 1 / 0)
        measured(product(**TINY), ledger=path)
    assert rows_of(path)[0].error == "ZeroDivisionError: division by zero"
    measured(product(**TINY), ledger=path)
    assert [row.error for row in rows_of(path)] == [None]


def test_a_call_that_fails_while_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "channels_last":
            prepared.call = lambda: 1 / 0
        return prepared

    wrap_prepare(monkeypatch, fail)
    cases = product(**TINY, memory_format=["default", "channels_last"])
    rows, (group,) = measured(cases)
    assert [row.error for row in rows] == [None, "ZeroDivisionError: division by zero"]
    assert "no comparison" in group.verdict(*cases)


def test_an_interrupt_keeps_finished_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(case: BenchmarkCase, prepared: Any) -> Any:
        if case.batch == 2:
            raise KeyboardInterrupt
        return prepared

    wrap_prepare(monkeypatch, interrupt)
    path = tmp_path / "speed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        measured(product(**TINY, batch=[1, 2]), ledger=path)
    assert [row.batch for row in rows_of(path)] == [1]


def test_memory_is_a_figure_and_its_failure_loses_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(case: BenchmarkCase, threads: int, folder: Path) -> int:
        if case.batch == 2:
            raise RuntimeError("its own process was ended by signal 9")
        return 5_000_000

    monkeypatch.setattr(memory, "peak_bytes", peak)
    messages: list[str] = []
    benchmark = Benchmark(None, replace(QUICK, memory=True), messages.append)
    benchmark.run(product(**TINY, batch=[1, 2]))
    good, failed = benchmark.rows.values()
    assert (good.peak_mb, good.memory_error) == (5, None)
    assert (failed.peak_mb, failed.error) == (None, None) and failed.median_ms is not None
    assert failed.memory_error == "RuntimeError: its own process was ended by signal 9"
    assert benchmark.failures == 1  # something is missing, and the exit code says so
    assert any("its memory was not measured: RuntimeError" in line for line in messages)


def test_memory_is_measured_before_anything_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU both share one memory."""
    order: list[str] = []
    monkeypatch.setattr(memory, "peak_bytes", lambda *about: order.append("memory") or 1)
    wrap_prepare(monkeypatch, lambda case, prepared: order.append("prepared") or prepared)
    measured(product(**TINY, form=["reference", "fused"]), replace(QUICK, memory=True))
    assert order == ["memory", "memory", "prepared", "prepared"]


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_every_form_equals_the_reference(mode: str) -> None:
    cases = product(**TINY, mode=[mode], form=["reference", "fused"], batch=[2])
    rows, _ = measured(cases)
    assert [row.error for row in rows] == [None] * len(cases)
    saved = [row.saved_mb for row in rows]
    assert all(saved) if mode == "train" else not any(saved)


def test_counting_needs_no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    wrap_prepare(monkeypatch, lambda case, prepared: pytest.fail("was prepared"))
    (row,), groups = measured(product(**TINY, mode=["count"]))
    assert groups == []
    assert row.params_m == pytest.approx(22_792 / 1e6)
    assert row.median_ms is None


def test_verdict_by_hand() -> None:
    a, b = BenchmarkCase(), BenchmarkCase(form="fused")
    group = Group([a, b], QUICK)
    group.samples = {a: [2.0, 4.0, 6.0], b: [1.0, 2.0, 3.0]}
    text = group.verdict(a, b)
    assert "B (fused eager fp32) is 2.000 times as fast as A (reference eager fp32)\n" in text
    assert "interval of the median: 2.000 to 2.000" in text
    group.samples[b] = [1.9, 4.1, 6.0]
    assert "no difference is shown" in group.verdict(a, b)


def test_onnxruntime_equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one block, for tracing takes most of the time."""
    monkeypatch.setitem(ARCHS, "block", {"depths": (1, 0, 0, 0), "dims": (8, 8, 8, 8)})
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    block = TINY | {"model": ["casvit-block"]}
    (row,), _ = measured(product(**block, backend=["onnxruntime"]))
    assert row.error is None and row.software.versions["onnxruntime"].startswith("1.")
    assert row.difference < 1e-4


def test_a_missing_package_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "to_onnx", lambda module, path, *about, **options: path.touch())
    monkeypatch.setitem(sys.modules, "openvino", None)
    (row,), _ = measured(product(**TINY, backend=["openvino"]))
    assert 'pip install "casvit-dense[openvino]"' in row.error


def test_settings_come_back() -> None:
    """In fp32 nothing rounds, cuDNN tries its algorithms; afterwards all is as it was."""
    backends_ = torch.backends
    before = torch.get_num_threads(), backends_.cudnn.benchmark, backends_.cudnn.allow_tf32
    with machine.fixed_settings(before[0] + 1):
        assert torch.get_num_threads() == before[0] + 1
        assert backends_.cudnn.benchmark
        assert not backends_.cudnn.allow_tf32 and not backends_.cuda.matmul.allow_tf32
    after = torch.get_num_threads(), backends_.cudnn.benchmark, backends_.cudnn.allow_tf32
    assert after == before


def test_lines_that_are_no_rows_are_named_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    path.write_text("no row\n")
    messages: list[str] = []
    Benchmark(path, QUICK, messages.append).run(product(**TINY, mode=["count"]))
    assert messages[0].startswith(f"warning: {path}, line 1 is skipped")
    rows, rejected = read_ledger(path)
    assert len(rows) == len(rejected) == 1


def test_a_place_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.jsonl cannot be written: .*file: Not a directory"):
        Benchmark(tmp_path / "file" / "x.jsonl", QUICK)
    with pytest.raises(UserError, match="is a folder; give a file"):
        Benchmark(tmp_path, QUICK)
    Benchmark(tmp_path / "new" / "newer" / "x.jsonl", QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
