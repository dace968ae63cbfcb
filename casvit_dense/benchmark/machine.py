"""The machine: its best rates, its precisions, the load of others, what is installed on it.

The rates are those of the largest square matrix products and of copies that no cache holds. They
are measured beside the cases, since a shared machine drifts by half from hour to hour.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.utils.mkldnn import to_mkldnn

from casvit_dense import __version__
from casvit_dense.benchmark.timing import stopwatch
from casvit_dense.provenance import code_commit, cpu_name, split_commit
from casvit_dense.results.row import Software

MATMUL_SIDES = (1024, 1536, 2048)
CUDA_MATMUL_SIDES = (4096, 8192)
COPY_BYTES = 1 << 28  # beyond every cache
TRIALS = 6
RATE_SECONDS = 10.0  # for the trials of one product; a slow machine makes fewer
BLAS_SECONDS = 60.0  # for numpy's program
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: Flags in Linux's report on processors that compute in a precision, on x86 and on ARM.
CPU_FLAGS = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}

#: Prints the rate of numpy's matrix product. A process of its own, since BLAS settles its threads
#: when it is loaded.
BLAS_PROGRAM = """
import json, sys, time
import numpy as np
best, generator = 0.0, np.random.default_rng(0)
for side in json.loads(sys.argv[1]):
    a, b = (generator.standard_normal((side, side), np.float32) for _ in range(2))
    out = np.empty_like(a)
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
print(best)
"""


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


@contextmanager
def fixed_settings(threads: int) -> Iterator[None]:
    """Torch's settings while something is measured on some CPU threads; those of before come back.

    cuDNN chooses its algorithms by trial, as training does. TF32 is off: what is named fp32
    computes in fp32.
    """
    backends = torch.backends
    before = torch.get_num_threads(), backends.cudnn.benchmark
    tf32 = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    torch.set_num_threads(threads)
    backends.cudnn.benchmark = True
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        backends.cudnn.benchmark = before[1]
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = tf32


def missing_precision(device: str, dtype: str) -> str | None:
    """Why this machine does not compute in a precision, None where it does.

    An emulated precision is slower than fp32, and a row that names it would mislead. A CPU whose
    system does not list its features is taken to have them. ``autocast`` is bf16 on CPUs, fp16 on
    GPUs.
    """
    if device == "cuda":
        if dtype != "bf16" or not torch.cuda.is_available():
            return None
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if native else "this GPU does not compute in bf16"
    needed = CPU_FLAGS.get("bf16" if dtype == "autocast" else dtype)
    found = _cpu_flags()
    if needed is None or not found or needed & found:
        return None
    name = "bf16 (torch's autocast)" if dtype == "autocast" else dtype
    return f"this CPU does not compute in {name}: it has none of {', '.join(sorted(needed))}"


@cache
def _cpu_flags() -> frozenset[str]:
    """Features that Linux lists, empty elsewhere."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def measure_rates(device: str, dtype: str = "fp32") -> Rates:
    """Measures both rates; takes seconds, on a slow machine some tens of them.

    On CPUs with torch's present number of threads, in fp32 by the best of torch's product, oneDNN's
    on weights in its own layout, and numpy's BLAS.
    """
    cuda = device == "cuda"
    sides = CUDA_MATMUL_SIDES if cuda else MATMUL_SIDES
    with torch.inference_mode():
        rates = {"torch": _product_rate(sides, device, TORCH_DTYPES[dtype])}
        copies = _copy_rate(device)
        if not cuda and dtype == "fp32":
            if torch.backends.mkldnn.is_available():
                rates["oneDNN"] = _onednn_rate(sides)
            rates["numpy"] = _blas_rate(torch.get_num_threads())
    if cuda:
        torch.cuda.empty_cache()
    library = max(rates, key=lambda name: rates[name])
    return Rates(rates[library], copies, library)


def _fastest(call: Callable[[], object], device: str) -> float:
    stopwatch(call, 1, device)
    begun, best = time.perf_counter(), float("inf")
    for _ in range(TRIALS):
        best = min(best, stopwatch(call, 1, device))
        if time.perf_counter() - begun > RATE_SECONDS:
            break
    return best


def _best_product(sides: Sequence[int], seconds: Callable[[int], float]) -> float:
    """Operations a second of the best side, from the smallest; too slow ones are left out."""
    best = 0.0
    for side in sides:
        operations = 2 * side**3
        if best and operations / best > RATE_SECONDS:
            break
        best = max(best, operations / seconds(side))
    return best


def _product_rate(sides: Sequence[int], device: str, dtype: torch.dtype) -> float:
    def seconds(side: int) -> float:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        return _fastest(lambda: torch.mm(a, b, out=out), device)

    return _best_product(sides, seconds)


def _onednn_rate(sides: Sequence[int]) -> float:
    """Rate of a linear layer whose weights lie as oneDNN wants them, as in a compiled network."""

    def seconds(side: int) -> float:
        layer = to_mkldnn(torch.nn.Linear(side, side, bias=False))
        x = torch.randn(side, side).to_mkldnn()
        return _fastest(lambda: layer(x), "cpu")

    return _best_product(sides, seconds)


def _copy_rate(device: str) -> float:
    source, target = (torch.ones(COPY_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * COPY_BYTES / _fastest(lambda: target.copy_(source), device)


def _blas_rate(threads: int) -> float:
    """Rate of numpy's BLAS; 0 where its program fails or takes too long."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
    try:
        done = subprocess.run(
            [sys.executable, "-c", BLAS_PROGRAM, json.dumps(MATMUL_SIDES), str(TRIALS)],
            env={**os.environ, **dict.fromkeys(names, str(threads))},
            capture_output=True,
            text=True,
            check=True,
            timeout=BLAS_SECONDS,
        )
    except subprocess.SubprocessError:
        return 0.0
    return float(done.stdout)


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


def now() -> datetime:
    """The time to the second, UTC."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def provenance(device: str, runtime: str | None = None) -> dict[str, Any]:
    """The fields that every row measured now has in common: date, device, threads, software.

    ``runtime`` is the package that runs exported files, if one does.
    """
    versions = {"casvit-dense": __version__, "torch": torch.__version__}
    if device == "cuda":
        versions |= cuda_versions()
    if runtime is not None:
        try:
            versions[runtime] = metadata.version(runtime)
        except metadata.PackageNotFoundError:
            versions[runtime] = "(not installed)"
    commit, dirty = split_commit(code_commit())
    return {
        "date": now(),
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "software": Software(
            versions=versions, python=platform.python_version(), commit=commit, dirty=dirty
        ),
    }


@cache
def cuda_versions() -> dict[str, str]:
    """Versions of CUDA, cuDNN and the driver, those that can be found."""
    found = {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
        found["NVIDIA driver"] = done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    return {name: str(version) for name, version in found.items() if version}
