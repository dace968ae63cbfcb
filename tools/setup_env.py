"""The steps of ``make setup``, run by the environment's own Python; each may be run again.

Needs only the standard library: it runs before anything else is installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from build_mmcv import build_wheel

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lock.txt"
BUILD_TOOLS = ROOT / "requirements" / "build.txt"
CONSTRAINTS = Path(sys.prefix) / ".casvit" / "constraints.txt"
CACHE = ROOT / ".cache"
PIP_ENVIRONMENT = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def install_torch() -> None:
    """Installs the locked torch unless one is there, then the build tools."""
    version = _installed_version("torch")
    if version is None:
        _install("-c", str(LOCK), "torch", "-r", str(BUILD_TOOLS))
        _write_constraints()
    else:
        print(f"    torch {version} is here and stays")
        _write_constraints()
        _install("-q", "-c", str(CONSTRAINTS), "-r", str(BUILD_TOOLS))
    if not _python("import torch"):
        sys.exit(
            "error: torch is installed but does not import; repair or uninstall it, then run again"
        )


def install_mmcv(wheelhouse: Path | None) -> None:
    """Installs onedl-mmcv with ops that load: as it is, from a wheel, or compiled here."""
    if wheelhouse is not None and not wheelhouse.is_dir():
        sys.exit(f"error: WHEELHOUSE={wheelhouse} is not a folder")
    version = _locked_version("onedl-mmcv")
    if _installed_version("onedl-mmcv") == version and _ops_load():
        print(f"    onedl-mmcv {version} is here and its ops load")
        return
    name = _build_name(version)
    built = CACHE / "wheels" / name
    if any(_install_wheel(version, folder) for folder in (wheelhouse, built) if folder):
        return
    _require_compiler()
    build_wheel(f"onedl-mmcv=={version}", _wants_cuda(), CACHE / "build" / name, built)
    if not _install_wheel(version, built):
        sys.exit(f"error: onedl-mmcv was compiled but its ops do not load; log in {CACHE}/build")


def install_packages() -> None:
    """Installs the project, editable, with all it can use here, all but torch locked."""
    project = f"{ROOT}[dev,export,openvino,report]"
    _install("-q", "-c", str(CONSTRAINTS), "--no-build-isolation", "-e", project)
    _pip("check")


def install_opencv() -> None:
    """Makes the headless OpenCV the one that is imported.

    imaug asks for both OpenCV packages, which own the same folder: the last one written wins,
    and only the headless one loads without libGL.
    """
    headless = f"opencv-python-headless=={_installed_version('opencv-python-headless')}"
    _install("-q", "--force-reinstall", "--no-deps", headless)
    if not _python("import cv2"):
        sys.exit(f"error: {headless} does not import; the line above says what is missing")


def constraint_lines(lock: Iterable[str], kept: dict[str, str]) -> Iterator[str]:
    """The lock's lines, but for the packages in ``kept`` (normalised name to version) those."""
    for line in lock:
        if normalise(re.split(r"[=; ]", line, maxsplit=1)[0]) not in kept:
            yield line
    for name, version in kept.items():
        yield f"{name}=={version}"


