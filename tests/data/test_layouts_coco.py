"""What is found in a COCO or Roboflow set."""

import json
import shutil
from pathlib import Path

import data_layouts as made
import pytest
from data_layouts import coco, picture, places

from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


class TestCoco:
    def test_generated_set(self, shapes: Path) -> None:
        found = describe(shapes / "coco")
        assert (found.task, found.layout, found.masks) == ("detection", "coco", True)
        assert found.classes == made.CLASSES
        assert places(found, shapes / "coco") == {
            "train": ("train2017", "annotations/instances_train2017.json"),
            "val": ("val2017", "annotations/instances_val2017.json"),
        }

    def test_roboflow(self, shapes: Path, tmp_path: Path) -> None:
        findings = Findings()
        found = describe(made.roboflow(shapes, tmp_path / "r"), findings=findings)
        assert found.layout == "roboflow"
        assert found.classes == made.CLASSES
        assert places(found, tmp_path / "r")["val"] == ("valid", "valid/_annotations.coco.json")
        (note,) = findings.notes
        assert "'project'" in note

    @pytest.mark.parametrize(
        ("annotations", "images"),
        [
            ("train.json", "images/train"),
            ("train.json", "train"),
            ("annotations/train.json", "train/images"),
            ("annotations/instances_default.json", "images/default"),
            ("annotations/my_train2.json", "pictures/of/train"),
            ("train/labels.json", "train/data"),
            ("result.json", "images"),
            ("training/annotations.json", "training"),
        ],
    )
    def test_where_the_listed_images_are(
        self, annotations: str, images: str, tmp_path: Path
    ) -> None:
        file = coco(tmp_path / annotations, "a.png", "b.png")
        for name in ("a.png", "b.png"):
            picture(tmp_path / images / name)
        picture(tmp_path / "other" / "c.png")
        assert places(describe(tmp_path), tmp_path) == {"train": (images, annotations)}
        assert describe(file).splits["train"].images == tmp_path / images

    def test_names_with_folders(self, tmp_path: Path) -> None:
        coco(tmp_path / "annotations/val.json", "images/val/a.png")
        picture(tmp_path / "images/val/a.png")
        assert places(describe(tmp_path), tmp_path) == {"val": (".", "annotations/val.json")}

    def test_files_of_other_tasks(self, tmp_path: Path) -> None:
        for kind in ("captions", "person_keypoints", "instances", "panoptic"):
            coco(tmp_path / f"annotations/{kind}_val2017.json", "a.png")
        coco(tmp_path / "annotations/image_info_test2017.json", "a.png")
        for split in ("val2017", "test2017"):
            picture(tmp_path / split / "a.png")
        assert places(describe(tmp_path), tmp_path) == {
            "val": ("val2017", "annotations/instances_val2017.json"),
            "test": ("test2017", "annotations/image_info_test2017.json"),
        }

    def test_wrong_names_are_left_to_the_check(self, tmp_path: Path) -> None:
        coco(tmp_path / "annotations/train.json", "images\\a.png")
        picture(tmp_path / "train/a.png")
        assert places(describe(tmp_path), tmp_path)["train"][0] == "train"

    def test_order_of_the_file(self, tmp_path: Path) -> None:
        file = coco(tmp_path / "train.json", "a.png", categories=("zebra", "ant"))
        content = json.loads(file.read_text())
        content["categories"].reverse()  # ids 2, 1, as mmdet numbers labels
        file.write_text(json.dumps(content))
        picture(tmp_path / "images/a.png")
        assert describe(file).classes == ["ant", "zebra"]

    def test_a_file_alone(self, shapes: Path, tmp_path: Path) -> None:
        root = made.roboflow(shapes, tmp_path / "latest")
        assert list(describe(root / "valid/_annotations.coco.json").splits) == ["val"]
        file = shapes / "coco/annotations/instances_val2017.json"
        assert list(describe(file).splits) == ["val"]

    def test_many_classes(self, tmp_path: Path) -> None:
        names = [f"class number {n}" for n in range(100)]
        coco(tmp_path / "train.json", "a.png", categories=tuple(names))
        assert describe(tmp_path, LayoutOptions(classes=",".join(names))).classes == names

    def test_chosen_classes(self, shapes: Path, tmp_path: Path) -> None:
        options = LayoutOptions(classes="triangle, circle")
        assert describe(shapes / "coco", options).classes == ["circle", "triangle"]
        (tmp_path / "c.txt").write_text("square\n")
        options = LayoutOptions(classes=str(tmp_path / "c.txt"))
        assert describe(shapes / "coco", options).classes == ["square"]
        with pytest.raises(UserError, match="no class star.*circle, square, triangle"):
            describe(shapes / "coco", LayoutOptions(classes="star"))

    def test_masks_of_most_objects(self, shapes: Path, tmp_path: Path) -> None:
        shutil.copytree(shapes / "coco", tmp_path / "s")
        for split in made.SPLITS:
            file = tmp_path / f"s/annotations/instances_{split}2017.json"
            content = json.loads(file.read_text())
            for annotation in content["annotations"][1:]:
                annotation["segmentation"] = []
            file.write_text(json.dumps(content))
        assert not describe(tmp_path / "s").masks

    def test_an_unused_category_stays(self, tmp_path: Path) -> None:
        coco(tmp_path / "train.json", "a.png")  # no object is a dog
        picture(tmp_path / "images/a.png")
        assert describe(tmp_path).classes == ["cat", "dog"]

    def test_classes_that_differ(self, tmp_path: Path) -> None:
        coco(tmp_path / "annotations/train.json", "a.png")
        coco(tmp_path / "annotations/val.json", "a.png", categories=("cat", "cow"))
        picture(tmp_path / "images/a.png")
        with pytest.raises(UserError, match="dog; only in this one: cow"):
            describe(tmp_path)
        coco(tmp_path / "annotations/val.json", "a.png", categories=("dog", "cat"))
        with pytest.raises(UserError, match="order differs"):
            describe(tmp_path)

    def test_unreadable_files_are_found(self, tmp_path: Path) -> None:
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations/train.json").write_text("{")
        picture(tmp_path / "train/a.png")
        findings = Findings()
        with pytest.raises(UserError, match="train.json"):
            describe(tmp_path, findings=findings)
        assert [found.kind.code for found in findings.errors()] == ["json-unreadable"]

    def test_several_files(self, tmp_path: Path) -> None:
        for name in ("train_a.json", "train_b.json"):
            coco(tmp_path / "annotations" / name, "a.png")
        with pytest.raises(UserError, match="several annotation files.*train_a.json, train_b.json"):
            describe(tmp_path)

    def test_no_images(self, tmp_path: Path) -> None:
        coco(tmp_path / "annotations/train.json", "a.png")
        assert describe(tmp_path).splits["train"].images == tmp_path  # the check will miss them

    def test_given_images(self, tmp_path: Path) -> None:
        file = coco(tmp_path / "x/train.json", "a.png")
        picture(tmp_path / "far/away/a.png")
        found = describe(file, LayoutOptions(images=tmp_path / "far/away"))
        assert found.splits["train"].images == tmp_path / "far/away"
        with pytest.raises(UserError, match="no image folder"):
            describe(file, LayoutOptions(images=tmp_path / "nowhere"))
