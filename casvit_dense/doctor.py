"""What is installed, whether it works, and what to do about the rest.

Every check catches the failures it looks for and returns them as data, so that a broken part
never hides the state of the others. The file imports nothing of this package and runs by itself
where that does not import.
"""

import enum
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from packaging.requirements import Requirement

# What an import raises when a part is missing, built for another torch, or at odds with a version.
BROKEN_IMPORT = (ImportError, OSError, RuntimeError, AttributeError, AssertionError)

# Two prefetched batches of the recipes (4 images of 1333x800 bytes in 3 channels) take 26 MB;
# twice that leaves room for larger images.
SHARED_BYTES_PER_WORKER = 52_000_000
WORKERS_PER_PROCESS = 4
# A dense training checkpoint with optimiser state stays below 0.5 GB, and a run writes a dozen.
FREE_DISK_BYTES = 6_000_000_000

# By import name: the maintained line of OpenMMLab, then the line it continues. Torch comes first,
# since other checks need it.
DISTRIBUTIONS = {
    "torch": ("torch",),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "pycocotools": ("pycocotools",),
    "faster_coco_eval": ("faster-coco-eval",),
    "hotcoco": ("hotcoco",),
    "numpy": ("numpy",),
    "pydantic": ("pydantic",),
    "filelock": ("filelock",),
    "safetensors": ("safetensors",),
}
OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


class Status(str, enum.Enum):
    """``FAIL``: something that training or evaluation needs is broken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One row: what was checked, how it is, and what to do where it is not ``ok``."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def examine(folder: Path) -> list[Check]:
    """Runs every check; ``folder`` is where work will be written, and its disk is checked."""
    ranges = supported_ranges()
    packages = [check_package(name, (ranges or {}).get(name)) for name in DISTRIBUTIONS]
    cores, origin = usable_cores()
    checks = [check_python(ranges is not None), *packages, check_opencv(), check_torchvision()]
    if packages[0].status is not Status.FAIL:
        checks += [check_ops("cpu"), *check_devices(), check_cores(cores, origin)]
    return [*checks, check_shared_memory(min(cores, WORKERS_PER_PROCESS)), check_disk(folder)]


def exit_code(checks: list[Check]) -> int:
    """1 when something needed is broken, else 0."""
    return int(any(check.status is Status.FAIL for check in checks))


def render(checks: list[Check]) -> str:
    """The checks as aligned rows, the remedy of a problem below its row."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status.value:<4}  {check.name:<{width}}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.remedy}")
    return "\n".join(lines)


def supported_ranges() -> dict[str, Requirement] | None:
    """What this package requires, by import name; ``None`` where it is not installed."""
    try:
        lines = metadata.requires("casvit-dense") or []
    except metadata.PackageNotFoundError:
        return None
    requirements = {requirement.name: requirement for requirement in map(Requirement, lines)}
    return {
        name: requirements[distributions[0]]
        for name, distributions in DISTRIBUTIONS.items()
        if distributions[0] in requirements
    }


def check_python(installed: bool) -> Check:
    """The interpreter, and whether this package is installed in it."""
    detail = f"{platform.python_version()} in {sys.prefix}"
    if not installed:
        remedy = "pip install --no-deps -e . in the project's folder"
        return Check("python", Status.WARN, f"{detail}, without casvit-dense", remedy)
    return Check("python", Status.OK, detail)


def check_package(name: str, supported: Requirement | None) -> Check:
    """Version of the package imported as ``name``, against the range, and whether it imports."""
    found = installed_versions(DISTRIBUTIONS[name])
    wanted = f'pip install "{supported}"' if supported else f"pip install {DISTRIBUTIONS[name][0]}"
    if not found:
        return Check(name, Status.FAIL, "not installed", _install_remedy(name, wanted))
    detail = ", ".join(
        version if distribution == name else f"{version} ({distribution})"
        for distribution, version in found.items()
    )
    try:
        with redirect_stdout(io.StringIO()):  # mmdet prints which data sets it misses
            import_module(name)
    except BROKEN_IMPORT as error:
        detail = f"{detail} does not import: {_first_line(error)}"
        return Check(name, Status.FAIL, detail, _install_remedy(name, wanted))
    if len(found) > 1:
        remedy = f"pip uninstall {' '.join(found)}, then install one of them again"
        return Check(name, Status.WARN, f"{detail} share one folder", remedy)
    version = next(iter(found.values()))
    if supported and not supported.specifier.contains(version, prereleases=True):
        detail = f"{detail}, outside the tested {supported.specifier}"
        # Without torch 2.6 no checkpoint can be read safely; the others may work.
        status = Status.FAIL if name == "torch" else Status.WARN
        return Check(name, status, detail, _install_remedy(name, wanted))
    return Check(name, Status.OK, detail)


def check_opencv() -> Check:
    """Which OpenCV packages are there (they own one folder), and whether what is left imports."""
    found = installed_versions(OPENCV_DISTRIBUTIONS)
    detail = ", ".join(f"{name} {version}" for name, version in found.items()) or "not installed"
    version = next(iter(found.values()), None)
    headless = "opencv-python-headless" + (f"=={version}" if version else "")
    remedy = f"pip install --force-reinstall --no-deps {headless}"
    try:
        cv2 = import_module("cv2")
    except BROKEN_IMPORT as error:
        detail = f"{detail}; does not import: {_first_line(error)}"
        return Check("opencv", Status.FAIL, detail, remedy)
    if len(set(found.values())) > 1:
        return Check("opencv", Status.WARN, f"{detail}; versions overwrite each other", remedy)
    flavour = "headless" if cv2.version.headless else "with windows, needs libGL"
    return Check("opencv", Status.OK, f"{cv2.__version__} {flavour} ({detail})")


