"""YOLO and VOC become COCO files, sets are divided, and every line that is not read is found."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import data_layouts as made
import numpy as np
import pytest
from hotcoco import COCO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from casvit_dense.cli import main
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.description import DataDescription, Division, Split
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import coco_content, divide, materialise
from casvit_dense.data.layouts.describe import LayoutOptions, describe
from casvit_dense.errors import UserError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shapes(tmp_path_factory.mktemp("shapes") / "set", train=12, val=4)


def read(file: Path | None) -> dict[str, Any]:
    assert file is not None
    return json.loads(file.read_text())


def objects(content: dict[str, Any], crowds: bool = True) -> dict[str, list[Any]]:
    """Class and box (to a tenth of a pixel) of the objects of each image, by its name."""
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    classes = {category["id"]: category["name"] for category in content["categories"]}
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for a in content["annotations"]:
        if crowds or not a["iscrowd"]:
            box = [round(edge, 1) for edge in a["bbox"]]
            found[names[a["image_id"]]].append((classes[a["category_id"]], a["iscrowd"], box))
    return found


def converted(root: Path, out: Path, **options: Any) -> tuple[DataDescription, Findings]:
    findings = Findings()
    described = describe(root, LayoutOptions(**options), findings)
    return materialise(described, out, findings), findings


class TestFigures:
    """The sources are COCO files, which hotcoco wrote as YOLO and VOC."""

    @pytest.mark.parametrize("split", made.SPLITS)
    def test_yolo_boxes(self, split: str, shapes: Path, tmp_path: Path) -> None:
        found, findings = converted(made.yolo(shapes, tmp_path / "y"), tmp_path / "o")
        assert not findings.all()
        source = made.read_split(shapes, split)
        content = read(found.splits[split].annotations)
        assert objects(content) == objects(source, crowds=False)
        assert [(i["width"], i["height"]) for i in content["images"]] == [(64, 64)] * len(
            source["images"]
        )

    def test_yolo_as_hotcoco_reads_it(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "y")
        found, _ = converted(root, tmp_path / "o")
        (root / "labels/train/data.yaml").write_text("nc: 3\nnames: [circle, square, triangle]\n")
        theirs = COCO.from_yolo(str(root / "labels/train"), images_dir=str(root / "images/train"))
        assert objects(read(found.splits["train"].annotations)) == objects(theirs.dataset)

    def test_yolo_polygons(self, shapes: Path, tmp_path: Path) -> None:
        found, findings = converted(made.yolo(shapes, tmp_path / "y", True), tmp_path / "o")
        assert found.masks
        assert not findings.all()
        content = read(found.splits["train"].annotations)
        source = made.read_split(shapes, "train")
        expected = [
            max(a["segmentation"], key=len) for a in source["annotations"] if not a["iscrowd"]
        ]
        assert len(content["annotations"]) == len(expected)
        for a, outline in zip(content["annotations"], expected, strict=True):
            assert a["segmentation"][0] == pytest.approx(outline, abs=0.011)
            mask = rle.merge(rle.frPyObjects([outline], 64, 64))
            assert a["area"] == pytest.approx(float(rle.area(mask)), abs=0.5)
            assert a["bbox"] == pytest.approx(rle.toBbox(mask).tolist(), abs=0.011)

    @pytest.mark.parametrize("split", made.SPLITS)
    def test_voc(self, split: str, shapes: Path, tmp_path: Path) -> None:
        found, findings = converted(made.voc(shapes, tmp_path / "v"), tmp_path / "o")
        assert not findings.all()
        source = made.read_split(shapes, split)
        assert any(a["iscrowd"] for a in source["annotations"])
        assert objects(read(found.splits[split].annotations)) == objects(source)

    def test_same_bytes_again(self, shapes: Path, tmp_path: Path) -> None:
        root = made.voc(shapes, tmp_path / "v")
        for out in ("a", "b"):
            converted(root, tmp_path / out)
        for split in made.SPLITS:
            first, second = (tmp_path / out / f"{split}.json" for out in ("a", "b"))
            assert first.read_bytes() == second.read_bytes()

    def test_others_come_back(self, shapes: Path, tmp_path: Path) -> None:
        described = describe(shapes / "coco")
        assert materialise(described, tmp_path / "o", Findings()) is described
        assert not (tmp_path / "o").exists()


def yolo_lines() -> st.SearchStrategy[str]:
    """Lines as tools write them, with any numbers, and with what is no number."""
    parts = st.floats(-0.2, 1.2) | st.floats() | st.integers() | st.sampled_from(["", "x", "1e999"])
    line = st.lists(parts, min_size=3, max_size=8).map(lambda row: " ".join(map(str, row)))
    label = st.integers(-1, 2).map(str)
    box = st.tuples(label, *[st.floats(0, 1).map(str)] * 4).map(" ".join)
    return line | box | st.tuples(label, line).map(" ".join)


def yolo_set(root: Path, labels: dict[str, str], size: tuple[int, int] = (200, 100)) -> Path:
    """Images of 200 x 100 pixels with these labels, two classes."""
    for name, text in labels.items():
        for folder in ("images", "labels"):
            (root / folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / "images/train" / f"{name}.png")
        (root / "labels/train" / f"{name}.txt").write_text(text)
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    return root


def content_of(root: Path, **options: Any) -> tuple[dict[str, Any], Findings]:
    findings = Findings()
    described = describe(root, LayoutOptions(**options), findings)
    return coco_content(described, "train", findings), findings


def found_in(findings: Findings) -> list[tuple[str, list[str]]]:
    return [(found.kind.code, found.where) for found in findings.all()]


class TestYolo:
    def test_by_hand(self, tmp_path: Path) -> None:
        root = yolo_set(
            tmp_path / "y",
            {"a": "1 0.5 0.5 0.25 0.5\n0.0 0.1 0.2 0.3 0.2 0.3 0.6\n\n", "sub/b": ""},
        )
        content, findings = content_of(root)
        assert not findings.all()
        assert content["images"] == [
            {"id": 1, "file_name": "a.png", "width": 200, "height": 100},
            {"id": 2, "file_name": "sub/b.png", "width": 200, "height": 100},
        ]
        assert content["annotations"] == [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [75.0, 25.0, 50.0, 50.0],
                "area": 2500.0,
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 1,
                "bbox": [20.0, 20.0, 40.0, 40.0],
                "area": 800.0,
                "iscrowd": 0,
                "segmentation": [[20.0, 20.0, 60.0, 20.0, 60.0, 60.0]],
            },
        ]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("0 0.5 0.5 0.2", "yolo-line"),
            ("0 0.5 0.5 0.2 0.2 0.9", "yolo-line"),  # with a score, as predictions have
            ("cat 0.5 0.5 0.2 0.2", "yolo-line"),
            ("0 0.5 nan 0.2 0.2", "yolo-line"),
            ("0 0,5 0,5 0,2 0,2", "yolo-line"),
            ("0 .1 .1 .2 .2 .3 .3 .4", "yolo-line"),
            ("2 0.5 0.5 0.2 0.2", "yolo-class"),
            ("-1 0.5 0.5 0.2 0.2", "yolo-class"),
            ("0.5 0.5 0.5 0.2 0.2", "yolo-class"),
            ("0 100 50 40 20", "yolo-coordinate"),
            ("0 0.95 0.5 0.2 0.2", "yolo-coordinate"),
            ("0 -0.1 .1 .5 .1 .5 .5", "yolo-coordinate"),
            ("0 0.5 0.5 0 0.2", "yolo-empty"),
            ("0 0.5 0.5 0.2 -0.2", "yolo-empty"),
            ("0 .1 .1 .5 .1 .9 .1", "yolo-empty"),
            ("1 0.5 0.5 0.4 0.4", "yolo-repeated"),
        ],
    )
    def test_lines_that_are_not_read(self, line: str, code: str, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {"a": f"1 0.5 0.5 0.4 0.4\n{line}\n"})
        content, findings = content_of(root)
        assert found_in(findings) == [(code, ["a.txt:2"])]
        assert findings.all()[0].examples == [line]
        assert [a["bbox"] for a in content["annotations"]] == [[60.0, 30.0, 80.0, 40.0]]

    def test_rounding_is_cut_at_the_edge(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {"a": "0 0.9 0.5 0.2004 1.0\n"})
        content, findings = content_of(root)
        assert not findings.all()
        assert content["annotations"][0]["bbox"] == pytest.approx([159.96, 0, 40.04, 100])

    def test_files_without_partner(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {name: "0 0.5 0.5 0.4 0.4" for name in "abc"})
        (root / "images/train/a.png").unlink()
        (root / "labels/train/b.txt").unlink()
        (root / "labels/train/classes.txt").write_text("cat\ndog\n")
        content, findings = content_of(root)
        assert [i["file_name"] for i in content["images"]] == ["b.png", "c.png"]
        assert len(content["annotations"]) == 1
        assert found_in(findings) == [("labels-without-image", ["a.txt"])]
        assert findings.notes == ["train: 1 image without a label file, read as background"]

    def test_unreadable_files(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {name: "0 0.5 0.5 0.4 0.4" for name in "abc"})
        (root / "images/train/a.png").write_bytes(b"no image")
        (root / "labels/train/b.txt").write_bytes("0 ½".encode("utf-16"))
        content, findings = content_of(root)
        assert [i["file_name"] for i in content["images"]] == ["b.png", "c.png"]
        assert found_in(findings)[:2] == [
            ("labelled-image-unreadable", ["a.png"]),
            ("labels-unreadable", ["b.txt"]),
        ]

    def test_upright_size(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {"a": "0 0.5 0.5 0.5 0.5"})
        (root / "images/train/a.png").unlink()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (200, 100)).save(root / "images/train/a.jpg", exif=exif)
        content, _ = content_of(root)
        assert (content["images"][0]["width"], content["images"][0]["height"]) == (100, 200)
        assert content["annotations"][0]["bbox"] == [25.0, 50.0, 50.0, 100.0]

    def test_list_of_images(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {name: "0 0.5 0.5 0.4 0.4" for name in "abc"})
        absolute = root / "images/train/c.png"
        (root / "train.txt").write_text(
            f"./images/train/a.png\nimages/train/nowhere.png\n{absolute}\n/\n{'x' * 300}\n"
        )
        (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
        content, findings = content_of(root)
        assert [i["file_name"] for i in content["images"]] == [
            "images/train/a.png",
            "images/train/c.png",
        ]
        assert len(content["annotations"]) == 2
        assert found_in(findings) == [
            ("listed-image-missing", ["images/train/nowhere.png", "/", "x" * 300])
        ]

    def test_list_of_images_with_polygons(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {name: "0 .1 .1 .5 .1 .5 .5" for name in "ab"})
        (root / "train.txt").write_text("images/train/a.png\n")
        (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
        assert describe(root).masks

    def test_test_images_without_labels(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {"a": "0 0.5 0.5 0.4 0.4"})
        shutil.copytree(root / "images/train", root / "images/test")
        (root / "data.yaml").write_text(
            "train: images/train\ntest: images/test\nnames: [cat, dog]\n"
        )
        found, _ = converted(root, tmp_path / "o")
        assert "annotations" not in read(found.splits["test"].annotations)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lines=st.lists(yolo_lines(), max_size=6))
    def test_every_line_is_read_or_found(
        self, lines: list[str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        root = yolo_set(tmp_path_factory.mktemp("y"), {"a": "\n".join(lines)})
        content, findings = content_of(root)
        found = sum(finding.count for finding in findings.all())
        assert len(content["annotations"]) + found == sum(bool(line.strip()) for line in lines)
        for a in content["annotations"]:
            x, y, width, height = a["bbox"]
            assert x >= 0 and y >= 0 and x + width <= 200.01 and y + height <= 100.01


def voc_set(root: Path, *files: str, suffix: str = ".jpg") -> Path:
    """Images 0, 1, … of 200 x 100 pixels with these XML files."""
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(files):
        Image.new("RGB", (200, 100)).save(root / f"JPEGImages/{number}{suffix}")
        (root / f"Annotations/{number}.xml").write_text(text)
    return root


SIZE = "<size><width>200</width><height>100</height></size>"


def xml(*boxes: Sequence[object], name: str = "cat", size: str = SIZE, more: str = "") -> str:
    text = "".join(
        f"<object><name>{name}</name>{more}<bndbox>"
        + "".join(
            f"<{edge}>{value}</{edge}>"
            for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
        )
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation>{size}{text}</annotation>"


class TestVoc:
    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            ((1, 1, 200, 100), [0, 0, 200, 100]),  # the whole image
            ((11, 21, 30, 40), [10, 20, 20, 20]),
            ((0, 0, 200, 100), [0, 0, 200, 100]),  # counted from 0
            ((10.5, 20, 30.5, 40), [10.5, 20, 20, 20]),
        ],
    )
    def test_by_hand(self, box: tuple[float, ...], expected: list[float], tmp_path: Path) -> None:
        content, findings = content_of(voc_set(tmp_path / "v", xml(box)))
        assert not findings.all()
        assert content["annotations"][0]["bbox"] == expected
        assert content["categories"] == [{"id": 1, "name": "cat"}]

    @pytest.mark.parametrize(
        ("box", "code"),
        [
            ((30, 10, 20, 40), "voc-box-reversed"),
            ((10, 40, 20, 30), "voc-box-reversed"),
            ((10, 10, 20), "voc-box"),
            (("a", 10, 20, 30), "voc-box"),
            (("nan", 10, 20, 30), "voc-box"),
            ((), "voc-box"),
        ],
    )
    def test_boxes_that_are_not_read(
        self, box: tuple[object, ...], code: str, tmp_path: Path
    ) -> None:
        content, findings = content_of(voc_set(tmp_path / "v", xml((11, 21, 30, 40), box)))
        assert found_in(findings) == [(code, ["0.xml:2"])]
        assert len(content["annotations"]) == 1

    @pytest.mark.parametrize(
        "size",
        [
            "",
            "<size/>",
            "<size><width>0</width><height>0</height></size>",
            "<size><width>x</width><height>100</height></size>",
        ],
    )
    def test_size(self, size: str, tmp_path: Path) -> None:
        content, findings = content_of(voc_set(tmp_path / "v", xml((1, 1, 5, 5), size=size)))
        assert found_in(findings) == [("voc-size", ["0.xml"])]
        assert (content["images"][0]["width"], content["images"][0]["height"]) == (200, 100)

    def test_size_of_the_file_is_for_the_check_to_compare(self, tmp_path: Path) -> None:
        size = SIZE.replace("200", "400")
        content, _ = content_of(voc_set(tmp_path / "v", xml((1, 1, 5, 5), size=size)))
        assert content["images"][0]["width"] == 400

    def test_difficult_objects_do_not_count(self, tmp_path: Path) -> None:
        text = xml((1, 1, 5, 5), more="<difficult>1</difficult>")
        content, _ = content_of(voc_set(tmp_path / "v", text))
        assert content["annotations"][0]["iscrowd"] == 1

    def test_unknown_names(self, tmp_path: Path) -> None:
        root = voc_set(tmp_path / "v", xml((1, 1, 5, 5)), xml((1, 1, 5, 5), name="dog"))
        content, findings = content_of(root, classes="dog")
        assert found_in(findings) == [("voc-object-name", ["0.xml:1"])]
        assert findings.all()[0].examples == ["cat"]
        assert [a["image_id"] for a in content["annotations"]] == [2]

    def test_what_is_no_xml(self, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotation>&d;</annotation>'
        root = voc_set(tmp_path / "v", xml((1, 1, 5, 5)), "<annotation>", bomb, "")
        content, findings = content_of(root)
        assert found_in(findings) == [("voc-xml", ["1.xml", "2.xml", "3.xml"])]
        assert "entities" in findings.all()[0].examples[1]
        assert len(content["annotations"]) == 1

    def test_other_encodings(self, tmp_path: Path) -> None:
        root = voc_set(tmp_path / "v", "")
        text = '<?xml version="1.0" encoding="iso-8859-1"?>' + xml((1, 1, 5, 5), name="Käfer")
        (root / "Annotations/0.xml").write_bytes(text.encode("iso-8859-1"))
        content, findings = content_of(root)
        assert not findings.all()
        assert content["categories"] == [{"id": 1, "name": "Käfer"}]

    def test_lists(self, tmp_path: Path) -> None:
        root = voc_set(tmp_path / "v", *[xml((1, 1, 5, 5))] * 3, suffix=".PNG")
        (root / "ImageSets/Main").mkdir(parents=True)
        (root / "ImageSets/Main/train.txt").write_text("0\n2  1\n7\n")
        content, findings = content_of(root)
        assert [i["file_name"] for i in content["images"]] == ["0.PNG", "2.PNG"]
        assert found_in(findings) == [("listed-image-missing", ["7"])]

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        boxes=st.lists(
            st.lists(st.integers(-5, 210) | st.floats() | st.just("x"), max_size=4), max_size=5
        )
    )
    def test_every_object_is_read_or_found(
        self, boxes: list[list[object]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        content, findings = content_of(voc_set(tmp_path_factory.mktemp("v"), xml(*boxes, [1] * 4)))
        found = sum(finding.count for finding in findings.all())
        assert len(content["annotations"]) + found == len(boxes) + 1


class TestDivision:
    def test_share_seed_and_groups(self) -> None:
        names = [f"{group}_{n}" for group in range(20) for n in range(5)]
        divided = divide(names, Division(share=0.8))
        assert {split: len(part) for split, part in divided.items()} == {"train": 80, "val": 20}
        assert divided["train"] | divided["val"] == set(names)
        assert divide(names[::-1], Division(share=0.8)) == divided
        assert divide(names, Division(share=0.8, seed=1)) != divided
        grouped = divide(names, Division(share=0.8, group_by="_"))
        assert len(grouped["train"]) == 80
        groups = [{name.split("_")[0] for name in part} for part in grouped.values()]
        assert not groups[0] & groups[1]

    @pytest.mark.parametrize("share", [0.01, 0.99])
    def test_no_part_is_empty(self, share: float) -> None:
        divided = divide(["a", "b", "c"], Division(share=share))
        assert all(divided.values())

    def test_too_few(self) -> None:
        with pytest.raises(UserError, match="2 images in 1 group"):
            divide(["a_1", "a_2"], Division(share=0.5, group_by="_"))

    def test_coco(self, shapes: Path, tmp_path: Path) -> None:
        root = made.one_file(shapes, tmp_path / "s")
        found, _ = converted(root, tmp_path / "o", split=0.75)
        whole = read(root / "annotations.json")
        train, val = (read(found.splits[split].annotations) for split in made.SPLITS)
        assert (len(train["images"]), len(val["images"])) == (12, 4)
        assert objects(train) | objects(val) == objects(whole)
        assert train["categories"] == whole["categories"]
        masks = {a["id"]: a["segmentation"] for a in whole["annotations"]}
        assert all(a["segmentation"] == masks[a["id"]] for a in val["annotations"])
        assert found.division is None

    def test_coco_with_faults(self, shapes: Path, tmp_path: Path) -> None:
        """What is wrong stays for the check; an object of no image goes to train."""
        root = made.one_file(shapes, tmp_path / "s")
        whole = read(root / "annotations.json")
        whole["annotations"][0]["image_id"] = [7]
        del whole["images"][0]["width"]
        made.write_json(root / "annotations.json", whole)
        found, _ = converted(root, tmp_path / "o", split=0.75)
        train, val = (read(found.splits[split].annotations) for split in made.SPLITS)
        assert train["annotations"][0]["image_id"] == [7]
        assert len(train["annotations"]) + len(val["annotations"]) == len(whole["annotations"])

    def test_yolo(self, tmp_path: Path) -> None:
        root = yolo_set(tmp_path / "y", {f"{n}": "0 0.5 0.5 0.4 0.4" for n in range(4)})
        found, _ = converted(root, tmp_path / "o", split=0.5)
        train, val = (read(found.splits[split].annotations) for split in made.SPLITS)
        assert (len(train["annotations"]), len(val["annotations"])) == (2, 2)
        again, _ = converted(root, tmp_path / "o", split=0.5)  # over the files that are there
        assert (read(again.splits["train"].annotations), again) == (train, found)

    def test_maps(self, shapes: Path, tmp_path: Path) -> None:
        root = made.camvid(shapes, tmp_path / "c")
        for folder in ("val", "valannot"):
            shutil.rmtree(root / folder)
        found, _ = converted(root, tmp_path / "o", split=0.75)
        lists = {
            name: split.files.read_text().splitlines() if split.files else []
            for name, split in found.splits.items()
        }
        assert {name: len(lines) for name, lines in lists.items()} == {"train": 9, "val": 3}
        assert sorted(lists["train"] + lists["val"]) == [f"train_{n:06d}" for n in range(12)]
        assert found.splits["val"].images == root / "train"

    def test_test_stays(self, shapes: Path, tmp_path: Path) -> None:
        root = made.one_file(shapes, tmp_path / "s")
        described = describe(root, LayoutOptions(split=0.5))
        other = Split(images=root / "images", annotations=root / "annotations.json")
        described = described.model_copy(update={"splits": described.splits | {"test": other}})
        found = materialise(described, tmp_path / "o", Findings())
        assert found.splits["test"] == other


def test_images_are_not_decoded(tmp_path: Path) -> None:
    """A header says the size; what lies behind is for the check of images."""
    root = yolo_set(tmp_path / "y", {"a": "0 0.5 0.5 0.5 0.5"})
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    Image.fromarray(noise).save(root / "images/train/a.png")
    file = root / "images/train/a.png"
    file.write_bytes(file.read_bytes()[:10_000])
    content, findings = content_of(root)
    assert len(content["annotations"]) == 1
    assert not findings.all()


class TestCheck:
    """``data check`` of a set that is converted names the files that the user has."""

    def test_own_files(self, tmp_path: Path) -> None:
        findings = Findings()
        check_path(voc_set(tmp_path / "v", xml((1, 1, 500, 50))), findings)
        (found,) = [found for found in findings.all() if found.kind.code == "box-beyond"]
        assert found.file == str(tmp_path / "v/Annotations")

    def test_folders_of_several_splits(self, shapes: Path, tmp_path: Path) -> None:
        findings = Findings()
        check_path(made.voc(shapes, tmp_path / "v"), findings)
        assert not findings.errors()
        assert not findings.notes

    def test_flags(self, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = made.camvid(shapes, tmp_path / "c")
        (root / "classes.txt").unlink()
        assert main(["data", "check", str(root)]) == 2
        assert "--classes" in capsys.readouterr().err
        flags = ["--classes", ",".join(made.MAP_CLASSES)]
        assert main(["data", "check", str(root), *flags]) == 1
        assert "11" in capsys.readouterr().out
        assert main(["data", "check", str(root), *flags, "--ignore-label", "11"]) == 0
