#!/usr/bin/env python3
"""g++ with a precompiled header; `build_mmcv.py` makes it the compiler (``CXX``) of mmcv's build.

Most of the time of a plain build goes into reading torch's headers once for every file. The first
call that compiles precompiles them with its own flags: gcc ignores a header made with other ones.

Environment: ``HEADER_CXX``: the real compiler; ``HEADER``: the header that all files include first.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

OF_ONE_FILE = ("-c", "-MMD")
OF_ONE_FILE_WITH_VALUE = ("-o", "-MF")


def main() -> None:
    compiler, header = os.environ["HEADER_CXX"], Path(os.environ["HEADER"])
    arguments = sys.argv[1:]
    if "-c" in arguments and precompile(compiler, header, arguments):
        arguments = ["-Winvalid-pch", "-include", str(header), *arguments]
    os.execvp(compiler, [compiler, *arguments])


def precompile(compiler: str, header: Path, arguments: list[str]) -> bool:
    """Makes the precompiled header unless it is there; false where that failed.

    Parallel calls wait for the first. A failure leaves ``HEADER.failed``, and is not tried again.
    """
    made, failed = Path(f"{header}.gch"), Path(f"{header}.failed")
    with header.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() and not failed.exists():
            unfinished = Path(f"{header}.unfinished")
            flags = common_flags(arguments)
            command = [compiler, *flags, "-x", "c++-header", str(header), "-o", str(unfinished)]
            if subprocess.run(command).returncode:
                failed.touch()
            else:
                unfinished.rename(made)
    return made.exists()


def common_flags(arguments: list[str]) -> list[str]:
    """The flags of a compilation without those that name its file, its output, its dependencies."""
    flags = []
    rest = iter(arguments)
    for argument in rest:
        if argument in OF_ONE_FILE_WITH_VALUE:
            next(rest)
        elif argument not in OF_ONE_FILE and not argument.endswith((".cpp", ".cc", ".cxx")):
            flags.append(argument)
    return flags


if __name__ == "__main__":
    main()