def check_torchvision() -> Check:
    """Nothing here needs torchvision, but a broken one stops mmengine's runner at its start."""
    found = installed_versions(("torchvision",))
    if not found:
        return Check("torchvision", Status.OK, "not installed, not needed")
    try:
        import_module("torchvision")
    except BROKEN_IMPORT as error:
        detail = f"{found['torchvision']} does not import: {_first_line(error)}"
        return Check("torchvision", Status.FAIL, detail, "pip uninstall torchvision")
    return Check("torchvision", Status.OK, found["torchvision"])


def check_ops(device: str) -> Check:
    """Runs mmcv's compiled non-maximum suppression on ``device``: three boxes, two overlapping."""
    name = f"mmcv ops, {device}"
    remedy = (
        "reinstall mmcv compiled for this torch: pip uninstall onedl-mmcv mmcv, then make setup"
    )
    import torch

    try:
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
        scores = torch.tensor([0.9, 0.8, 0.7], device=device)
        _, kept = import_module("mmcv.ops").nms(boxes, scores, iou_threshold=0.5)
    except BROKEN_IMPORT as error:
        return Check(name, Status.FAIL, f"do not work: {_first_line(error)}", remedy)
    if kept.tolist() != [0, 2]:
        return Check(name, Status.FAIL, f"nms kept boxes {kept.tolist()}, not [0, 2]", remedy)
    return Check(name, Status.OK, "compiled, nms runs")


def check_devices() -> list[Check]:
    """The CUDA devices and whether mmcv's ops run there; without a device, one row saying so."""
    import torch

    if not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
        detail = f"CPU only (torch is built for {build})"
        return [Check("devices", Status.OK, detail)]
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    major, minor = torch.cuda.get_device_capability(0)
    detail = f"{len(names)} x {names[0]}, capability {major}.{minor}, CUDA {torch.version.cuda}"
    return [Check("devices", Status.OK, detail), check_ops("cuda")]


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, str]:
    """Cores this process may use, and what sets the limit: machine, affinity, or cgroup quota."""
    limits = [(os.cpu_count() or 1, "machine")]
    if hasattr(os, "sched_getaffinity"):
        limits.append((len(os.sched_getaffinity(0)), "affinity"))
    limits += [(max(1, int(quota)), "cgroup quota") for quota in _cgroup_quotas(cgroup)]
    return min(limits, key=lambda limit: limit[0])


def check_cores(cores: int, origin: str) -> Check:
    """Usable cores against the threads torch would start."""
    import torch

    threads = torch.get_num_threads()
    detail = f"{cores} usable (limit: {origin}), torch starts {threads} threads"
    if threads > cores:
        return Check("cores", Status.WARN, detail, f"export OMP_NUM_THREADS={cores}")
    return Check("cores", Status.OK, detail)


def check_shared_memory(workers: int, folder: Path = Path("/dev/shm")) -> Check:
    """Free shared memory in ``folder`` against what ``workers`` loader workers pass through it."""
    if not folder.is_dir():
        return Check("shared memory", Status.OK, f"no {folder} on this system")
    free = shutil.disk_usage(folder).free
    suggested = min(workers, free // SHARED_BYTES_PER_WORKER)
    detail = f"{_size(free)} free, enough for {suggested} of {workers} loader workers"
    if suggested < workers:
        option = f"--cfg-options train_dataloader.num_workers={suggested}"
        if suggested == 0:
            option += " train_dataloader.persistent_workers=False"
        remedy = f"raise it (docker run --shm-size=2g) or train with {option}"
        return Check("shared memory", Status.WARN, detail, remedy)
    return Check("shared memory", Status.OK, detail)


def check_disk(folder: Path) -> Check:
    """Whether ``folder`` can be written in, and its free bytes against one run's checkpoints."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        detail = f"{folder} cannot be written in: {error.strerror}"
        return Check("disk", Status.FAIL, detail, "mend its permissions, or give --work-dir")
    free = shutil.disk_usage(folder).free
    detail = f"{_size(free)} free in {folder}"
    if free < FREE_DISK_BYTES:
        remedy = f"free {_size(FREE_DISK_BYTES - free)} more, or write elsewhere: --work-dir"
        return Check("disk", Status.WARN, detail, remedy)
    return Check("disk", Status.OK, detail)


def installed_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Versions of those ``distributions`` that are installed, in the given order."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _install_remedy(name: str, command: str) -> str:
    # Plain pip would compile mmcv away from torch, and then silently without its ops.
    return "make setup, or see docs/installation.md" if name == "mmcv" else command


def _cgroup_quotas(root: Path) -> Iterator[float]:
    """Cores of the CPU quotas set in the cgroup's files, version 2 then version 1."""
    pairs = [root / "cpu.max"], [root / "cpu/cpu.cfs_quota_us", root / "cpu/cpu.cfs_period_us"]
    for files in pairs:
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


if __name__ == "__main__":
    found = examine(Path().resolve())
    print(render(found))
    sys.exit(exit_code(found))
