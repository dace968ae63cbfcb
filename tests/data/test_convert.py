"""YOLO and VOC become COCO files with the figures of their source, and sets are divided."""

import shutil
from pathlib import Path

import data_layouts as made
import pytest
from converted_sets import converted, objects, read, yolo_set
from hotcoco import COCO
from pycocotools import mask as rle

from casvit_dense.cli import main
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.description import Division, Split
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import divide, materialise
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shapes(tmp_path_factory.mktemp("shapes") / "set", train=12, val=4)


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


class TestCheck:
    """``data check`` of a set that is converted."""

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
