"""What only a GPU shows: every form and backend of the smallest backbone, its memory, latency."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from casvit_dense.benchmark import machine, memory
from casvit_dense.benchmark.cases import BenchmarkCase, product
from casvit_dense.benchmark.group import Settings
from casvit_dense.benchmark.machine import cuda_versions, fixed_settings, measure_rates
from casvit_dense.benchmark.run import Benchmark
from casvit_dense.benchmark.timing import stopwatch
from casvit_dense.results.measurements import Speed

pytestmark = pytest.mark.cuda

SETTINGS = Settings(rounds=2, threads=1, memory=False, turn_seconds=0.01)
WEIGHTS_MB = 2_759_132 * 4 / 1e6  # of XS in fp32
CUDA: dict[str, Any] = {"size": [(64, 64)], "device": ["cuda"]}


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(machine, "CUDA_MATMUL_SIDES", (1024,))
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 24)
    yield
    torch.compiler.reset()


def rows_of(cases: list[BenchmarkCase]) -> list[Speed]:
    benchmark = Benchmark(None, SETTINGS, lambda line: None)
    benchmark.run(cases)
    return list(benchmark.rows.values())


def check(rows: list[Speed]) -> None:
    assert {row.model: row.error for row in rows} == dict.fromkeys({row.model for row in rows})
    for row in rows:
        assert row.error is None and row.median_ms is not None, row
        assert (row.device_type, row.tf32, row.cudnn_benchmark) == ("cuda", False, True)
        assert row.device == torch.cuda.get_device_name()
        assert {"CUDA", "cuDNN", "NVIDIA driver"} <= set(row.software.versions)


def test_eager_inference_in_every_form_and_precision() -> None:
    dtypes = ["fp32", "autocast", "bf16", "fp16"]
    rows = rows_of(product(**CUDA, form=["reference", "fused"], dtype=dtypes, batch=[2]))
    assert len(rows) == 8
    check(rows)
    # Without TF32 the fused form is as near to the reference as on a CPU.
    fused = next(row for row in rows if (row.form, row.precision) == ("fused", "fp32"))
    assert fused.difference is not None and fused.difference < 1e-4


def test_compiled_inference() -> None:
    backends = ["compile", "cudagraphs"]
    rows = rows_of(product(**CUDA, form=["fused"], backend=backends, dtype=["bf16"]))
    assert len(rows) == 2
    check(rows)


def test_training_in_every_form() -> None:
    train: dict[str, Any] = {**CUDA, "mode": ["train"], "batch": [2]}
    rows = [
        *rows_of(product(**train, form=["reference", "fused"], dtype=["fp32", "bf16"])),
        *rows_of(product(**train, form=["fused-time"], dtype=["bf16"], backend=["cudagraphs"])),
    ]
    assert len(rows) == 7
    check(rows)
    saved = {(row.form, row.precision): row.saved_mb for row in rows if row.backend == "eager"}
    assert 0 < saved["fused-memory", "fp32"] < saved["fused-time", "fp32"]
    assert saved["fused-time", "fp32"] < saved["reference", "fp32"]


def test_exact_gradients_need_the_memory_of_one_image() -> None:
    from casvit_dense.benchmark.backends import prepare

    def peak(batch: int) -> int:
        case = BenchmarkCase(mode="train", size=(128, 128), batch=batch, device="cuda")
        prepared = prepare(case, 1, Path())
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        prepared.outputs()
        return torch.cuda.max_memory_allocated() - before

    with fixed_settings(1):
        assert peak(16) < 2 * peak(1)  # all at once would take sixteen times as much


@pytest.mark.parametrize("backend", ["eager", "cudagraphs"])
def test_peak_memory_holds_the_weights(backend: str, tmp_path: Path) -> None:
    case = BenchmarkCase(size=(64, 64), device="cuda", backend=backend)
    assert memory.peak_bytes(case, 1, tmp_path) / 1e6 > WEIGHTS_MB


def test_memory_of_a_large_input_is_that_of_its_maps(tmp_path: Path) -> None:
    small, large = (
        memory.peak_bytes(BenchmarkCase(size=(side, side), device="cuda", batch=8), 1, tmp_path)
        for side in (64, 512)
    )
    hidden = 8 * 4 * 48 * 128 * 128 * 4  # the widest map: of the first MLP
    assert large - small > hidden


def test_times_are_latencies() -> None:
    """A queue of calls is awaited call by call, so that no kernel outlives its measurement."""
    side = torch.randn(4096, 4096, device="cuda")

    def call() -> None:
        for _ in range(20):
            torch.mm(side, side)

    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    queued = time.perf_counter() - start
    torch.cuda.synchronize()
    measured = stopwatch(call, 2, "cuda") / 2
    operations = 20 * 2 * 4096**3
    assert measured > queued
    assert operations / measured < 5e15  # no GPU is as fast as a queue that is not waited for


def test_rates_and_versions() -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU does not compute in bf16")
    with fixed_settings(1):
        fp32, bf16 = (measure_rates("cuda", dtype) for dtype in ("fp32", "bf16"))
    assert fp32.library == "torch" and fp32.matmul > 1e11
    assert bf16.matmul > fp32.matmul  # tensor cores; TF32 would come near
    assert cuda_versions()["CUDA"] == torch.version.cuda
