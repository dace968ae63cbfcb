"""Under what conditions a row was measured."""

from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import torch

from casvit_dense import __version__
from casvit_dense.commit import code_commit
from casvit_dense.engine.results import cpu_name
from casvit_dense.measure.subject import RUNTIMES, Subject

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


def condition(subject: Subject) -> dict[str, Any]:
    """The key columns of a subject's row on this machine, as it is now."""
    cuda = subject.device == "cuda"
    height, width = subject.size
    return {
        "model": subject.name,
        "part": subject.part,
        "mode": subject.mode,
        "form": subject.form,
        "backend": subject.backend,
        "dtype": subject.dtype,
        "memory_format": subject.memory_format,
        "size": f"{height}x{width}",
        "batch": subject.batch,
        **machine_condition(subject.device),
        "tf32": torch.backends.cudnn.allow_tf32 if cuda else None,
        "runtime": runtime_version(subject.backend),
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
