"""What flags and descriptions say of a layout, and what is no data set."""

import shutil
from collections.abc import Callable
from pathlib import Path

import data_layouts as made
import pytest
from data_layouts import coco, places

from casvit_dense.data.description import read_description, write_description
from casvit_dense.data.layouts.describe import describe
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions


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
