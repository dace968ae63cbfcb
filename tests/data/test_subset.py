"""A small set of a large one: what is chosen, what is written, what is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_layouts as made
import numpy as np
import pytest
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.data.description import DataDescription, Split, write_description
from casvit_dense.data.layouts.describe import describe
from casvit_dense.data.subset import SubsetSize, subset
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shapes(tmp_path_factory.mktemp("shapes") / "set", train=10, val=4)


def make(found: DataDescription, out: Path, seed: int = 0, **size: Any) -> list[str]:
    return subset(found, out, SubsetSize(**size), seed, print)


def read(file: Path | None) -> dict[str, Any]:
    assert file is not None
    return json.loads(file.read_text())


def rare_classes(root: Path, objects: list[list[int]]) -> Path:
    """A COCO set whose images have objects of these categories, of classes a to f."""
    (root / "images").mkdir(parents=True)
    for number in range(len(objects)):
        Image.new("RGB", (8, 8)).save(root / f"images/{number}.png")
    made.write_json(
        root / "train.json",
        {
            "images": [
                {"id": n, "file_name": f"{n}.png", "width": 8, "height": 8}
                for n in range(len(objects))
            ],
            "annotations": [
                {"id": 10 * n + i, "image_id": n, "category_id": c, "bbox": [1, 1, 4, 4]}
                for n, categories in enumerate(objects)
                for i, c in enumerate(categories)
            ],
            "categories": [{"id": n, "name": "abcdef"[n]} for n in range(6)],
        },
    )
    return root


class TestChoice:
    def test_every_class_is_kept(self, tmp_path: Path) -> None:
        objects = [[0]] * 40 + [[1], [2, 3], [4, 5], [5]]
        found = describe(rare_classes(tmp_path / "s", objects))
        for seed in range(5):
            (line,) = make(found, tmp_path / str(seed), seed, images=4)
            assert line == "train: 4 of 44 images, all 6 classes"
            part = read(tmp_path / str(seed) / "annotations/instances_train.json")
            assert {a["category_id"] for a in part["annotations"]} == set(range(6))

    def test_lost_classes_are_said(self, tmp_path: Path) -> None:
        found = describe(rare_classes(tmp_path / "s", [[0], [1], [2, 3]]))
        assert make(found, tmp_path / "o", images=1) == ["train: 1 of 3 images, without a, b"]

    @pytest.mark.parametrize(
        ("size", "count"),
        [({"images": 4}, 4), ({"images": 99}, 10), ({"share": 0.3}, 3), ({"share": 0.001}, 1)],
    )
    def test_size(self, size: dict[str, Any], count: int, shapes: Path, tmp_path: Path) -> None:
        make(describe(shapes / "coco"), tmp_path / "o", **size)
        part = read(tmp_path / "o/annotations/instances_train.json")
        assert len(part["images"]) == count

    def test_seed(self, shapes: Path, tmp_path: Path) -> None:
        found = describe(shapes / "coco")
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            make(found, tmp_path / name, seed, images=5)
        first, again, other = (
            read(tmp_path / name / "annotations/instances_train.json") for name in "abc"
        )
        assert first == again
        assert first["images"] != other["images"]


class TestFiles:
    @pytest.mark.parametrize("layout", [made.roboflow, made.yolo, made.voc])
    def test_detection(
        self, layout: Callable[[Path, Path], Path], shapes: Path, tmp_path: Path
    ) -> None:
        root = layout(shapes, tmp_path / "s")
        found = describe(root)
        make(found, tmp_path / "o", images=3)
        part = describe(tmp_path / "o")
        assert (part.layout, part.classes, part.masks) == ("coco", found.classes, found.masks)
        for name, split in part.splits.items():
            source = made.read_split(shapes, name)
            ids = {image["file_name"]: image["id"] for image in source["images"]}
            content = read(split.annotations)
            assert len(content["images"]) == 3
            for image in content["images"]:
                file = split.images / image["file_name"]
                (original,) = root.rglob(image["file_name"])
                assert file.read_bytes() == original.read_bytes()
                boxes = [
                    [a["bbox"] for a in annotations if a["image_id"] == number]
                    for annotations, number in (
                        (content["annotations"], image["id"]),
                        (source["annotations"], ids[image["file_name"]]),
                    )
                ]
                if layout is made.yolo:  # has no crowds
                    boxes[1] = [box for box in boxes[1] if box in boxes[0]]
                assert boxes[0] == boxes[1]

    def test_maps(self, shapes: Path, tmp_path: Path) -> None:
        root = made.camvid(shapes, tmp_path / "s")
        found = describe(root, LayoutOptions(ignore_label=11))
        lines = make(found, tmp_path / "o", images=2)
        assert lines[0] == "train: 2 of 10 images, all 4 classes"
        part = describe(tmp_path / "o")
        assert part.model_dump(exclude={"splits"}) == found.model_dump(exclude={"splits"})
        maps = part.splits["val"].annotations
        assert maps is not None
        for file in maps.iterdir():
            assert (root / "valannot" / file.name).read_bytes() == file.read_bytes()
            assert (part.splits["val"].images / file.name).is_file()

    def test_ignored_labels_are_no_class(self, tmp_path: Path) -> None:
        for name, labels in {"a": (0, 255), "b": (1, 0), "c": (2, 0)}.items():
            for folder in ("images", "masks"):
                (tmp_path / "s" / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2)).save(tmp_path / f"s/images/{name}.jpg")
            Image.fromarray(np.array([labels] * 2, np.uint8)).save(tmp_path / f"s/masks/{name}.png")
        found = describe(tmp_path / "s", LayoutOptions(classes="x,y", ignore_label=0))
        assert make(found, tmp_path / "o", images=2) == ["train: 2 of 3 images, all 2 classes"]
        names = sorted(file.name for file in (tmp_path / "o/images/train").iterdir())
        assert names == ["b.jpg", "c.jpg"]

    def test_links_where_that_is_possible(
        self, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = describe(made.roboflow(shapes, tmp_path / "s"))
        make(found, tmp_path / "a", images=1)
        (linked,) = (tmp_path / "a/train").iterdir()
        assert linked.stat().st_nlink == 2

        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr("casvit_dense.data.copies.os.link", refuse)
        make(found, tmp_path / "b", images=1)
        (copied,) = (tmp_path / "b/train").iterdir()
        assert copied.stat().st_nlink == 1
        assert copied.read_bytes() == linked.read_bytes()

    def test_names_stay_inside(self, tmp_path: Path) -> None:
        root = rare_classes(tmp_path / "s", [[0]])
        content = read(root / "train.json")
        content["images"][0]["file_name"] = "../images/0.png"
        made.write_json(root / "train.json", content)
        make(describe(root), tmp_path / "o", images=1)
        assert (tmp_path / "o/train/images/0.png").is_file()
        part = read(tmp_path / "o/annotations/instances_train.json")
        assert part["images"][0]["file_name"] == "images/0.png"

    @pytest.mark.parametrize("second", ["0.png", "../0.png"])
    def test_files_of_one_name_leave_the_source_alone(self, tmp_path: Path, second: str) -> None:
        root = rare_classes(tmp_path / "s", [[0], [0]])
        (root / "0.png").write_bytes(b"another image")
        before = (root / "images/0.png").read_bytes()
        content = read(root / "train.json")
        content["images"][1]["file_name"] = second
        made.write_json(root / "train.json", content)
        found = describe(root / "train.json", LayoutOptions(images=root / "images"))
        if second == "0.png":  # listed twice
            make(found, tmp_path / "o", images=2)
        else:
            with pytest.raises(UserError, match=r"would both become 0.png"):
                make(found, tmp_path / "o", images=2)
        assert (root / "images/0.png").read_bytes() == before

    @pytest.mark.parametrize(("key", "value"), [("id", [1]), ("file_name", None)])
    def test_images_that_cannot_be_called(self, tmp_path: Path, key: str, value: object) -> None:
        root = rare_classes(tmp_path / "s", [[0], [0]])
        content = read(root / "train.json")
        content["images"][1][key] = value
        content["annotations"][0]["category_id"] = {}
        made.write_json(root / "train.json", content)
        with pytest.raises(UserError, match="images without id or file name"):
            make(describe(root), tmp_path / "o", images=2)

    def test_a_split_without_truth(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = rare_classes(tmp_path / "s", [[0], [0]])
        found = describe(root)
        alone = Split(images=root / "images")
        both = found.model_copy(update={"splits": {**found.splits, "test": alone}})
        write_description(both, tmp_path / "d.yaml")
        assert main(["data", "describe", str(tmp_path / "d.yaml")]) == 0
        assert "test     2 images, 0 objects" in capsys.readouterr().out
        assert make(both, tmp_path / "o", images=1) == [
            "train: 1 of 2 images, all 1 classes",
            "test: left out, its images have no truth",
        ]
        only = found.model_copy(update={"splits": {"test": alone}})
        with pytest.raises(UserError, match="no split has truth"):
            make(only, tmp_path / "p", images=1)

    def test_test_images_without_truth(self, shapes: Path, tmp_path: Path) -> None:
        found = describe(shapes / "coco")
        content = read(shapes / "coco/annotations/instances_val2017.json")
        del content["annotations"]
        file = made.write_json(tmp_path / "test.json", content)
        split = Split(images=shapes / "coco/val2017", annotations=file)
        make(found.model_copy(update={"splits": {"test": split}}), tmp_path / "o", images=2)
        assert "annotations" not in read(tmp_path / "o/annotations/instances_test.json")

    def test_nothing_half_written(self, shapes: Path, tmp_path: Path) -> None:
        root = made.roboflow(shapes, tmp_path / "s")
        (root / "valid/val_000000.png").unlink()
        with pytest.raises(UserError, match="no file .*val_000000.png; .*data check"):
            make(describe(root), tmp_path / "o", images=99)
        assert [path.name for path in tmp_path.iterdir()] == ["s"]
        (tmp_path / "full").mkdir()
        (tmp_path / "full/x").touch()
        with pytest.raises(UserError, match="holds files"):
            make(describe(root), tmp_path / "full", images=1)

    def test_lines_that_are_not_read(self, shapes: Path, tmp_path: Path) -> None:
        root = made.yolo(shapes, tmp_path / "s")
        (root / "labels/train/train_000000.txt").write_text("9 0.5 0.5 0.1 0.1\n")
        with pytest.raises(UserError, match="yolo-class"):
            make(describe(root), tmp_path / "o", images=1)


class TestCommands:
    def test_describe(
        self, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = made.roboflow(shapes, tmp_path / "s")
        assert main(["data", "describe", str(root), "--out", str(tmp_path / "d.yaml")]) == 0
        lines = capsys.readouterr().out.splitlines()
        truth = [made.read_split(shapes, split) for split in made.SPLITS]
        counts = [
            sum(a["category_id"] == n for content in truth for a in content["annotations"])
            for n in (1, 2, 3)
        ]
        listed = ", ".join(f"{c} {n}" for c, n in zip(made.CLASSES, counts, strict=True))
        assert lines[:3] == [
            "task     detection, boxes and masks; layout: COCO files as Roboflow exports them",
            f"classes  3: {listed}",
            f"train    10 images, {len(truth[0]['annotations'])} objects: "
            f"{root / 'train'}, {root / 'train/_annotations.coco.json'}",
        ]
        assert describe(tmp_path / "d.yaml").classes == made.CLASSES

    def test_describe_maps(
        self, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = made.camvid(shapes, tmp_path / "s")
        assert main(["data", "describe", str(root), "--ignore-label", "11"]) == 0
        assert "labels   0 is the first class; 11 not counted" in capsys.readouterr().out

    @pytest.mark.parametrize("layout", [made.yolo, made.voc])
    def test_describe_counts_faults(
        self,
        layout: Callable[[Path, Path], Path],
        shapes: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        root = layout(shapes, tmp_path / "s")
        for file in [*root.rglob("train_000000.txt"), *root.rglob("train_000000.xml")]:
            file.write_text("x")
        assert main(["data", "describe", str(root)]) == 0
        assert "faults   of 1 kind; see casvit-dense data check" in capsys.readouterr().out

    def test_subset(self, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = made.one_file(shapes, tmp_path / "s")
        out = str(tmp_path / "o")
        arguments = ["data", "subset", str(root), out, "--share", "0.5", "--split", "0.5"]
        assert main(arguments) == 0
        assert capsys.readouterr().out.splitlines() == [
            "train: 4 of 7 images, all 3 classes",
            "val: 4 of 7 images, all 3 classes",
        ]
        assert main(arguments) == 2
        assert "holds files" in capsys.readouterr().err
