"""A whole run on a very small network: rows, checks, failures, known rows."""

import weakref
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from casvit_dense.benchmark import backends, machine, memory, run
from casvit_dense.benchmark.cases import BenchmarkCase, product
from casvit_dense.benchmark.group import Group, Settings, verdict
from casvit_dense.benchmark.machine import COLUMNS, KEYS, Rates
from casvit_dense.benchmark.rows import Ledger, read_rows
from casvit_dense.benchmark.run import Benchmark
from casvit_dense.casvit import ARCHS

QUICK = Settings(rounds=3, threads=1, memory=False, turn_seconds=0.001)
TINY = dict(model=["casvit-tiny"], size=[(64, 64)])
PAIR: dict[str, Any] = dict(model="casvit-tiny", size=(64, 64))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHS, "tiny", {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)})
    monkeypatch.setattr(run, "measure_rates", lambda *kind: Rates(100e9, 10e9, "torch"))
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


def test_a_row_holds_condition_and_figures(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    said: list[str] = []
    cases = product(**TINY, batch=[2], memory_format=["default", "channels_last"])
    Benchmark(Ledger(path, KEYS), QUICK, said.append).run(cases)
    rows = read_rows(path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["memory_format"] for row in rows] == ["default", "channels_last"]
    for row in rows:
        assert row["error"] == ""
        assert (row["model"], row["size"], row["batch"]) == ("casvit-tiny", "64x64", "2")
        assert (row["threads"], row["torch"]) == ("1", torch.__version__)
        assert row["base"] == "reference eager fp32"
        samples = sorted(map(float, row["rounds_ms"].split()))
        assert len(samples) == int(row["rounds"]) == 3
        median = float(row["median_ms"])
        assert median == pytest.approx(samples[1], rel=1e-4)
        assert float(row["images_per_s"]) == pytest.approx(2000 / median, rel=1e-3)
        # One tiny backbone makes 957,760 MACs an image (counted by hand in test_measure_counts).
        assert float(row["gmacs"]) == pytest.approx(957_760 / 1e9, rel=1e-4)
        share = 2 * 2 * 957_760 / (median / 1e3) / 100e9
        assert float(row["matmul_share"]) == pytest.approx(share, rel=1e-3)
        assert float(row["difference"]) <= 1e-4
    assert float(rows[0]["ratio"]) == 1
    assert rows[0]["run"] == rows[1]["run"]
    assert any("2 cases, about" in line for line in said)


def test_known_rows_are_skipped_and_said(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    Benchmark(Ledger(path, KEYS), QUICK, lambda line: None).run(product(**TINY))
    before = path.read_bytes()
    said: list[str] = []
    timed = Benchmark(Ledger(path, KEYS), QUICK, said.append).run(product(**TINY))
    assert timed == [] and path.read_bytes() == before
    assert said == ["already there: casvit-tiny backbone, infer, 1x3x64x64, reference eager fp32"]
    again = Settings(**{**vars(QUICK), "again": True})
    Benchmark(Ledger(path, KEYS), again, lambda line: None).run(product(**TINY))
    assert len(read_rows(path)) == 1 and path.read_bytes() != before


def test_a_new_row_is_measured_against_the_known_reference(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    Benchmark(Ledger(path, KEYS), QUICK, lambda line: None).run(product(**TINY))
    first = read_rows(path)[0]
    more = product(**TINY, memory_format=["default", "channels_last"])
    (group,) = Benchmark(Ledger(path, KEYS), QUICK, lambda line: None).run(more)
    assert len(group.samples) == 2  # the reference ran beside the new one, whose ratio needs it
    rows = read_rows(path)
    assert rows[0] == first and rows[1]["ratio"] != ""


def test_a_changed_tree_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "code_commit", lambda: "1234567-dirty")
    path = tmp_path / "speed.csv"
    for _ in range(2):
        assert Benchmark(Ledger(path, KEYS), QUICK, lambda line: None).run(product(**TINY))
    assert len(read_rows(path)) == 1


def test_ratios_are_to_the_reference_whatever_is_asked() -> None:
    ledger = Ledger(None, KEYS)
    (group,) = Benchmark(ledger, QUICK, lambda line: None).run(product(**TINY, form=["fused"]))
    (row,) = ledger.rows
    assert (row["form"], row["base"]) == ("fused", "reference eager fp32")
    assert [case.form for case in group.cases] == ["reference", "fused"]


def test_a_pair_is_timed_alone() -> None:
    pair = [
        BenchmarkCase(**PAIR, form="fused"),
        BenchmarkCase(**PAIR, memory_format="channels_last"),
    ]
    (group,) = Benchmark(Ledger(None, KEYS), QUICK, lambda line: None).run(pair, alone=True)
    assert list(group.samples) == pair
    assert {row["base"] for row in group.rows.values()} == {pair[0].label}


def test_a_new_form_is_timed_beside_the_reference_on_its_backend() -> None:
    # Another layout stands for another backend: both have a reference of their own.
    ledger = Ledger(None, KEYS)
    layouts = ["default", "channels_last"]
    Benchmark(ledger, QUICK, lambda line: None).run(product(**TINY, memory_format=layouts))
    known = list(ledger.rows)
    forms = product(**TINY, form=["reference", "fused"], memory_format=layouts[1:])
    (group,) = Benchmark(ledger, QUICK, lambda line: None).run(forms)
    assert [s.label for s in group.samples] == [
        "reference eager fp32",
        "reference eager fp32 channels_last",
        "fused eager fp32 channels_last",
    ]
    assert ledger.rows[:2] == known  # they were timed again, but their rows stay
    reference, fused = (group.samples[s] for s in forms)
    by_hand = median(a / b for a, b in zip(reference, fused, strict=True))
    assert float(ledger.rows[2]["form_ratio"]) == pytest.approx(by_hand, rel=1e-4)


def test_a_failed_subject_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref] = []

    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "default":
            prepared.itself = prepared  # only the garbage collector finds a circle
            seen.append(weakref.ref(prepared))
            raise MemoryError("no room")
        seen.append(seen[0]())
        return prepared

    wrap_prepare(monkeypatch, fail)
    layouts = ["default", "channels_last"]
    Benchmark(Ledger(None, KEYS), QUICK, lambda line: None).run(
        product(**TINY, memory_format=layouts)
    )
    assert len(seen) == 2 and seen[1] is None


def test_a_failed_count_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def costs_of(case: BenchmarkCase) -> None:
        raise NotImplementedError("no shapes")

    monkeypatch.setattr(run, "costs_of", costs_of)
    benchmark = Benchmark(Ledger(None, KEYS), QUICK, lambda line: None)
    benchmark.run(product(**TINY, mode=["count"]))
    assert benchmark.failures == 1
    assert benchmark.ledger.rows[0]["error"] == "not counted: NotImplementedError: no shapes"


def test_every_kind_of_output_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(case: BenchmarkCase, prepared: Any) -> Any:
        maps = prepared.outputs()["maps"]
        factor = 1.1 if case.memory_format == "channels_last" else 1.0
        prepared.outputs = lambda: {"maps": maps, "results": [maps[0] * factor]}
        return prepared

    wrap_prepare(monkeypatch, spoil)
    benchmark = Benchmark(Ledger(None, KEYS), QUICK, lambda line: None)
    benchmark.run(product(**TINY, memory_format=["default", "channels_last"]))
    good, wrong = benchmark.ledger.rows
    assert good["error"] == "" and benchmark.failures == 1
    assert wrong["error"].startswith("ValueError: results differ from the reference's by 0.1")
    assert float(wrong["difference"]) <= 1e-4  # that of the maps


def test_wrong_outputs_are_a_failed_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "channels_last":
            right = prepared.outputs()["maps"]
            prepared.outputs = lambda: {"maps": [right[0] * 1.001, *right[1:]]}
        return prepared

    wrap_prepare(monkeypatch, spoil)
    ledger = Ledger(None, KEYS)
    cases = product(**TINY, memory_format=["default", "channels_last"])
    Benchmark(ledger, QUICK, lambda line: None).run(cases)
    good, wrong = ledger.rows
    assert good["error"] == "" and good["median_ms"] != ""
    assert wrong["error"].startswith("ValueError: maps differ from the reference's by 0.001")
    assert float(wrong["difference"]) == pytest.approx(1e-3, rel=0.01)
    assert wrong["median_ms"] == wrong["ratio"] == ""


def test_a_failure_is_a_row_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.batch == 2:
            raise torch.cuda.OutOfMemoryError("no room\nfor 3 GB")
        return prepared

    wrap_prepare(monkeypatch, fail)
    ledger, said = Ledger(None, KEYS), []
    Benchmark(ledger, QUICK, said.append).run(product(**TINY, batch=[2, 1]))
    failed, good = ledger.rows
    assert failed["error"] == "OutOfMemoryError: no room" and failed["median_ms"] == ""
    assert good["error"] == "" and good["median_ms"] != ""
    assert any("failed: OutOfMemoryError: no room" in line for line in said)


def test_a_call_that_fails_while_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: BenchmarkCase, prepared: Any) -> Any:
        if case.memory_format == "channels_last":
            prepared.call = lambda: 1 / 0
        return prepared

    wrap_prepare(monkeypatch, fail)
    ledger = Ledger(None, KEYS)
    cases = product(**TINY, memory_format=["default", "channels_last"])
    (group,) = Benchmark(ledger, QUICK, lambda line: None).run(cases)
    assert [row["error"] for row in ledger.rows] == ["", "ZeroDivisionError: division by zero"]
    assert "no comparison" in verdict(group, *cases)


