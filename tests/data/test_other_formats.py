"""Formats of other tools are named with what to do, and rarer forms of known ones are read."""

import json
import shutil
from pathlib import Path

import data_layouts as made
import pytest
import yaml
from PIL import Image

from casvit_dense.data.checks.check import check_path
from casvit_dense.data.description import read_description, write_description
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import coco_content
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions

LABELME = {"version": "5.2", "shapes": [], "imagePath": "1.jpg", "imageData": None}
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 8, "width": 8}, "objects": []}
LABEL_STUDIO = [{"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/1.jpg"}}]
VIA = {"1.jpg123": {"filename": "1.jpg", "size": 123, "regions": [], "file_attributes": {}}}
CREATE_ML = [{"image": "1.jpg", "annotations": [{"label": "a", "coordinates": {}}]}]


def picture(file: Path, mode: str = "RGB") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8)).save(file)
    return file


class TestNamed:
    @pytest.mark.parametrize(
        ("file", "content", "named"),
        [
            ("project-1.json", LABEL_STUDIO, "Label Studio's own JSON.*export as COCO or YOLO"),
            ("annotations/train.json", LABEL_STUDIO, "Label Studio's own JSON"),
            ("1.json", LABELME, "LabelMe's JSON.*labelme2coco.py"),
            ("train/1.json", LABELME, "LabelMe's JSON"),
            ("ds0/ann/1.jpg.json", SUPERVISELY, "Supervisely's JSON.*Export to COCO"),
            ("meta.json", {"classes": [], "tags": []}, "Supervisely's JSON"),
            ("via_region_data.json", VIA, "VGG Image Annotator's JSON"),
            ("x.json", {"_via_img_metadata": VIA}, "VGG Image Annotator's JSON"),
            ("_annotations.createml.json", CREATE_ML, "CreateML's JSON: export as COCO"),
        ],
    )
    def test_json(self, file: str, content: object, named: str, tmp_path: Path) -> None:
        picture(tmp_path / "img/1.jpg")
        path = made.write_json(tmp_path / file, content)
        for place in (tmp_path, path):
            with pytest.raises(UserError, match=named):
                describe(place)

    def test_cvat(self, tmp_path: Path) -> None:
        picture(tmp_path / "images/1.jpg")
        (tmp_path / "annotations.xml").write_text("<?xml version='1.0'?>\n<annotations/>")
        with pytest.raises(UserError, match=r"annotations.xml is CVAT for images: export as COCO"):
            describe(tmp_path)

    @pytest.mark.parametrize("content", [b"{", b"[1, 2]", b'[{"a": 1}]', b"{}", b"[]", b"\xff"])
    def test_any_other_json_is_not(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(content)
        (tmp_path / "y.xml").write_bytes(content)
        with pytest.raises(UserError, match=r"There are: x.json, y.xml. Give"):
            describe(tmp_path)


class TestCityscapes:
    KINDS = ("color", "instanceIds", "labelIds", "labelTrainIds")

    def make(self, root: Path, kinds: tuple[str, ...]) -> Path:
        for split in ("train", "val"):
            for number in (1, 2):
                stem = f"{split}/bonn/bonn_{number:06}_000019"
                picture(root / f"leftImg8bit/{stem}_leftImg8bit.png")
                for kind in kinds:
                    picture(root / f"gtFine/{stem}_gtFine_{kind}.png", "L")
                made.write_json(root / f"gtFine/{stem}_gtFine_polygons.json", {})
        return root

    def test_maps_of_training_are_taken(self, tmp_path: Path) -> None:
        from mmseg.datasets import CityscapesDataset

        found = describe(self.make(tmp_path, self.KINDS))
        assert found.map_suffix == "_gtFine_labelTrainIds.png"
        assert found.image_suffix == "_leftImg8bit.png"
        assert found.classes == list(CityscapesDataset.METAINFO["classes"])
        assert describe(tmp_path, LayoutOptions(classes="a,b")).classes == ["a", "b"]

    def test_without_them_all_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"color.png, .*_labelIds.png.*map_suffix.*labelTrain"):
            describe(self.make(tmp_path, self.KINDS[:3]), LayoutOptions(classes="a,b"))


class TestVoc:
    def test_in_labels(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        (root / "Annotations").rename(root / "labels")
        (root / "JPEGImages").rename(root / "images")
        shutil.rmtree(root / "ImageSets")
        found = describe(root)
        assert (found.layout, list(found.splits)) == ("voc", ["train"])
        assert found.splits["train"].annotations == root / "labels"

    def test_in_labels_by_split(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        for split in made.SPLITS:
            for file in [*root.glob(f"*/{split}_*.xml"), *root.glob(f"*/{split}_*.png")]:
                folder = root / ("labels" if file.suffix == ".xml" else "images") / split
                folder.mkdir(parents=True, exist_ok=True)
                file.rename(folder / file.name)
        for folder in ("Annotations", "JPEGImages", "ImageSets"):
            shutil.rmtree(root / folder)
        findings = Findings()
        check_path(root, findings)
        assert findings.errors() == []
        assert {name: facts["images"] for name, facts in findings.splits.items()} == {
            split: len(list((root / "images" / split).iterdir())) for split in made.SPLITS
        }


class TestListsOfFolders:
    @pytest.fixture
    def yolo(self, shapes: Path, tmp_path: Path) -> Path:
        """Training images in a folder, in another one elsewhere, and in a list of files."""
        root = made.yolo(shapes, tmp_path / "y")
        images = sorted((root / "images/train").iterdir())
        for image, folder in ((images[0], "more/images"), (images[1], "listed/images")):
            for file in (image, root / "labels/train" / f"{image.stem}.txt"):
                target = root / folder.replace("images", "labels" * (file != image) or "images")
                target.mkdir(parents=True)
                file.rename(target / file.name)
        (root / "listed/some.txt").write_text(f"images/{images[1].name}\n")
        parts = ["images/train", "more/images", "listed/some.txt"]
        content = yaml.safe_load((root / "data.yaml").read_text()) | {"train": parts}
        (root / "data.yaml").write_text(yaml.safe_dump(content))
        return root

    def test_all_are_read(self, yolo: Path, shapes: Path, tmp_path: Path) -> None:
        whole = made.yolo(shapes, tmp_path / "whole")
        contents = []
        for root in (whole, yolo):
            findings = Findings()
            content = coco_content(describe(root), "train", findings)
            assert findings.all() == []
            names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
            for image in content["images"]:
                assert (describe(root).splits["train"].images / image["file_name"]).is_file()
            contents.append(
                sorted(
                    json.dumps([names[a["image_id"]], a["bbox"], a["category_id"]])
                    for a in content["annotations"]
                )
            )
            assert len(names) == 10
        assert contents[0] == contents[1]

    def test_they_are_described(self, yolo: Path, tmp_path: Path) -> None:
        found = describe(yolo)
        write_description(found, tmp_path / "d.yaml")
        assert read_description(tmp_path / "d.yaml") == found
        findings = Findings()
        check_path(yolo, findings)
        assert (findings.errors(), findings.splits["train"]["images"]) == ([], 10)

    def test_labels_alone_are_found_in_each(self, yolo: Path) -> None:
        (yolo / "more/labels/lost.txt").write_text("")
        findings = Findings()
        check_path(yolo, findings)
        (lost,) = (found for found in findings.all() if found.kind.code == "labels-without-image")
        assert lost.where == ["lost.txt"]
