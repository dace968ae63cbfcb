"""Which state of the code is running, and on what."""

import platform
import subprocess
from functools import cache
from pathlib import Path

DIRTY = "-dirty"  # ends the commit of code that differs from it


@cache
def code_commit() -> str | None:
    """The last commit that changed code or configs, ``-dirty`` where files differ from it.

    ``None`` where the code is not part of a repository.
    """
    package = Path(__file__).parent

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *args], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # An installed package may lie inside somebody else's repository.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    # The package and the configs beside it; metafiles are made of results.
    measured = (".", ":/configs", ":(top,exclude)configs/*/metafile.yml")
    commit = git("log", "-1", "--format=%h", "--", *measured)
    return f"{commit}{DIRTY}" if git("status", "--porcelain", "--", *measured) else commit


def split_commit(text: str | None) -> tuple[str | None, bool]:
    """The commit without its mark, and whether files differed from it."""
    if not text:
        return None, False
    return text.removesuffix(DIRTY), text.endswith(DIRTY)


def device_name() -> str:
    """The GPU's model, or the processor's where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name()


def gpu_versions() -> dict[str, str]:
    """Versions of CUDA and cuDNN; none where no GPU is."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}


def cpu_name() -> str:
    """The processor's model, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
