"""The doctor on real failures where they can be made, else on fake packages, files and devices."""

import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from casvit_dense import doctor
from casvit_dense.cli import main
from casvit_dense.doctor import Check, Status

Usage = namedtuple("Usage", "total used free")

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "retinanet_casvit-mini_fpn_shapes.py"


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Installs a package's metadata in front of the real ones."""

    def make(name: str, version: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return make


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """Installs a package with given code in front of the real one."""

    def make(name: str, code: str) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)

    yield make
    for name in ("mmdet", "torchvision"):
        if str(tmp_path) in (getattr(sys.modules.get(name), "__file__", None) or ""):
            del sys.modules[name]


def free_space(monkeypatch, count: int) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(2 * count, count, count))


def test_this_environment_is_healthy(tmp_path, capsys):
    assert main(["doctor", "--work-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search("mmcv ops, cpu +compiled, nms runs", printed)
    assert torch.__version__ in printed


def test_broken_part_fails_the_command_and_leaves_the_other_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    monkeypatch.setitem(sys.modules, "mmdet", None)
    assert main(["doctor", "--work-dir", str(tmp_path)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["mmdet", "mmcv"]


def test_file_runs_by_itself_where_opencv_stops_every_import(tmp_path, fake_package):
    fake_package("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    fake_package("torch", "raise ImportError('takes seconds')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, doctor.__file__],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (opencv,) = [line for line in done.stdout.splitlines() if "  opencv " in line]
    assert opencv.startswith("FAIL")
    assert "libGL.so.1" in opencv


def test_without_torch_the_checks_that_need_it_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["torch"].status is Status.FAIL
    assert "does not import" in checks["torch"].detail
    assert "disk" in checks
    assert not {"mmcv ops, cpu", "devices", "cores"} & set(checks)


def test_missing_work_dir_is_a_user_error(tmp_path, capsys):
    assert main(["doctor", "--work-dir", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def rows(printed: str) -> dict[str, tuple[str, str]]:
    """Status and detail by name."""
    found = re.findall(r"^(ok|warn|FAIL) +(\w+(?: \S+)*)  +(.*)$", printed, re.MULTILINE)
    return {name: (status, detail) for status, name, detail in found}


def test_weights_and_data_of_a_config(shapes, capsys):
    command = ["doctor", str(DEMO), "--data-root", str(shapes / "coco"), "--from-scratch"]
    assert main(command) == 0
    found = rows(capsys.readouterr().out)
    assert found["weights"] == ("ok", "random")
    status, text = found["training data"]
    kept = "train: 9 of 10 images (1 without objects), 40 objects, 3 classes"
    assert status == "ok" and text.startswith(kept)
    assert found["validation data"] == ("ok", "val: 5 images, 17 objects, 3 classes")


def test_missing_weights_and_data_are_rows_of_their_own(tmp_path, capsys):
    command = ["doctor", str(DEMO), "--data-root", str(tmp_path), "--pretrained", "no.pth"]
    assert main(command) == 1
    found = rows(capsys.readouterr().out)
    assert found["config"][0] == "ok"
    for name, part in (
        ("weights", "no pretrained weights at no.pth"),
        ("training data", str(tmp_path)),
        ("validation data", str(tmp_path)),
    ):
        assert found[name][0] == "FAIL" and part in found[name][1]


def test_a_config_that_is_not_there_is_a_row(capsys):
    assert main(["doctor", "nowhere.py"]) == 1
    status, detail = rows(capsys.readouterr().out)["config"]
    assert status == "FAIL" and "nowhere.py" in detail


def test_a_config_is_not_looked_at_in_a_broken_environment(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mmdet", None)
    assert main(["doctor", str(DEMO)]) == 1
    assert rows(capsys.readouterr().out)["config"] == ("warn", "not checked")


def test_options_of_a_config_need_one(capsys):
    assert main(["doctor", "--from-scratch"]) == 2
    assert "go with a config" in capsys.readouterr().err


def test_render_aligns_rows_and_puts_remedies_below():
    rows = doctor.render(
        [Check("a", Status.OK, "fine"), Check("longer", Status.FAIL, "broken", "mend it")]
    )
    assert rows.splitlines() == [
        "ok    a       fine",
        "FAIL  longer  broken",
        "              -> mend it",
    ]


def test_ranges_come_from_the_project_file():
    ranges = doctor.supported_ranges()
    assert ranges is not None
    assert set(ranges) == set(doctor.DISTRIBUTIONS)
    assert ranges["mmcv"].name == "onedl-mmcv"


@pytest.fixture
def absent(monkeypatch):
    """The packages that are looked for under names that no index has."""
    for name in ("mmdet", "mmcv"):
        monkeypatch.setitem(doctor.DISTRIBUTIONS, name, (f"no-such-{name}",))


def test_package_that_is_not_installed(absent):
    check = doctor.check_package("mmdet", Requirement("onedl-mmdetection>=3.5"))
    assert (check.status, check.detail) == (Status.FAIL, "not installed")
    assert check.remedy == 'pip install "onedl-mmdetection>=3.5"'


def test_missing_mmcv_is_never_installed_by_plain_pip(absent):
    assert "pip install" not in doctor.check_package("mmcv", Requirement("onedl-mmcv")).remedy


def test_package_outside_its_range_warns():
    check = doctor.check_package("numpy", Requirement("numpy<1"))
    assert check.status is Status.WARN
    assert "outside the tested <1" in check.detail
    assert check.remedy == 'pip install "numpy<1"'


def test_package_that_refuses_to_import(fake_package):
    fake_package("mmdet", "assert False, 'MMCV==9 is used but incompatible'")
    check = doctor.check_package("mmdet", None)
    assert check.status is Status.FAIL
    assert "MMCV==9 is used but incompatible" in check.detail


def test_both_lines_of_one_package(distribution):
    distribution("mmdet", "3.3.0")
    distribution("onedl-mmdetection", "3.5.1")
    check = doctor.check_package("mmdet", None)
    assert check.status is Status.WARN
    assert check.remedy.startswith("pip uninstall onedl-mmdetection mmdet")


def test_opencv_without_libgl(fake_package, distribution):
    missing = "libGL.so.1: cannot open shared object file"
    fake_package("cv2", f"raise ImportError('{missing}')")
    distribution("opencv-python", "4.12.0.88")
    check = doctor.check_opencv()
    assert check.status is Status.FAIL
    assert missing in check.detail
    assert check.remedy.endswith("--no-deps opencv-python-headless==4.12.0.88")


@pytest.mark.parametrize(("other", "status"), [("4.12.0.88", Status.OK), ("4.9.0.80", Status.WARN)])
def test_two_opencvs(distribution, other, status):
    distribution("opencv-python", "4.12.0.88")
    distribution("opencv-python-headless", other)
    check = doctor.check_opencv()
    assert check.status is status
    assert "opencv-python 4.12.0.88" in check.detail
    assert f"opencv-python-headless {other}" in check.detail


@pytest.mark.parametrize(("headless", "flavour"), [(True, "headless"), (False, "needs libGL")])
def test_opencv_flavour(monkeypatch, headless, flavour):
    fake = SimpleNamespace(__version__="4.12.0", version=SimpleNamespace(headless=headless))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    assert flavour in doctor.check_opencv().detail.split("(")[0]


def test_broken_torchvision(fake_package, distribution):
    error = "operator torchvision::nms does not exist"
    fake_package("torchvision", f"raise RuntimeError('{error}')")
    distribution("torchvision", "0.28.0")
    check = doctor.check_torchvision()
    assert check.status is Status.FAIL
    assert error in check.detail
    assert check.remedy == "pip uninstall torchvision"


def test_working_torchvision_is_left_alone(fake_package, distribution):
    fake_package("torchvision", "")
    distribution("torchvision", "0.28.0")
    assert doctor.check_torchvision() == Check("torchvision", Status.OK, "0.28.0")


@pytest.mark.parametrize("kept", [[0, 1, 2], []])
def test_ops_with_a_wrong_result_fail(monkeypatch, kept):
    fake = SimpleNamespace(nms=lambda boxes, scores, iou_threshold: (boxes, torch.tensor(kept)))
    monkeypatch.setitem(sys.modules, "mmcv.ops", fake)
    check = doctor.check_ops("cpu")
    assert check.status is Status.FAIL and str(kept) in check.detail


def test_ops_that_were_not_compiled(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mmcv.ops")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mmcv._ext", None)
    check = doctor.check_ops("cpu")
    assert check.status is Status.FAIL
    assert "mmcv._ext" in check.detail
    assert "make setup" in check.remedy


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda: there is a GPU, whose ops work")
def test_a_device_that_fails_is_a_row(monkeypatch):
    """Here torch itself refuses to make a tensor on the device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Fast GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    device, ops = doctor.check_devices()
    assert "2 x Fast GPU, capability 9.0" in device.detail
    assert (ops.name, ops.status) == ("mmcv ops, cuda", Status.FAIL)
    assert "CUDA" in ops.detail


@pytest.mark.cuda
def test_a_real_device():
    device, ops = doctor.check_devices()
    assert torch.cuda.get_device_name(0) in device.detail
    assert ops.name == "mmcv ops, cuda"
    # Ops that were built for the CPU alone are found out.
    assert (ops.status is Status.OK) == ("not found" not in ops.detail)


def test_no_cuda_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (device,) = doctor.check_devices()
    assert device.status is Status.OK
    assert "CPU only" in device.detail


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (6, "affinity")),
        ({"cpu.max": "max 100000"}, (6, "affinity")),
        ({"cpu.max": "250000 100000"}, (2, "cgroup quota")),
        ({"cpu.max": "50000 100000"}, (1, "cgroup quota")),
        (
            {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
            (3, "cgroup quota"),
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, (6, "affinity")),
    ],
)
def test_usable_cores(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert doctor.usable_cores(tmp_path) == expected


@pytest.mark.parametrize(("threads", "status"), [(4, Status.OK), (5, Status.WARN)])
def test_more_threads_than_cores(monkeypatch, threads, status):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    check = doctor.check_cores(4, "machine")
    assert check.status is status
    assert ("OMP_NUM_THREADS=4" in check.remedy) is (status is Status.WARN)


@pytest.mark.parametrize(
    ("free", "printed", "workers", "status"),
    [
        (64_000_000, "64 MB free", 1, Status.WARN),
        (10_000_000, "10 MB free", 0, Status.WARN),
        (2_000_000_000, "2.0 GB free", 4, Status.OK),
    ],
)
def test_shared_memory_bounds_the_workers(tmp_path, monkeypatch, free, printed, workers, status):
    free_space(monkeypatch, free)
    check = doctor.check_shared_memory(4, tmp_path)
    assert check.status is status
    assert check.detail.startswith(printed)
    assert f"enough for {workers} of 4 loader workers" in check.detail
    if status is Status.WARN:
        assert f"num_workers={workers}" in check.remedy
        assert ("persistent_workers=False" in check.remedy) is (workers == 0)


def test_system_without_shared_memory_folder(tmp_path):
    assert doctor.check_shared_memory(4, tmp_path / "none").status is Status.OK


@pytest.mark.parametrize(("free", "status"), [(7e9, Status.OK), (2e9, Status.WARN)])
def test_free_disk(monkeypatch, free, status, tmp_path):
    free_space(monkeypatch, free)
    check = doctor.check_disk(tmp_path)
    assert check.status is status
    if status is Status.WARN:
        assert check.remedy == "free 4.0 GB more, or write elsewhere: --work-dir"


@pytest.mark.parametrize("name", ["file", "none"])
def test_a_folder_that_cannot_be_written_in_is_no_good_disk(name, tmp_path):
    (tmp_path / "file").touch()
    check = doctor.check_disk(tmp_path / name)
    assert check.status is Status.FAIL
    assert "cannot be written in" in check.detail
