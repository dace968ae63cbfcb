"""Which state of the code is running."""

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
