"""The machine: its best rates, the load of other processes, and the conditions of a row."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.utils.mkldnn import to_mkldnn

from casvit_dense import __version__
from casvit_dense.benchmark.cases import RUNTIMES, BenchmarkCase
from casvit_dense.benchmark.timing import Stopwatch, cpu_stopwatch, cuda_stopwatch
from casvit_dense.commit import code_commit
from casvit_dense.engine.record import cpu_name

MATMUL_SIDES = (1024, 1536, 2048)
CUDA_MATMUL_SIDES = (4096, 8192)
COPY_BYTES = 1 << 28  # beyond every cache
TRIALS = 6
BLAS_SCRIPT = Path(__file__).with_name("blas.py")
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Rates:
    """The best that was measured: floating-point operations and copied bytes a second.

    A copied byte counts twice, since it is read and written. ``library`` made the product.
    """

    matmul: float
    copy: float
    library: str

    def best(self, other: "Rates") -> "Rates":
        """The better of two measurements, each side for itself."""
        faster = max(self, other, key=lambda rates: rates.matmul)
        return Rates(faster.matmul, max(self.copy, other.copy), faster.library)


def measure_rates(device: str, dtype: str = "fp32") -> Rates:
    """Measures both rates; takes seconds.

    Args:
        device: ``cpu`` (with torch's present number of threads; in fp32 the best of torch's
            product, oneDNN's on weights in its own layout, and numpy's BLAS) or ``cuda``.
        dtype: of the matrix product: ``fp32``, ``bf16`` or ``fp16``.
    """
    cuda = device == "cuda"
    sides, watch = (CUDA_MATMUL_SIDES, cuda_stopwatch) if cuda else (MATMUL_SIDES, cpu_stopwatch)
    rates: dict[str, float] = {}
    with torch.inference_mode(), _convolution_precision(device):
        rates["torch"] = max(_product_rate(n, device, TORCH_DTYPES[dtype], watch) for n in sides)
        copies = _copy_rate(device, watch)
    if not cuda and dtype == "fp32":
        if torch.backends.mkldnn.is_available():
            rates["oneDNN"] = max(map(_onednn_rate, sides))
        rates["numpy"] = _blas_rate(torch.get_num_threads())
    library = max(rates, key=lambda name: rates[name])
    return Rates(rates[library], copies, library)


class _convolution_precision:
    """Lets matrix products use TF32 on a GPU where convolutions may: the networks' own rate."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = torch.backends.cuda.matmul.allow_tf32

    def __enter__(self) -> None:
        if self.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32

    def __exit__(self, *error: object) -> None:
        if self.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = self.before


def _fastest(call: Callable[[], object], watch: Stopwatch) -> float:
    watch(call, 1)
    return min(watch(call, 1) for _ in range(TRIALS))


def _product_rate(side: int, device: str, dtype: torch.dtype, watch: Stopwatch) -> float:
    a, b, out = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(3))
    return 2 * side**3 / _fastest(lambda: torch.mm(a, b, out=out), watch)


def _onednn_rate(side: int) -> float:
    """Rate of a linear layer whose weights lie as oneDNN wants them, as in a compiled network."""
    layer = to_mkldnn(torch.nn.Linear(side, side, bias=False))
    x = torch.ones(side, side).to_mkldnn()
    with torch.no_grad():
        return 2 * side**3 / _fastest(lambda: layer(x), cpu_stopwatch)


def _copy_rate(device: str, watch: Stopwatch) -> float:
    source, target = (torch.ones(COPY_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * COPY_BYTES / _fastest(lambda: target.copy_(source), watch)


def _blas_rate(threads: int) -> float:
    """Rate of numpy's BLAS, whose threads are settled when it is loaded; 0 where it fails."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
    sides = json.dumps(MATMUL_SIDES)
    done = subprocess.run(
        [sys.executable, str(BLAS_SCRIPT), sides, str(TRIALS)],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        capture_output=True,
        text=True,
        check=False,
    )
    return float(done.stdout) if done.returncode == 0 else 0.0


class OtherLoad:
    """Watches how many cores other processes keep busy between its making and `cores`."""

    def __init__(self) -> None:
        self.begun = self._now()

    def cores(self) -> float | None:
        """Cores that others used on average; ``None`` where the system does not tell."""
        now = self._now()
        if now is None or self.begun is None:
            return None
        elapsed, busy, own = (b - a for a, b in zip(self.begun, now, strict=True))
        return max(0.0, (busy - own) / elapsed) if elapsed > 0 else None

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds by the clock, of all busy cores, and of this process with its children."""
        stat = Path("/proc/stat")
        if not stat.is_file():
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(number) for number in stat.read_text().splitlines()[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]
        own = sum(os.times()[:4])
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own


#: Columns that make two rows the same; the others are figures, or when and beside what.
KEYS = (
    *("model", "part", "mode", "form", "backend", "dtype", "memory_format", "size", "batch"),
    *("device", "machine", "threads", "tf32", "project", "commit", "torch", "runtime"),
)

#: Columns of a row that is timed or counted, in the order of the file.
COLUMNS = (
    *KEYS,
    *("run", "date", "other_load", "rounds", "median_ms", "p10_ms", "p90_ms", "images_per_s"),
    *("base", "ratio", "form_ratio", "difference", "peak_mb", "saved_mb"),
    *("params_m", "gmacs", "backbone_params_m", "backbone_gmacs", "neck_params_m", "neck_gmacs"),
    *("head_params_m", "head_gmacs", "rois"),
    *("matmul_gflops", "matmul_by", "copy_gbs", "matmul_share", "copy_share", "roofline_share"),
    *("rounds_ms", "error"),
)


def condition(case: BenchmarkCase) -> dict[str, Any]:
    """The key columns of a case's row on this machine, as it is now."""
    cuda = case.device == "cuda"
    height, width = case.size
    return {
        "model": case.name,
        "part": case.part,
        "mode": case.mode,
        "form": case.form,
        "backend": case.backend,
        "dtype": case.dtype,
        "memory_format": case.memory_format,
        "size": f"{height}x{width}",
        "batch": case.batch,
        **machine_condition(case.device),
        "tf32": torch.backends.cudnn.allow_tf32 if cuda else None,
        "runtime": runtime_version(case.backend),
    }


def machine_condition(device: str) -> dict[str, Any]:
    """What every measurement on this machine has in common."""
    return {
        "device": device,
        "machine": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "project": __version__,
        "commit": code_commit(),
        "torch": torch.__version__,
    }


def runtime_version(backend: str) -> str | None:
    """Name and version of the package that runs an exported file; without one, the name alone."""
    if backend not in RUNTIMES:
        return None
    try:
        return f"{backend} {metadata.version(backend)}"
    except metadata.PackageNotFoundError:
        return f"{backend} (not installed)"


def now() -> str:
    """The time to the second, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
