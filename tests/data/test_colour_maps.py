"""Maps that hold colours are refused with a remedy, and the remedy makes index maps of them."""

from pathlib import Path

import data_layouts as made
import numpy as np
import pytest
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.describe import describe

#: Of the background and of three shapes; the first as in CamVid's file, which has spaces.
COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 64), (192, 128, 0))


def indices(root: Path) -> dict[str, np.ndarray]:
    """The labels of all index maps by the last two parts of their names."""
    files = [file for file in root.rglob("*.png") if Image.open(file).mode in ("L", "P")]
    return {file.name: np.asarray(Image.open(file)) for file in files}


@pytest.fixture
def maps(shapes: Path, tmp_path: Path) -> Path:
    root = made.camvid(shapes, tmp_path / "set", ignore=0)
    for file in root.glob("*annot/*.png"):
        labels = np.asarray(Image.open(file)) % len(COLOURS)
        Image.fromarray(labels).save(file)
    return root


def codes(root: Path) -> dict[str, list[str]]:
    findings = Findings()
    check_path(root, findings)
    return {found.kind.code: found.examples for found in findings.errors()}


def recoloured(root: Path, colours: np.ndarray) -> None:
    for file in root.glob("*annot/*.png"):
        Image.fromarray(colours[np.asarray(Image.open(file))]).save(file)


def test_grey_maps(maps: Path, tmp_path: Path) -> None:
    before = indices(maps)
    recoloured(maps, np.repeat(np.arange(4, dtype=np.uint8)[:, None], 3, axis=1))
    example = codes(maps)["map-channels"][0]
    assert example == "Pillow's mode RGB, red, green and blue are equal"
    assert main(["data", "check", str(maps), "--fix", str(tmp_path / "out")]) == 0
    after = indices(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert indices(maps) == {}  # the source is as it was


def test_colours_of_class_dict(maps: Path, tmp_path: Path) -> None:
    before = indices(maps)
    recoloured(maps, np.array(COLOURS, np.uint8))
    assert codes(maps) == {"map-channels": ["Pillow's mode RGB"] * 5}
    (maps / "classes.txt").unlink()
    rows = [
        f"{name}, {r}, {g}, {b}" for name, (r, g, b) in zip(made.MAP_CLASSES, COLOURS, strict=True)
    ]
    (maps / "class_dict.csv").write_text("\n".join(["name, r, g, b", *rows]) + "\n")
    assert describe(maps).colours == list(COLOURS)
    odd = maps / "valannot/val_000000.png"
    pixels = np.array(Image.open(odd))
    pixels[:2] = 77
    Image.fromarray(pixels).save(odd)
    assert main(["data", "check", str(maps), "--fix", str(tmp_path / "out")]) == 0
    after = indices(tmp_path / "out")
    before[odd.name] = before[odd.name].copy()
    before[odd.name][:2] = 255
    assert all(np.array_equal(before[name], after[name]) for name in before)
    changes = (tmp_path / "out/changes.json").read_text()
    assert "pixels of other colours do not count" in changes
    assert str(2 * pixels.shape[1]) in changes
    assert describe(tmp_path / "out").colours == []


@pytest.mark.parametrize("table", ["name,r,g\na,1,2\n", "name,r,g,b\na,1,2,x\n", "name\na\n"])
def test_tables_without_colours(table: str, maps: Path) -> None:
    (maps / "classes.txt").unlink()
    (maps / "class_dict.csv").write_text(table)
    assert describe(maps).colours == []
