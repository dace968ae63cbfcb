"""Peak memory of a case, in a process that does nothing else.

    python -m casvit_dense.benchmark.memory JSON

measures the case that the JSON describes and prints its peak in bytes as the last line.
"""

import contextlib
import ctypes
import dataclasses
import gc
import json
import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import torch

from casvit_dense.benchmark.cases import RUNTIMES, BenchmarkCase
from casvit_dense.benchmark.machine import fixed_settings

WARM_CALLS = 3  # a compiled network is compiled, recorded and replayed for the first time
CALLS = 2


def peak_bytes(case: BenchmarkCase, threads: int, folder: Path) -> int:
    """Memory that a case needs beside its libraries: weights, workspace, activations.

    On CPUs the process's highest resident memory during calls less what it was after all imports.
    On GPUs the most that torch allocated; with CUDA graphs what it reserved, since the replay of a
    graph allocates nothing: its memory is set aside when it is recorded. An exported file is taken
    from ``folder`` if it is there.

    Raises:
        RuntimeError: the process failed, with its last words.
    """
    order = {"case": dataclasses.asdict(case), "threads": threads, "folder": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "casvit_dense.benchmark.memory", json.dumps(order)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        if done.returncode < 0:
            raise RuntimeError(f"its own process was ended by signal {-done.returncode}")
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return int(done.stdout.split()[-1])


def measure(case: BenchmarkCase, threads: int, folder: Path) -> int:
    """See `peak_bytes`; in this process, which should do nothing else."""
    from casvit_dense.benchmark.backends import prepare

    import_libraries(case)
    gc.collect()
    baseline = status_bytes("VmRSS")
    prepared = prepare(case, threads, folder)
    for _ in range(WARM_CALLS):
        prepared.call()
    forget_peak(case)
    for _ in range(CALLS):
        prepared.call()
    if case.device != "cuda":
        return status_bytes("VmHWM") - baseline
    torch.cuda.synchronize()
    if case.backend == "cudagraphs":
        return torch.cuda.max_memory_reserved()
    return torch.cuda.max_memory_allocated()


def import_libraries(case: BenchmarkCase) -> None:
    """Imports everything that the case's process needs, the same for every form."""
    names = ["casvit_dense.benchmark.backends"]
    if case.backend in RUNTIMES:
        names += ["casvit_dense.export.runtime", case.backend]
    elif case.backend != "eager":
        names += ["torch._dynamo", "torch._inductor.compile_fx"]
    for name in names:
        import_module(name)
    if case.model.endswith(".py"):
        from casvit_dense.config.read import read_config, register_scope

        register_scope(read_config(case.model))
    if case.model.startswith("timm:"):
        import_module("timm")


def forget_peak(case: BenchmarkCase) -> None:
    """Begins anew to watch for the highest memory: preparing a case may take more than calls."""
    gc.collect()
    if case.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # of what was reserved, only what is needed counts
        torch.cuda.reset_peak_memory_stats()
        return
    # Where the system cannot do this (no Linux, no glibc), the peak includes the preparation.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # gives freed memory back to the system
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present size


def status_bytes(name: str) -> int:
    """Linux's report on this process: its memory now (``VmRSS``) or at most since its begin or the
    last `forget_peak` (``VmHWM``); elsewhere the most so far.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    found = re.search(rf"^{name}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    size = tuple(order["case"].pop("size"))
    with fixed_settings(order["threads"]):
        case = BenchmarkCase(**order["case"], size=size)
        print(measure(case, order["threads"], Path(order["folder"])))
