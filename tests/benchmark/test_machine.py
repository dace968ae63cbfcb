"""The machine's best rates and the load of others."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from casvit_dense.benchmark import machine
from casvit_dense.benchmark.machine import OtherLoad, Rates, measure_rates


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MATMUL_SIDES", (128, 256))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 20)


def test_rates_are_those_of_the_fastest_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against an own product of the same size: of one machine, so of the same magnitude.

    An error in the unit is a factor of 1,000; a busy machine may make one of 10. The count of
    operations is tested below, by hand.
    """
    monkeypatch.setattr(machine, "_blas_rate", lambda threads: 0.0)
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    rates = measure_rates("cpu")
    assert rates.library in ("torch", "oneDNN")
    assert rates.matmul > 0.05 * 2 * 256**3 / min(seconds)


def test_operations_and_bytes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"cpu": 0.5}
    monkeypatch.setattr(machine, "stopwatch", lambda call, times, device: clock[device] * times)
    monkeypatch.setattr(machine, "_blas_rate", lambda threads: 1e9)
    rates = measure_rates("cpu")
    assert rates == Rates(1e9, 2 * (1 << 20) / 0.5, "numpy")
    monkeypatch.setattr(machine, "_blas_rate", lambda threads: 0.0)
    assert measure_rates("cpu").matmul == 2 * 256**3 / 0.5


def test_slow_products_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A precision that is emulated may take minutes for one product of the largest side."""
    now = [0.0]
    sides = []

    def watch(call: Any, times: int, device: str) -> float:
        side = len(call.__closure__[0].cell_contents)
        sides.append(side)
        now[0] += (seconds := 8.0 * (side / 128) ** 3)
        return seconds

    monkeypatch.setattr(machine, "stopwatch", watch)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    rate = machine._product_rate((128, 256), "cpu", torch.float32)
    assert rate == 2 * 128**3 / 8.0
    assert sides == [128] * 3  # one to warm up, two trials; 64 s for the other side are too many


def test_the_best_of_two_measurements() -> None:
    assert Rates(3, 1, "a").best(Rates(2, 5, "b")) == Rates(3, 5, "a")


def test_numpys_rate_comes_from_its_own_process() -> None:
    assert machine._blas_rate(1) > 0


def test_a_failed_program_of_numpy_is_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "BLAS_PROGRAM", "raise SystemExit(1)")
    assert machine._blas_rate(1) == 0.0


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="reads Linux's counters")
def test_own_work_is_no_load_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"stat": "cpu  100 0 0 500 7 0 0 0\n", "own": (0.2, 0.0, 0.0, 0.0, 0.0), "now": 10.0}
    monkeypatch.setattr(Path, "read_text", lambda self: clock["stat"])
    monkeypatch.setattr(os, "times", lambda: clock["own"])
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    load = OtherLoad()
    # Two seconds in which 3 s of work were done on all cores, 2 s of them by us and our children.
    clock |= {"stat": "cpu  300 50 40 600 9 0 5 5\n", "own": (1.2, 0.5, 0.5, 0.0, 0.0), "now": 12.0}
    assert load.cores() == pytest.approx((3.0 - 2.0) / 2.0)
