"""The memory of a run: of its process, of those that it started, and of the GPU."""

import resource
import sys
from contextlib import suppress

import psutil
import torch


def peak_memory() -> int:
    """The most bytes in use so far: of tensors on the GPU, or by this process without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def resident_memory() -> tuple[int, int]:
    """Bytes that this process holds now, and the sum of those that it started, as loaders' workers.

    What forked workers share with this process counts in each of them.
    """
    process, workers = psutil.Process(), 0
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            workers += child.memory_info().rss
    return process.memory_info().rss, workers
