"""Compiles an onedl-mmcv wheel for the torch of this environment; needs only the standard library.

The source folder is kept until all is compiled: ninja skips what a broken build has done.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPORT_SECONDS = 30
LOG_TAIL_LINES = 15
# In place of Python's own -O3 -g: debug information costs most of the time after the headers.
COMPILER_FLAGS = "-O2 -g0 -DNDEBUG -fwrapv"
# What nearly all files of a build for the CPU include; both include torch's headers.
COMMON_HEADERS = ("pytorch_cpp_helper.hpp", "pytorch_device_registry.hpp")
ENTRY_POINTS = Path("mmcv", "ops", "csrc", "pytorch")
BINDINGS = "pybind.cpp"


def build_wheel(requirement: str, with_cuda: bool, work: Path, dest: Path) -> Path:
    """Builds ``requirement`` (``name==version``) in ``work`` and returns the wheel in ``dest``.

    Ends the program with the log's place and its last lines when the build fails.
    """
    log = work / "build.log"
    work.mkdir(parents=True, exist_ok=True)
    source = _fetch_source(requirement, work, with_cuda)
    print(f"    compiling {requirement} in {source}, log in {log}", flush=True)
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "-w", str(dest), str(source)],
            env=_build_environment(with_cuda) if with_cuda else _cpu_environment(source),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        _report_until_done(process, source)
    wheels = list(dest.glob("onedl_mmcv-*.whl"))
    if process.returncode or not wheels:
        tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        sys.exit("\n".join([*tail, f"error: building {requirement} failed; whole log: {log}"]))
    shutil.rmtree(source)
    return wheels[0]


def _fetch_source(requirement: str, work: Path, with_cuda: bool) -> Path:
    source = work / "source"
    if not source.is_dir():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*pip, "--no-binary", ":all:", "-d", str(work), requirement],
            check=True,
            # The metadata step runs the package's set-up, which looks for CUDA where it is visible.
            env=_build_environment(with_cuda=False),
        )
        unpacked = work / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        shutil.unpack_archive(next(work.glob("*.tar.gz")), unpacked)
        if not with_cuda:
            join_entry_points(next(unpacked.iterdir()) / ENTRY_POINTS)
        next(unpacked.iterdir()).rename(source)
        unpacked.rmdir()
    return source


def join_entry_points(folder: Path) -> None:
    """Makes one file of those that hand an op on to its device: 20 s to compile instead of 220.

    Not of those in ``cpu/``, which share names, and not of Python's bindings, which take a minute.
    """
    parts = folder / "parts"
    parts.mkdir()
    files = sorted(path for path in folder.glob("*.cpp") if path.name != BINDINGS)
    for path in files:
        path.rename(parts / path.name)
    lines = (f'#include "{parts.name}/{path.name}"\n' for path in files)
    (folder / "entry_points.cpp").write_text("".join(lines))


def _build_environment(with_cuda: bool) -> dict[str, str]:
    environment = dict(os.environ)
    scripts = Path(sys.executable).parent
    environment["PATH"] = f"{scripts}{os.pathsep}{environment['PATH']}"
    environment.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0))))
    environment["FORCE_CUDA"] = str(int(with_cuda))
    if not with_cuda:
        # The package compiles for CUDA whenever a device is visible.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _cpu_environment(source: Path) -> dict[str, str]:
    """Of a build for the CPU: without debug information, and with a precompiled header."""
    environment = _build_environment(with_cuda=False)
    environment.setdefault("CFLAGS", COMPILER_FLAGS)
    compiler = environment.get("CXX", "c++")
    if not _is_gcc(compiler):
        print(
            f"    {compiler} is not gcc: no precompiled header, the build takes longer", flush=True
        )
        return environment
    header = _common_header(source)
    if not header.exists():  # ninja would compile everything again for a newer one
        header.parent.mkdir(exist_ok=True)
        header.write_text("".join(f'#include "{name}"\n' for name in COMMON_HEADERS))
    _failed_mark(source).unlink(missing_ok=True)
    environment["HEADER"] = str(header)
    environment["HEADER_CXX"] = compiler
    environment["CXX"] = str(Path(__file__).with_name("gxx_with_header.py"))
    environment["TORCH_NO_COMPILER_WRAPPER"] = "1"  # ccache does not know that script
    return environment


def _common_header(source: Path) -> Path:
    return source / "build" / "common.hpp"


def _failed_mark(source: Path) -> Path:
    """Is there when `gxx_with_header.py` could not precompile the header."""
    return source / "build" / "common.hpp.failed"


def _is_gcc(compiler: str) -> bool:
    """Whether the compiler is gcc itself: clang too defines ``__GNUC__``."""
    command = [compiler, "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True).stdout
    return "#define __GNUC__ " in macros and "__clang__" not in macros


def _report_until_done(process: subprocess.Popen[bytes], source: Path) -> None:
    start = files_start = time.monotonic()
    compiled_before = _count_objects(source)
    while True:
        try:
            process.wait(REPORT_SECONDS)
            return
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            compiled, total = _count_objects(source), _count_targets(source)
            fresh = compiled - compiled_before
            if not fresh:  # what comes before the first file says nothing about the others
                files_start = now
            line = progress_line(now - start, now - files_start, fresh, compiled, total)
            note = ", without a precompiled header" if _failed_mark(source).exists() else ""
            print(f"    {line}{note}", flush=True)
        except KeyboardInterrupt:
            process.wait()
            sys.exit("interrupted; run the same command to continue")


def progress_line(elapsed: float, compiling: float, fresh: int, compiled: int, total: int) -> str:
    """One line of progress: seconds so far, files compiled of ``total``, estimate of what is left.

    ``fresh`` files took ``compiling`` seconds; an earlier run compiled the others.
    """
    line = f"{_minutes(elapsed)} elapsed, {compiled} of {total or '?'} files compiled"
    if fresh > 0 and total:
        line += f", about {_minutes(compiling / fresh * (total - compiled))} left"
    return line


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _count_objects(source: Path) -> int:
    return sum(1 for _ in source.glob("build/temp*/**/*.o"))


def _count_targets(source: Path) -> int:
    return sum(
        len(re.findall(r"^build .*: (?:cuda_)?compile ", plan.read_text(), re.MULTILINE))
        for plan in source.glob("build/temp*/build.ninja")
    )
