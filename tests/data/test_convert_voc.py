"""Every object of a Pascal VOC file is read or found."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from converted_sets import content_of, found_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings


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


def test_the_check_names_the_files_that_the_user_has(tmp_path: Path) -> None:
    findings = Findings()
    check_path(voc_set(tmp_path / "v", xml((1, 1, 500, 50))), findings)
    (found,) = [found for found in findings.all() if found.kind.code == "box-beyond"]
    assert found.file == str(tmp_path / "v/Annotations")
