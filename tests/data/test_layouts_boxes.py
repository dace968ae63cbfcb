"""What is found in a YOLO or Pascal VOC set."""

import shutil
from pathlib import Path

import data_layouts as made
import pytest
import yaml
from data_layouts import picture, places

from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


class TestYolo:
    @pytest.mark.parametrize("polygons", [False, True])
    def test_generated_set(self, shapes: Path, tmp_path: Path, polygons: bool) -> None:
        root = made.yolo(shapes, tmp_path / "y", polygons)
        found = describe(root)
        assert (found.task, found.layout, found.masks) == ("detection", "yolo", polygons)
        assert found.classes == made.CLASSES
        expected = {split: (f"images/{split}", f"labels/{split}") for split in made.SPLITS}
        assert places(found, root) == expected
        assert describe(root / "data.yaml") == found

    def test_roboflow(self, tmp_path: Path) -> None:
        for folder in ("train", "valid"):
            picture(tmp_path / folder / "images/a.png")
            (tmp_path / folder / "labels").mkdir()
        (tmp_path / "data.yaml").write_text(
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
            "nc: 2\nnames: ['cat', 'dog']\n"
        )
        assert places(describe(tmp_path), tmp_path) == {
            "train": ("train/images", "train/labels"),
            "val": ("valid/images", "valid/labels"),
        }

    def test_without_yaml(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        (root / "data.yaml").unlink()
        with pytest.raises(UserError, match="no class names"):
            describe(root)
        assert describe(root, LayoutOptions(classes="a,b,c")).classes == ["a", "b", "c"]
        (root / "classes.txt").write_text("a\nb\nc\n")
        assert describe(root).classes == ["a", "b", "c"]

    def test_no_labels(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        shutil.rmtree(root / "labels/val")
        with pytest.raises(UserError, match="val: no folder .*labels/val with label files"):
            describe(root)

    def test_names_are_text(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        folders = "train: images/train\nval: images/val\ntest:\n"
        (root / "data.yaml").write_text(f"{folders}nc: 3\nnames: [no, 1, 1.0]\n")
        assert describe(root).classes == ["no", "1", "1.0"]
        (root / "data.yaml").write_text(f"{folders}names: " + "[" * 1000)
        with pytest.raises(UserError, match="not YAML"):
            describe(root)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("names", ["a", "a"], "same name"),
            ("names", {1: "a", 2: "b"}, "number the classes 0 to 1"),
            ("names", "a", "give a list of class names"),
            ("nc", 7, "nc is 7, but there are 3 names"),
            ("val", "nowhere", "val: no nowhere"),
            ("train", [["images/train"]], "give folders or lists"),
            ("train", ["images/train", "images/more"], "train: no images/more"),
        ],
    )
    def test_wrong_yaml(
        self, key: str, value: object, message: str, shapes: Path, tmp_path: Path
    ) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        content = yaml.safe_load((root / "data.yaml").read_text()) | {key: value}
        (root / "data.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(UserError, match=message):
            describe(root)

    def test_key_points_are_no_polygons(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        with (root / "data.yaml").open("a") as file:
            file.write("kpt_shape: [4, 2]\n")
        with pytest.raises(UserError, match="labels hold key points"):
            describe(root)

    def test_written_on_windows(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        expected = describe(root)
        text = (root / "data.yaml").read_text().replace("images/", "images\\")
        (root / "data.yaml").write_text(text)
        assert describe(root) == expected

    @pytest.mark.parametrize(
        ("image", "names", "split"),
        [
            ("a.png", "classes.txt", "train"),
            ("obj_train_data/a.png", "obj.names", "train"),
            ("obj_Validation_data/in/a.png", "obj.names", "val"),
        ],
    )
    def test_beside_the_images(self, image: str, names: str, split: str, tmp_path: Path) -> None:
        file = picture(tmp_path / image).with_suffix(".txt")
        file.write_text("1 0.5 0.5 0.5 0.5\n")
        with pytest.raises(UserError, match="no data set"):
            describe(tmp_path)
        (tmp_path / names).write_text("cat\ndog\n")
        folder = Path(image).parts[0] if "/" in image else "."
        assert places(describe(tmp_path), tmp_path) == {split: (folder, folder)}

    def test_number_of_given_classes(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        with pytest.raises(UserError, match="has 3 classes .* 2 are given"):
            describe(root, LayoutOptions(classes="a,b"))


class TestVoc:
    def test_generated_set(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        found = describe(root)
        assert (found.task, found.layout, found.masks) == ("detection", "voc", False)
        assert found.classes == made.CLASSES
        assert places(found, root) == {s: ("JPEGImages", "Annotations") for s in made.SPLITS}
        assert found.splits["val"].files == root / "ImageSets/Main/val.txt"

    def test_as_unpacked(self, shapes: Path, tmp_path: Path) -> None:
        made.voc(shapes, tmp_path / "VOCdevkit" / "VOC2012")
        assert describe(tmp_path / "VOCdevkit").layout == "voc"

    def test_beside_the_images(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        for split in made.SPLITS:
            (tmp_path / "r" / split).mkdir(parents=True)
            for file in [*root.glob(f"*/{split}_*.xml"), *root.glob(f"*/{split}_*.png")]:
                shutil.copy(file, tmp_path / "r" / split)
        assert places(describe(tmp_path / "r"), tmp_path / "r") == {
            "train": ("train", "train"),
            "val": ("val", "val"),
        }

    def test_one_folder_for_all(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        (tmp_path / "r").mkdir()
        for file in [*root.glob("*/*.xml"), *root.glob("*/*.png")]:
            shutil.copy(file, tmp_path / "r")
        assert places(describe(tmp_path / "r"), tmp_path / "r") == {"train": (".", ".")}