def test_an_interrupt_keeps_finished_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(case: BenchmarkCase, prepared: Any) -> Any:
        if case.batch == 2:
            raise KeyboardInterrupt
        return prepared

    wrap_prepare(monkeypatch, interrupt)
    path = tmp_path / "speed.csv"
    with pytest.raises(KeyboardInterrupt):
        Benchmark(Ledger(path, KEYS), QUICK, lambda line: None).run(product(**TINY, batch=[1, 2]))
    assert [row["batch"] for row in read_rows(path)] == ["1"]


def test_memory_is_a_column_and_its_failure_a_failed_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(case: BenchmarkCase, threads: int, folder: Path) -> int:
        if case.batch == 2:
            raise RuntimeError("its own process was ended by signal 9")
        return 5_000_000

    monkeypatch.setattr(memory, "peak_bytes", peak)
    ledger = Ledger(None, KEYS)
    settings = Settings(**{**vars(QUICK), "memory": True})
    Benchmark(ledger, settings, lambda line: None).run(product(**TINY, batch=[1, 2]))
    good, failed = ledger.rows
    assert good["peak_mb"] == "5"
    assert failed["error"] == "RuntimeError: its own process was ended by signal 9"


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_every_form_equals_the_reference(mode: str) -> None:
    ledger = Ledger(None, KEYS)
    cases = product(**TINY, mode=[mode], form=["reference", "fused"], batch=[2])
    Benchmark(ledger, QUICK, lambda line: None).run(cases)
    assert [row["error"] for row in ledger.rows] == [""] * len(cases)
    saved = [row["saved_mb"] for row in ledger.rows]
    assert all(saved) if mode == "train" else not any(saved)


