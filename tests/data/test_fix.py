"""Cleaned copies of faulty sets: of each layout, whole or not at all, without an error."""

import errno
import json
import os
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_sets import CLEAN, Content, changed, first, run, set_all, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.data import copies
from casvit_dense.data.fixes.fix import fix
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError


def test_what_is_left_names_the_copy(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    annotations = source / "annotations/instances_train.json"
    shutil.copy(annotations, annotations.with_name("instances_val.json"))
    (found,) = run(source, tmp_path / "out").left.all()
    assert found.kind.code == "image-shared"
    assert str(tmp_path / "out/train/1.png") in found.where[0] + "".join(found.examples)
    assert ".out-" not in "".join([*found.where, *found.examples])


def write_maps(root: Path) -> Path:
    for n in range(4):
        for kind in ("images", "masks"):
            (root / kind / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (n, 9, 9)).save(root / "images/train" / f"{n}.jpg")
        labels = np.zeros((20, 30), np.uint8)
        labels[5:10, 5:20] = 1
        Image.fromarray(labels).save(root / "masks/train" / f"{n}.png")
    (root / "classes.txt").write_text("ground\nroad\n")
    return root


def test_faulty_maps_are_left_out_with_their_images(tmp_path: Path) -> None:
    source = write_maps(tmp_path / "source")
    Image.new("L", (30, 20), 7).save(source / "masks/train/1.png")  # of no class
    Image.new("L", (9, 9), 1).save(source / "masks/train/2.png")  # of another size
    (source / "masks/train/3.png").unlink()
    changes = run(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/images/train").iterdir()] == ["0.jpg"]
    assert [path.name for path in (tmp_path / "out/annotations/train").iterdir()] == ["0.png"]
    assert [change.where for change in changes.made] == ["1", "2", "3"]
    assert describe(tmp_path / "out").classes == ["ground", "road"]


def test_maps_that_are_all_faulty_are_refused(tmp_path: Path) -> None:
    source = write_maps(tmp_path / "source")
    for path in (source / "masks/train").iterdir():
        Image.new("L", (30, 20), 7).save(path)
    with pytest.raises(UserError, match="no pair of image and map is without a fault"):
        fix(describe(source), tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_known_is_said(tmp_path: Path, capsys: Any) -> None:
    """Masks of 0 and 255: which of both is a class?"""
    source = write_maps(tmp_path / "source")
    for path in (source / "masks/train").iterdir():
        labels = np.asarray(Image.open(path))
        Image.fromarray((labels * 255).astype(np.uint8)).save(path)
    out = tmp_path / "out"
    assert main(["data", "check", str(source), "--fix", str(out)]) == 1
    assert "left as it is: error map-one-class" in capsys.readouterr().out


def test_yolo_becomes_a_coco_file_without_its_faults(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    for n, line in enumerate(("0 0.5 0.5 0.25 0.5\n0 nan 0.5 0.2 0.2\n", "1 0.5 0.5 0.5 0.5\n")):
        Image.new("RGB", (80, 40), (n, 0, 0)).save(root / "images/train" / f"{n}.png")
        (root / "labels/train" / f"{n}.txt").write_text(line)
    (root / "data.yaml").write_text("train: images/train\nnames: [cup, pot]\n")
    changes = run(root, tmp_path / "out")
    result = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    assert [a["bbox"] for a in result["annotations"]] == [[30, 10, 20, 20], [20, 10, 40, 20]]
    assert len(changes.made) == 1


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "source", changed(first(bbox=[500, 6, 20, 10], area="x")))
    out = tmp_path / "out"
    assert main(["data", "check", str(source), "--fix", str(out)]) == 0
    said = capsys.readouterr().out
    assert "area-form" in said and "object left out: outside the image" in said
    assert f"written: {out} (1 change, see changes.json in it)" in said
    assert main(["data", "check", str(source), "--fix", str(out)]) == 2
    assert "holds files" in capsys.readouterr().err
    assert main(["data", "check", str(source), "--fix", str(source / "train/out")]) == 2
    assert "lies in the source" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [
        ({**CLEAN, "annotations": {"1": {}}}, "not built as a COCO file"),
        (
            changed(lambda c: set_all(c, "annotations", bbox=[900, 9, 9, 9])),
            "no image with a usable",
        ),
    ],
)
def test_files_of_which_nothing_is_left(tmp_path: Path, content: Content, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(write(tmp_path / "source", content), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["source"]


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "source")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copies, "link_or_copy", full)
    with pytest.raises(OSError, match="No space left"):
        fix(describe(source), tmp_path / "out", print)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["source"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**64),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.one_of(st.floats(-1e9, 1e9), st.lists(st.floats(-99, 99), max_size=8)), max_size=6),
    st.just({"size": [40, 60], "counts": [5, 2395]}),
    st.just({}),
)


KEYS = [
    (kind, row, key)
    for kind, records in CLEAN.items()
    for row, record in enumerate(records)
    for key in record
    if kind != "categories"
]


@pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_any_value_anywhere(examples: int, tmp_path: Path) -> None:
    """A copy has no error, whatever stood in the source."""

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=6))
    def holds(changes: dict[tuple[str, int, str], Any]) -> None:
        content = deepcopy(CLEAN)
        for (kind, row, key), value in changes.items():
            content[kind][row][key] = value
        for name in ("source", "out"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        try:
            run(write(tmp_path / "source", content), tmp_path / "out")
        except UserError as error:
            said = str(error)
            assert "no image with a usable object" in said or "no folder with" in said

    holds()
