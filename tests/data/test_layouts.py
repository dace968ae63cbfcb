"""What is found at a path: layouts, splits, classes, suffixes; and what cannot be guessed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import data_layouts as made
import numpy as np
import pytest
import yaml
from PIL import Image

from casvit_dense.data.checks.check import check
from casvit_dense.data.description import DataDescription, read_description, write_description
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.describe import LayoutOptions, describe
from casvit_dense.errors import UserError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shapes(tmp_path_factory.mktemp("shapes") / "set")


def places(found: DataDescription, root: Path) -> dict[str, tuple[str, str]]:
    """Images and annotations of each split, relative to the set."""
    return {
        name: (
            split.images.relative_to(root).as_posix(),
            split.annotations.relative_to(root).as_posix() if split.annotations else "",
        )
        for name, split in found.splits.items()
    }


def picture(file: Path, size: int = 8) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(file)
    return file


def index_map(file: Path, size: int = 8) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size, size), np.uint8)).save(file)
    return file


def coco(file: Path, *names: str, categories: tuple[str, ...] = ("cat", "dog")) -> Path:
    """A COCO file of images with one box each, of the first category."""
    return made.write_json(
        file,
        {
            "images": [
                {"id": n, "file_name": name, "width": 8, "height": 8}
                for n, name in enumerate(names, 1)
            ],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}
                for n in range(1, len(names) + 1)
            ],
            "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        },
    )


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
        with pytest.raises(UserError, match="dog; only in the former: cow"):
            describe(tmp_path)
        coco(tmp_path / "annotations/val.json", "a.png", categories=("dog", "cat"))
        with pytest.raises(UserError, match="another order"):
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
        (root / "data.yaml").write_text(f"{folders}names: " + "[" * 5000)
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
            ("train", ["images/train", "images/val"], "give one folder"),
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


class TestOptions:
    def test_division(self, shapes: Path, tmp_path: Path) -> None:
        root = made.one_file(shapes, tmp_path / "o")
        found = describe(root, LayoutOptions(split=0.8, seed=3, group_by="_"))
        assert found.division is not None
        assert (found.division.share, found.division.seed) == (0.8, 3)
        with pytest.raises(UserError, match="train, val"):
            describe(shapes / "coco", LayoutOptions(split=0.8))
        with pytest.raises(UserError, match="share"):
            describe(root, LayoutOptions(split=1.0))

    def test_task_of_a_folder_with_both(self, shapes: Path, tmp_path: Path) -> None:
        root = made.camvid(shapes, tmp_path / "c")
        coco(root / "annotations/train.json", "train_000000.png")
        assert describe(root).task == "detection"
        assert describe(root, LayoutOptions(task="segmentation")).task == "segmentation"
        (root / "classes.txt").unlink()
        shutil.rmtree(root / "trainannot")
        shutil.rmtree(root / "valannot")
        assert describe(root, LayoutOptions(task="segmentation")).task == "detection"

    @pytest.mark.parametrize("classes", ["", "a,,b", "a,b,a", "nowhere.txt"])
    def test_wrong_classes(self, classes: str, shapes: Path) -> None:
        with pytest.raises(UserError, match="empty name|there twice|no file of classes"):
            describe(shapes / "coco", LayoutOptions(classes=classes))


class TestDescription:
    @pytest.mark.parametrize(
        "make", [made.roboflow, made.one_file, made.yolo, made.voc, made.camvid]
    )
    def test_written_and_read(
        self, make: Callable[[Path, Path], Path], shapes: Path, tmp_path: Path
    ) -> None:
        found = describe(make(shapes, tmp_path / "set"))
        write_description(found, tmp_path / "d.yaml")
        assert read_description(tmp_path / "d.yaml") == found
        assert describe(tmp_path / "d.yaml") == found

    def test_of_a_person(self, tmp_path: Path) -> None:
        (tmp_path / "set.yaml").write_text(
            "task: segmentation\nclasses: [road, sky]\nignore_label: 11\n"
            "splits:\n  train: {images: a, annotations: b}\n"
        )
        found = describe(tmp_path)
        assert places(found, tmp_path) == {"train": ("a", "b")}
        assert found.ignore_label == 11
        assert describe(tmp_path, LayoutOptions(ignore_label=7)).ignore_label == 7
        (tmp_path / "set.yaml").write_text("splits: 3\n")
        with pytest.raises(UserError, match="set.yaml"):
            describe(tmp_path)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        describe(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="Looked for: COCO.*There are: a/, b/, notes.txt"):
        describe(tmp_path)
    with pytest.raises(UserError, match="give a folder"):
        describe(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LayoutOptions(ignore_label=3), "data for detection.*--ignore-label does not fit"),
        (LayoutOptions(group_by="_"), "--group-by is for --split"),
    ],
)
def test_what_has_no_effect_is_refused(
    options: LayoutOptions, message: str, tmp_path: Path
) -> None:
    coco(tmp_path / "annotations/train.json", "a.png")
    with pytest.raises(UserError, match=message):
        describe(tmp_path, options)
