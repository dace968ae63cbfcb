"""Every line of a YOLO label file is read or found."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from converted_sets import content_of, converted, found_in, read, yolo_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from casvit_dense.data.layouts.describe import describe


def yolo_lines() -> st.SearchStrategy[str]:
    """Lines as tools write them, with any numbers, and with what is no number."""
    parts = st.floats(-0.2, 1.2) | st.floats() | st.integers() | st.sampled_from(["", "x", "1e999"])
    line = st.lists(parts, min_size=3, max_size=8).map(lambda row: " ".join(map(str, row)))
    label = st.integers(-1, 2).map(str)
    box = st.tuples(label, *[st.floats(0, 1).map(str)] * 4).map(" ".join)
    return line | box | st.tuples(label, line).map(" ".join)


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
        assert findings.notes[-1] == "train: 1 image without a label file, read as background"

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