def normalise(name: str) -> str:
    """A distribution's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _write_constraints() -> None:
    """Torch and what it asks for stay as they are; everything else is locked."""
    needs = [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in metadata.requires("torch") or ()]
    versions = {normalise(name): _installed_version(name) for name in ("torch", *needs)}
    # Torch names only a lower bound, while mmcv does not build with a newer one.
    versions.pop("setuptools", None)
    kept = {name: version for name, version in versions.items() if version}
    lines = constraint_lines(LOCK.read_text().splitlines(), kept)
    CONSTRAINTS.parent.mkdir(exist_ok=True)
    CONSTRAINTS.write_text("\n".join(lines) + "\n")


def _install_wheel(version: str, folder: Path) -> bool:
    """Installs a wheel of ``folder``; false where none works with this Python and this torch."""
    wheel = next(folder.glob(f"onedl_mmcv-{version}-{_python_tag()}-*.whl"), None)
    if wheel is None:
        return False
    install = ("-q", "--force-reinstall", "--no-deps", "--no-index", str(wheel))
    if _install(*install, check=False) and _ops_load():
        print(f"    from {wheel}")
        return True
    print(f"    {wheel} does not work with torch {_torch_facts().version}")
    return False


def _ops_load() -> bool:
    """Whether mmcv's compiled ops load here, with CUDA kernels where they are wanted.

    Loads the library file alone: mmcv itself needs packages that come in a later step.
    """
    library = next(Path(sysconfig.get_path("platlib")).glob("mmcv/_ext*.so"), None)
    return library is not None and _python(
        "import sys, importlib.util as util, torch",
        "spec = util.spec_from_file_location('_ext', sys.argv[1])",
        "ops = util.module_from_spec(spec)",
        "spec.loader.exec_module(ops)",
        "cpu_only = ops.get_compiling_cuda_version() == 'not available'",
        "sys.exit(cpu_only and sys.argv[2] == 'True')",
        arguments=(str(library), str(_wants_cuda())),
    )


def _build_name(version: str) -> str:
    """Names all that a compiled mmcv depends on, so that no other torch ever gets the wheel."""
    ops = "cuda" if _wants_cuda() else "cpu"
    return f"mmcv-{version}-{_python_tag()}-torch-{_torch_facts().version}-{ops}"


def _python_tag() -> str:
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def _wants_cuda() -> bool:
    """FORCE_CUDA decides; without it, whether torch sees a device, as in mmcv's own build."""
    forced = os.environ.get("FORCE_CUDA")
    return forced == "1" if forced else _torch_facts().has_device


def _require_compiler() -> None:
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        sys.exit("error: no C++ compiler to build onedl-mmcv; install g++ or give WHEELHOUSE=dir")
    torch = _torch_facts()
    if _wants_cuda() and not torch.has_compiler:
        sys.exit(
            f"error: no nvcc to build onedl-mmcv for a GPU; install CUDA {torch.cuda} and set "
            "CUDA_HOME, give WHEELHOUSE=dir, or FORCE_CUDA=0 for ops on the CPU only"
        )
    if torch.cuda and not _wants_cuda():
        print("    ops for the CPU only; to train on a GPU that is not visible here: FORCE_CUDA=1")


class TorchFacts(NamedTuple):
    """What a compiled mmcv depends on. ``cuda``: the version torch was built for, if any."""

    version: str
    cuda: str | None
    has_device: bool
    has_compiler: bool


@cache
def _torch_facts() -> TorchFacts:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    return TorchFacts(
        torch.__version__, torch.version.cuda, torch.cuda.is_available(), CUDA_HOME is not None
    )


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _locked_version(name: str) -> str:
    return re.findall(rf"^{name}==(\S+)", LOCK.read_text(), re.MULTILINE)[0]


def _install(*arguments: str, check: bool = True) -> bool:
    """Installs without byte code, which Python makes at the first import of what is used."""
    return _pip("install", "--no-compile", *arguments, check=check)


def _pip(*arguments: str, check: bool = True) -> bool:
    """Runs pip in this environment. A failure ends the program, or with ``check`` off is false."""
    command = [sys.executable, "-m", "pip", *arguments]
    done = not subprocess.run(command, env={**os.environ, **PIP_ENVIRONMENT}).returncode
    if check and not done:
        sys.exit(f"error: pip {arguments[0]} failed; run the same make command to continue")
    return done


def _python(*lines: str, arguments: tuple[str, ...] = ()) -> bool:
    """Whether the lines run in a fresh interpreter; says the last line of what goes wrong."""
    command = [sys.executable, "-W", "ignore", "-c", "\n".join(lines), *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode and done.stderr:
        print(f"    {done.stderr.splitlines()[-1]}")
    return not done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    for name, step in (
        ("torch", install_torch),
        ("packages", install_packages),
        ("opencv", install_opencv),
    ):
        steps.add_parser(name).set_defaults(step=step)
    mmcv = steps.add_parser("mmcv")
    mmcv.add_argument("--wheelhouse", type=lambda text: Path(text) if text else None)
    mmcv.set_defaults(step=install_mmcv)
    arguments = vars(parser.parse_args())
    arguments.pop("step")(**arguments)


if __name__ == "__main__":
    main()
