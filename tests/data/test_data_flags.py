"""Flags and folders that `data` refuses: those without effect, and those inside the data."""

import shutil
from pathlib import Path

import pytest

from casvit_dense.cli import main

CONFIG = "configs/retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--classes", "a,b"], "--classes: "),
        (["--ignore-label", "0", "--task", "segmentation"], "--ignore-label, --task: "),
        (["--images", "x"], "--images: "),
        (["--fix", "out"], "--fix: "),
    ],
)
def test_what_a_config_says_itself(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", CONFIG, *flags]) == 2
    said = capsys.readouterr().err
    assert named in said and "is a config, which is checked as it is" in said


def test_a_data_root_of_a_folder(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(shapes / "coco"), "--data-root", "elsewhere"]) == 2
    assert "--data-root is for a config" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["new", "annotations/new", "link/new"])
@pytest.mark.parametrize("command", ["subset", "check"])
def test_copies_inside_their_source(
    command: str, inside: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "set"
    shutil.copytree(shapes / "coco", source)
    (source / "link").symlink_to(source / "val2017")
    before = sorted(source.rglob("*"))
    out = str(source / inside)
    rest = [out, "--images", "2"] if command == "subset" else ["--fix", out]
    assert main(["data", command, str(source), *rest]) == 2
    assert "lies in the source" in capsys.readouterr().err
    assert sorted(source.rglob("*")) == before


def test_a_copy_inside_the_images_of_a_file(shapes: Path, tmp_path: Path) -> None:
    source = tmp_path / "set"
    shutil.copytree(shapes / "coco", source)
    file = str(source / "annotations/instances_val2017.json")
    assert main(["data", "subset", file, str(source / "val2017/new"), "--images", "2"]) == 2
    assert main(["data", "subset", file, str(source / "new"), "--images", "2"]) == 0
