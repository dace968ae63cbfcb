"""What a data set seems to hold and nothing reads, and what could be meant in two ways, is said."""

import gzip
import json
import shutil
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import coco_files
import data_layouts as made
import pytest

from casvit_dense.cli import main
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions

VAL = "annotations/instances_val2017.json"


def found_in(root: Path, options: LayoutOptions | None = None) -> Findings:
    findings = Findings()
    check_path(root, findings, options)
    return findings


def named(findings: Findings, code: str) -> dict[str, str]:
    """Where a fault is, with its example."""
    return {
        where: example
        for found in findings.all()
        if found.kind.code == code
        for where, example in zip_longest(found.where, found.examples, fillvalue="")
    }


@pytest.fixture
def coco(shapes: Path, tmp_path: Path) -> Path:
    shutil.copytree(shapes / "coco", tmp_path / "set")
    return tmp_path / "set"


def packed(file: Path) -> None:
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


def folder_in_place(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    (file / file.name).write_bytes(content)


class TestSplitsLeftOut:
    @pytest.mark.parametrize(
        ("change", "place", "what"),
        [(packed, f"{VAL}.gz", "packed"), (folder_in_place, VAL, "a folder")],
    )
    def test_files_that_are_not_read(
        self, change: Callable[[Path], None], place: str, what: str, coco: Path
    ) -> None:
        change(coco / VAL)
        findings = found_in(coco)
        assert named(findings, "split-left-out") == {place: what}
        assert any(error.kind.code == "split-left-out" for error in findings.errors())
        with pytest.raises(UserError, match=f"split-left-out: .*{place}"):
            describe(coco)  # a training, a subset
        change(coco / VAL.replace("val", "train"))
        with pytest.raises(UserError, match=r"packed, or a folder.*unpack it"):
            describe(coco)

    def test_beside_the_file_itself_it_is_no_loss(self, coco: Path) -> None:
        content = (coco / VAL).read_bytes()
        packed(coco / VAL)
        (coco / VAL).write_bytes(content)
        (coco / "annotations/captions_test2017.json.gz").write_bytes(b"")
        assert named(found_in(coco), "split-left-out") == {}

    @pytest.mark.parametrize(
        ("make", "lost", "left"),
        [
            (made.roboflow, "valid/_annotations.coco.json", "valid"),
            (made.yolo, "labels/val", "images/val"),
            (made.camvid, "valannot", "val"),
        ],
    )
    def test_images_alone(
        self, make: Callable[[Path, Path], Path], lost: str, left: str, shapes: Path, tmp_path: Path
    ) -> None:
        root = make(shapes, tmp_path / "set")
        (root / "data.yaml").unlink(missing_ok=True)
        (root / "classes.txt").write_text("\n".join(made.MAP_CLASSES[-4:]))
        place = root / lost
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        findings = Findings()
        assert list(describe(root, findings=findings).splits) == ["train"]
        assert named(findings, "split-left-out") == {left: "images alone"}
        assert [found.count for found in findings.all()] == [1]

    def test_images_to_be_tested_are_noted(self, coco: Path) -> None:
        shutil.copytree(coco / "val2017", coco / "test2017")
        findings = Findings()
        describe(coco, findings=findings)
        assert findings.all() == []
        assert "test2017: its images have no annotations, not used" in findings.notes

    def test_folders_of_one_file(self, shapes: Path, tmp_path: Path) -> None:
        root = made.one_file(shapes, tmp_path / "set")
        content = json.loads((root / "annotations.json").read_text())
        for image in content["images"]:
            name = image["file_name"]
            image["file_name"] = f"{name.partition('_')[0]}/{name}"
            (root / "images" / image["file_name"]).parent.mkdir(exist_ok=True)
            (root / "images" / name).rename(root / "images" / image["file_name"])
        made.write_json(root / "annotations.json", content)
        assert {found.kind.code for found in found_in(root).all()} == {"images-lost"}

    def test_a_file_whose_name_says_no_split(self, coco: Path) -> None:
        (coco / VAL).rename(coco / "annotations/holdout.json")
        findings = named(found_in(coco), "split-left-out")
        assert findings["annotations/holdout.json"] == "its name says no split"

    def test_a_division_is_suggested(self, coco: Path) -> None:
        assert found_in(coco).notes == []
        file = coco / VAL.replace("val", "train")
        assert any("--split 0.8" in line for line in found_in(file).notes)
        findings = Findings()
        describe(file, LayoutOptions(split=0.8), findings)
        assert findings.notes == []
        describe(coco / VAL, findings=findings)
        assert findings.notes == []


class TestImagesOfEqualNames:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Records of images that lie in ``photos/a`` and in ``photos/b``."""
        file = coco_files.write(tmp_path / "set")
        root = tmp_path / "set"
        for folder in ("a", "b"):
            shutil.copytree(root / "train", root / "photos" / folder)
        shutil.rmtree(root / "train")
        return file

    def test_both_are_named(self, file: Path) -> None:
        with pytest.raises(UserError, match=r"001.png is in .*photos/a and in .*photos/b"):
            describe(file.parents[1])

    def test_of_a_part_of_the_names(self, file: Path) -> None:
        for name in ("001.png", "002.png", "004.png"):
            (file.parents[1] / "photos/b" / name).unlink()
        with pytest.raises(UserError, match=r"003.png is in .*photos/a and in .*photos/b"):
            describe(file.parents[1])

    def test_what_is_said_is_taken(self, file: Path) -> None:
        folder = file.parents[1] / "photos/b"
        options = LayoutOptions(images=folder)
        assert describe(file, options).splits["train"].images == folder

    def test_a_link_is_the_same_folder(self, file: Path) -> None:
        photos = file.parents[1] / "photos"
        shutil.rmtree(photos / "b")
        (photos / "b").symlink_to(photos / "a")
        assert describe(file).splits["train"].images == photos / "a"

    def test_a_missing_image_makes_no_other_split_of_it(self, coco: Path) -> None:
        (coco / "val2017/000000.png").unlink()
        assert describe(coco).splits["val"].images == coco / "val2017"

    def test_the_usual_folder_is_meant(self, file: Path) -> None:
        photos = file.parents[1] / "photos"
        (photos / "a").rename(file.parents[1] / "train")
        assert describe(file).splits["train"].images == file.parents[1] / "train"


def renamed(file: Path, names: dict[str, str]) -> None:
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["name"] = names.get(category["name"], category["name"])
    file.write_text(json.dumps(content))


class TestClasses:
    def test_that_differ_between_splits(self, coco: Path) -> None:
        renamed(coco / VAL, {"square": "star", "circle": " Circle"})
        (coco / "val2017/000000.png").unlink()
        findings = found_in(coco)
        (example,) = named(findings, "split-classes-differ").values()
        assert "instances_train2017.json: circle, square; only in this one:  Circle" in example
        assert "'circle' and ' Circle' differ in case or spaces alone" in example
        assert {found.kind.code for found in findings.errors()} == {
            *("split-classes-differ", "image-missing"),
        }
        assert main(["data", "check", str(coco)]) == 1
        with pytest.raises(UserError, match="split-classes-differ"):
            describe(coco)

    def test_that_all_splits_have(self, coco: Path) -> None:
        renamed(coco / VAL, {"square": "star"})
        assert found_in(coco, LayoutOptions(classes="circle,triangle")).errors() == []

    def test_of_maps(self, shapes: Path, tmp_path: Path) -> None:
        root = made.camvid(shapes, tmp_path / "set")
        shutil.move(root / "classes.txt", root / "train")
        (root / "val/classes.txt").write_text("background\nsquare\ncircle\ntriangle\n")
        (example,) = named(found_in(root), "split-classes-differ").values()
        assert "order differs" in example

    def test_written_in_two_ways(self, coco: Path) -> None:
        for split in made.SPLITS:
            renamed(coco / VAL.replace("val", split), {"square": "CIRCLE "})
        assert list(named(found_in(coco), "classes-alike")) == ["'circle' and 'CIRCLE '"]

    def test_given_in_another_way(self, coco: Path) -> None:
        with pytest.raises(UserError, match="no class Circle.*; write 'circle' for 'Circle'"):
            describe(coco, LayoutOptions(classes="Circle"))

    def test_of_voc(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "set")
        names = LayoutOptions(classes="Circle,square,triangle")
        example = next(iter(named(found_in(root, names), "voc-object-name").values()))
        assert example == "circle (the list has 'Circle')"
