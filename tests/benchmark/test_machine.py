"""The machine's best rates and the load of others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from casvit_dense.benchmark import machine
from casvit_dense.benchmark.machine import OtherLoad, Rates, measure_rates


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MATMUL_SIDES", (128, 256))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 20)


def test_rates_are_the_best_of_all_libraries() -> None:
    rates = measure_rates("cpu")
    a = torch.ones(256, 256)
    start = time.perf_counter()
    torch.mm(a, a)
    once = 2 * 256**3 / (time.perf_counter() - start)
    assert rates.matmul > once / 5  # the best of many trials is no slower than one beside noise
    assert rates.copy > 0 and rates.library in ("torch", "oneDNN", "numpy")


def test_a_product_counts_two_operations_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def clock(call: object, times: int) -> float:
        return 0.5 * times

    monkeypatch.setattr(machine, "cpu_stopwatch", clock)
    monkeypatch.setattr(machine, "_blas_rate", lambda threads: 1e9)
    rates = measure_rates("cpu")
    assert rates == Rates(1e9, 2 * (1 << 20) / 0.5, "numpy")
    monkeypatch.setattr(machine, "_blas_rate", lambda threads: 0.0)
    assert measure_rates("cpu").matmul == 2 * 256**3 / 0.5


def test_the_best_of_two_measurements() -> None:
    assert Rates(3, 1, "a").best(Rates(2, 5, "b")) == Rates(3, 5, "a")


def test_numpys_rate_is_printed_by_its_own_program() -> None:
    done = subprocess.run(
        [sys.executable, str(machine.BLAS_SCRIPT), "[64]", "2"], capture_output=True, text=True
    )
    assert float(done.stdout) > 0, done.stderr


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
