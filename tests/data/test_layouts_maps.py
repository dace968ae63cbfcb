"""What is found in a set of images and index maps: folders, suffixes, classes."""

from pathlib import Path

import data_layouts as made
import pytest
from data_layouts import index_map, picture, places

from casvit_dense.data.checks.check import check
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


class TestMaps:
    def test_camvid(self, shapes: Path, tmp_path: Path) -> None:
        root = made.camvid(shapes, tmp_path / "c")
        found = describe(root, LayoutOptions(ignore_label=11))
        assert (found.task, found.layout) == ("segmentation", "maps")
        assert found.classes == made.MAP_CLASSES
        assert (found.ignore_label, found.reduce_zero_label) == (11, False)
        assert (found.image_suffix, found.map_suffix) == (".png", ".png")
        assert places(found, root) == {s: (s, f"{s}annot") for s in made.SPLITS}

    @pytest.mark.parametrize(
        ("image", "label_map", "suffixes"),
        [
            ("images/train/1.jpg", "masks/train/1.png", (".jpg", ".png")),
            ("images/training/1.jpg", "annotations/training/1.png", (".jpg", ".png")),
            ("images/train/1.jpg", "labels/train/1.png", (".jpg", ".png")),
            ("train/images/1.png", "train/masks/1.png", (".png", ".png")),
            ("train/1.png", "train_labels/1_L.png", (".png", "_L.png")),
            ("images/1.JPG", "masks/1_mask.tif", (".JPG", "_mask.tif")),
            ("img_dir/train/1.jpg", "ann_dir/train/1.png", (".jpg", ".png")),
            ("Train/Images/1.jpg", "Train/Labels/1.png", (".jpg", ".png")),
            ("train/1.jpg", "train/1_mask.png", (".jpg", "_mask.png")),
            (
                "leftImg8bit/train/x/1_leftImg8bit.png",
                "gtFine/train/x/1_gtFine_ids.png",
                ("_leftImg8bit.png", "_gtFine_ids.png"),
            ),
        ],
    )
    def test_folders_and_suffixes(
        self, image: str, label_map: str, suffixes: tuple[str, str], tmp_path: Path
    ) -> None:
        for number in ("1", "10", "2"):
            picture(tmp_path / image.replace("1", number))
            index_map(tmp_path / label_map.replace("1", number))
        found = describe(tmp_path, LayoutOptions(classes="a,b"))
        assert (found.image_suffix, found.map_suffix) == suffixes
        assert list(found.splits) == ["train"]

    def test_voc(self, tmp_path: Path) -> None:
        for number in range(4):
            picture(tmp_path / f"JPEGImages/{number}.jpg")
        for number in range(3):
            index_map(tmp_path / f"SegmentationClass/{number}.png")
        lists = tmp_path / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("0\n1\n")
        (lists / "val.txt").write_text("2\n")
        found = describe(tmp_path, LayoutOptions(classes="a,b"))
        assert places(found, tmp_path)["val"] == ("JPEGImages", "SegmentationClass")
        assert found.splits["val"].files == lists / "val.txt"
        findings = Findings()
        check(found, findings)
        assert [findings.splits[name]["images"] for name in ("train", "val")] == [2, 1]
        assert {finding.kind.code for finding in findings.all()} <= {
            *("map-one-class", "map-class-without-pixels", "image-twice", "image-shared"),
        }

    def test_maps_among_images(self, tmp_path: Path) -> None:
        for folder in ("train", "valid"):
            picture(tmp_path / folder / "a.jpg")
            index_map(tmp_path / folder / "a_mask.png")
            (tmp_path / folder / "_classes.csv").write_text(
                "Pixel Value, Class\n0, background\n1, cat\n"
            )
        found = describe(tmp_path)
        assert found.classes == ["background", "cat"]
        assert places(found, tmp_path)["val"] == ("valid", "valid")
        findings = Findings()
        check(found, findings)
        codes = {finding.kind.code for finding in findings.all()}
        assert not codes & {"map-image-suffix", "map-missing", "map-without-image"}

    def test_ade20k(self, tmp_path: Path) -> None:
        inner = tmp_path / "ADEChallengeData2016"
        for folder, split in (("training", "train"), ("validation", "val")):
            picture(inner / f"images/{folder}/ADE_{split}_00000001.jpg")
            index_map(inner / f"annotations/{folder}/ADE_{split}_00000001.png")
        found = describe(tmp_path)
        assert (found.layout, found.reduce_zero_label, found.ignore_label) == ("ade20k", True, 255)
        assert list(found.splits) == ["train", "val"]
        from mmseg.datasets import ADE20KDataset

        # One of its names ends in a blank.
        assert found.classes == [name.strip() for name in ADE20KDataset.METAINFO["classes"]]

    def test_other_classes_on_images_of_ade20k(self, tmp_path: Path) -> None:
        picture(tmp_path / "train/ADE_train_00000001.jpg")
        index_map(tmp_path / "trainannot/ADE_train_00000001.png")
        (tmp_path / "classes.txt").write_text("road\nsky\nvoid\n")
        found = describe(tmp_path, LayoutOptions(ignore_label=2))
        assert (found.layout, found.reduce_zero_label) == ("maps", False)
        assert (found.classes, found.ignore_label) == (["road", "sky"], 2)

    @pytest.mark.parametrize("name", ["classes.txt", "names.txt", "labels.txt"])
    def test_classes_of_a_file(self, name: str, tmp_path: Path) -> None:
        picture(tmp_path / "images/a.jpg")
        index_map(tmp_path / "masks/a.png")
        (tmp_path / name).write_text("road\r\nsky\r\n", encoding="utf-8-sig")
        assert describe(tmp_path).classes == ["road", "sky"]

    def test_classes_of_a_table(self, tmp_path: Path) -> None:
        picture(tmp_path / "images/a.jpg")
        index_map(tmp_path / "masks/a.png")
        (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,0,0,0\nsky,1,2,3\n")
        assert describe(tmp_path).classes == ["road", "sky"]

    @pytest.mark.parametrize(
        ("classes", "ignore", "names", "label", "zero"),
        [
            ("road,sky,void", 2, ["road", "sky"], 2, False),
            ("road,sky", 11, ["road", "sky"], 11, False),
            ("road,sky", 0, ["road", "sky"], 255, True),
        ],
    )
    def test_ignored_label(
        self, classes: str, ignore: int, names: list[str], label: int, zero: bool, tmp_path: Path
    ) -> None:
        picture(tmp_path / "images/a.jpg")
        index_map(tmp_path / "masks/a.png")
        found = describe(tmp_path, LayoutOptions(classes=classes, ignore_label=ignore))
        assert (found.classes, found.ignore_label, found.reduce_zero_label) == (names, label, zero)

    def test_what_cannot_be_guessed(self, tmp_path: Path) -> None:
        picture(tmp_path / "images/a.jpg")
        index_map(tmp_path / "masks/b.png")
        with pytest.raises(UserError, match="no map is called as an image"):
            describe(tmp_path)
        index_map(tmp_path / "masks/a.png")
        with pytest.raises(UserError, match="without class names.*classes.txt.*--classes"):
            describe(tmp_path)
        index_map(tmp_path / "masks/a_color.png")
        with pytest.raises(UserError, match="several maps each"):
            describe(tmp_path)
