"""What makes mmcv's build short, with the real compiler on files of a few lines."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = "c++"
SCRIPT = ROOT / "tools" / "gxx_with_header.py"


def is_gcc() -> bool:
    if shutil.which(COMPILER) is None:
        return False
    command = [COMPILER, "-dM", "-E", "-x", "c++", os.devnull]
    return "__clang__" not in subprocess.run(command, capture_output=True, text=True).stdout


needs_gcc = pytest.mark.skipif(not is_gcc(), reason="gcc: there is no g++ here")


@pytest.fixture
def build_mmcv(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_mmcv

    return build_mmcv


def compile_file(folder: Path, header: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Compiles a file as torch's ninja rule does; ``-H`` names every header, ``!``: precompiled."""
    (folder / "common.hpp").write_text(header)
    (folder / "file.cpp").write_text("int twice() { return 2 * ONE; }\n")
    command = [str(SCRIPT), "-H", "-MMD", "-MF", "file.o.d", "-O2", "-fPIC", *flags]
    return subprocess.run(
        [*command, "-c", "-c", "file.cpp", "-o", "file.o", "-std=c++17"],
        cwd=folder,
        env={**os.environ, "HEADER_CXX": COMPILER, "HEADER": str(folder / "common.hpp")},
        capture_output=True,
        text=True,
    )


@needs_gcc
def test_gcc_uses_the_header_that_the_first_call_precompiles(tmp_path: Path) -> None:
    for _ in range(2):
        done = compile_file(tmp_path, "#include <cstddef>\nconst int ONE = 1;\n")
        assert done.returncode == 0, done.stderr
        assert f"! {tmp_path}/common.hpp.gch" in done.stderr
        assert "warning" not in done.stderr
        assert (tmp_path / "file.o").is_file() and (tmp_path / "file.o.d").is_file()
    assert not (tmp_path / "common.hpp.failed").exists()


@needs_gcc
def test_a_header_that_cannot_be_precompiled_is_left_out(tmp_path: Path) -> None:
    done = compile_file(tmp_path, "#include <no_such_header>\n", "-DONE=1")
    assert done.returncode == 0, done.stderr
    assert "no_such_header" in done.stderr
    assert (tmp_path / "file.o").is_file()
    assert (tmp_path / "common.hpp.failed").exists()
    again = compile_file(tmp_path, "#include <no_such_header>\n", "-DONE=1")
    assert again.returncode == 0 and "no_such_header" not in again.stderr


@needs_gcc
def test_a_build_for_the_cpu_gets_header_and_flags(build_mmcv, monkeypatch, tmp_path) -> None:
    for name in ("CXX", "CFLAGS"):
        monkeypatch.delenv(name, raising=False)
    environment = build_mmcv._cpu_environment(tmp_path)
    assert environment["CXX"] == str(SCRIPT) and os.access(SCRIPT, os.X_OK)
    assert environment["CFLAGS"] == build_mmcv.COMPILER_FLAGS
    header = Path(environment["HEADER"])
    assert header.read_text().count("#include") == 2
    stamp = header.stat().st_mtime_ns
    build_mmcv._cpu_environment(tmp_path)  # a build that goes on
    assert header.stat().st_mtime_ns == stamp


def test_another_compiler_builds_plainly(build_mmcv, monkeypatch, tmp_path, capsys) -> None:
    clang = tmp_path / "clang++"
    clang.write_text("#!/bin/sh\necho '#define __GNUC__ 4'\necho '#define __clang__ 1'\n")
    clang.chmod(0o755)
    monkeypatch.setenv("CXX", str(clang))
    environment = build_mmcv._cpu_environment(tmp_path)
    assert environment["CXX"] == str(clang) and "HEADER" not in environment
    assert f"{clang} is not gcc: no precompiled header" in capsys.readouterr().out


@needs_gcc
def test_entry_points_are_compiled_as_one_file(build_mmcv, tmp_path: Path) -> None:
    (tmp_path / "common.hpp").write_text("#pragma once\nstruct Op { int device; };\n")
    for name in ("nms", "roi_align", "pybind"):
        text = f'#include "common.hpp"\nint {name}(Op op) {{ return op.device; }}\n'
        (tmp_path / f"{name}.cpp").write_text(text)
    build_mmcv.join_entry_points(tmp_path)
    left = sorted(path.name for path in tmp_path.glob("*.cpp"))
    assert left == ["entry_points.cpp", "pybind.cpp"]
    command = [COMPILER, "-I.", "-S", "entry_points.cpp", "-o", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [name for name in ("nms", "roi_align", "pybind") if name in done.stdout] == [
        "nms",
        "roi_align",
    ]