def test_counting_needs_no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    wrap_prepare(monkeypatch, lambda case, prepared: pytest.fail("was prepared"))
    ledger = Ledger(None, KEYS)
    assert Benchmark(ledger, QUICK, lambda line: None).run(product(**TINY, mode=["count"])) == []
    assert float(ledger.rows[0]["params_m"]) == pytest.approx(22_792 / 1e6)
    assert ledger.rows[0]["median_ms"] == ""


def test_verdict_by_hand() -> None:
    a, b = BenchmarkCase(), BenchmarkCase(form="fused")
    group = Group([a, b], QUICK)
    group.samples = {a: [2.0, 4.0, 6.0], b: [1.0, 2.0, 3.0]}
    text = verdict(group, a, b)
    assert "B (fused eager fp32) is 2.000 times as fast as A (reference eager fp32)\n" in text
    assert "interval of the median: 2.000 to 2.000" in text
    group.samples[b] = [1.9, 4.1, 6.0]
    assert "no difference is shown" in verdict(group, a, b)


def test_onnxruntime_equals_the_reference() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ledger = Ledger(None, KEYS)
    Benchmark(ledger, QUICK, lambda line: None).run(product(**TINY, backend=["onnxruntime"]))
    (row,) = ledger.rows
    assert row["error"] == "" and row["runtime"].startswith("onnxruntime 1.")
    assert float(row["difference"]) < 1e-4


def test_a_missing_package_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, "openvino", None)
    ledger = Ledger(None, KEYS)
    Benchmark(ledger, QUICK, lambda line: None).run(product(**TINY, backend=["openvino"]))
    assert 'pip install "casvit-dense[openvino]"' in ledger.rows[0]["error"]
