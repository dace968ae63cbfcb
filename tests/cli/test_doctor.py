"""The doctor on simulated failures: fake packages on the path, fake files, fake devices."""

import argparse
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
from casvit_dense.cli import doctor as command
from casvit_dense.doctor import Check, Status
from casvit_dense.errors import UserError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """Puts a package with given code and distributions in front of the real ones."""

    def make(name: str, code: str, **distributions: str) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        for distribution, version in distributions.items():
            info = tmp_path / f"{distribution}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            )
        monkeypatch.syspath_prepend(tmp_path)

    yield make
    for name in ("mmdet", "torchvision"):
        if str(tmp_path) in (getattr(sys.modules.get(name), "__file__", None) or ""):
            del sys.modules[name]


def free_space(monkeypatch, count: int) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(2 * count, count, count))


def test_this_environment_is_healthy(tmp_path, capsys):
    args = argparse.Namespace(work_dir=tmp_path)
    assert command.run(args) == 0
    printed = capsys.readouterr().out
    assert re.search("mmcv ops, cpu +compiled, nms runs", printed)
    assert torch.__version__ in printed


def test_broken_part_fails_the_command_and_leaves_the_other_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    monkeypatch.setitem(sys.modules, "mmdet", None)
    assert command.run(argparse.Namespace(work_dir=tmp_path)) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["mmdet", "mmcv"]


def test_file_runs_by_itself_where_opencv_stops_every_import(tmp_path, fake_package):
    fake_package("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
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
    monkeypatch.setattr(
        doctor,
        "check_package",
        lambda name, supported: Check(name, Status.FAIL if name == "torch" else Status.OK, ""),
    )
    names = [check.name for check in doctor.examine(tmp_path)]
    assert "disk" in names
    assert not {"mmcv ops, cpu", "devices", "cores"} & set(names)


def test_missing_work_dir_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        command.run(argparse.Namespace(work_dir=tmp_path / "nowhere"))


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


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(doctor, "installed_versions", lambda names: {})
    check = doctor.check_package("mmdet", Requirement("onedl-mmdetection>=3.5"))
    assert (check.status, check.detail) == (Status.FAIL, "not installed")
    assert check.remedy == 'pip install "onedl-mmdetection>=3.5"'


def test_missing_mmcv_is_never_mended_by_plain_pip(monkeypatch):
    monkeypatch.setattr(doctor, "installed_versions", lambda names: {})
    assert "pip install" not in doctor.check_package("mmcv", Requirement("onedl-mmcv")).remedy


def test_package_outside_its_range_warns():
    check = doctor.check_package("numpy", Requirement("numpy<1"))
    assert check.status is Status.WARN
    assert "outside the tested <1" in check.detail
    assert check.remedy == 'pip install "numpy<1"'


def test_package_that_refuses_to_import(fake_package):
    fake_package("mmdet", "assert False, 'MMCV==9 is used but incompatible'", mmdet="3.3.0")
    check = doctor.check_package("mmdet", None)
    assert check.status is Status.FAIL
    assert "MMCV==9 is used but incompatible" in check.detail


def test_both_lines_of_one_package(fake_package):
    fake_package("mmdet", "", mmdet="3.3.0", onedl_mmdetection="3.5.1")
    check = doctor.check_package("mmdet", None)
    assert check.status is Status.WARN
    assert check.remedy.startswith("pip uninstall onedl-mmdetection mmdet")


def test_opencv_without_libgl(fake_package):
    missing = "libGL.so.1: cannot open shared object file"
    fake_package("cv2", f"raise ImportError('{missing}')", opencv_python_headless="4.12.0.88")
    check = doctor.check_opencv()
    assert check.status is Status.FAIL
    assert missing in check.detail
    assert check.remedy.endswith("--no-deps opencv-python-headless==4.12.0.88")


@pytest.mark.parametrize(("other", "status"), [("4.12.0.88", Status.OK), ("4.9.0.80", Status.WARN)])
def test_two_opencvs(monkeypatch, other, status):
    found = {"opencv-python": "4.12.0.88", "opencv-python-headless": other}
    monkeypatch.setattr(doctor, "installed_versions", lambda names: found)
    check = doctor.check_opencv()
    assert check.status is status
    assert "opencv-python 4.12.0.88" in check.detail
    assert f"opencv-python-headless {other}" in check.detail


@pytest.mark.parametrize(("headless", "flavour"), [(True, "headless"), (False, "needs libGL")])
def test_opencv_flavour(monkeypatch, headless, flavour):
    fake = SimpleNamespace(__version__="4.12.0", version=SimpleNamespace(headless=headless))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    assert flavour in doctor.check_opencv().detail.split("(")[0]


def test_broken_torchvision(fake_package):
    error = "operator torchvision::nms does not exist"
    fake_package("torchvision", f"raise RuntimeError('{error}')", torchvision="0.28.0")
    check = doctor.check_torchvision()
    assert check.status is Status.FAIL
    assert error in check.detail
    assert check.remedy == "pip uninstall torchvision"


def test_working_torchvision_is_left_alone(fake_package):
    fake_package("torchvision", "", torchvision="0.28.0")
    assert doctor.check_torchvision() == Check("torchvision", Status.OK, "0.28.0")


@pytest.mark.parametrize(
    ("kept", "status"), [([0, 2], Status.OK), ([0, 1, 2], Status.FAIL), ([], Status.FAIL)]
)
def test_ops_are_judged_by_their_result(monkeypatch, kept, status):
    fake = SimpleNamespace(nms=lambda boxes, scores, iou_threshold: (boxes, torch.tensor(kept)))
    monkeypatch.setitem(sys.modules, "mmcv.ops", fake)
    assert doctor.check_ops("cpu").status is status


def test_ops_that_were_not_compiled(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'mmcv._ext'\nfrom mmcv.ops")

    monkeypatch.setattr(doctor, "import_module", import_module)
    check = doctor.check_ops("cpu")
    assert check.status is Status.FAIL
    assert check.detail == "do not work: No module named 'mmcv._ext'"


def test_cuda_device_is_named_and_its_ops_are_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Fast GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(doctor, "check_ops", lambda device: Check(device, Status.OK, ""))
    device, ops = doctor.check_devices()
    assert "2 x Fast GPU, capability 9.0" in device.detail
    assert ops.name == "cuda"


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
def test_free_disk(monkeypatch, free, status):
    free_space(monkeypatch, free)
    check = doctor.check_disk(Path("runs"))
    assert check.status is status
    if status is Status.WARN:
        assert check.remedy == "free 4.0 GB more, or write elsewhere: --work-dir"
