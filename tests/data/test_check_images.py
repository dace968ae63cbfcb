"""Faults of image files, each found by its own kind; sound files give nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from casvit_dense.data.checks.image_facts import ORIENTATION
from casvit_dense.data.checks.images import check_images, check_shared, note_unlisted
from casvit_dense.data.findings import Findings

Records = dict[str, tuple[int, int]]


def picture(number: int, width: int = 40, height: int = 30) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 255, (height, width, 3))
    return Image.fromarray(noise.astype(np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six images, one of them in a folder."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for number in range(5):
        picture(number).save(folder / f"{number}.jpg")
    picture(5).save(folder / "more/5.png")
    return folder


@pytest.fixture
def records() -> Records:
    return {name: (40, 30) for name in (*(f"{n}.jpg" for n in range(5)), "more/5.png")}


def found(images: Path, records: Records, **options: Any) -> dict[str, Any]:
    """Findings by code."""
    findings = Findings()
    check_images(images, records, findings, **options)
    return {finding.kind.code: finding for finding in findings.all()}


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("sample", [None, 2, 100])
def test_sound_images_give_nothing(
    images: Path, records: Records, deep: bool, sample: int | None
) -> None:
    assert found(images, records, deep=deep, sample=sample) == {}


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.open(path).save(path, exif=exif)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


@pytest.mark.parametrize(
    ("change", "code", "example"),
    [
        (Path.unlink, "image-missing", ""),
        (lambda p: p.rename(p.with_suffix(".JPG")), "image-missing", "upper and lower case differ"),
        (lambda p: p.rename(p.with_suffix(".jpeg")), "image-missing", "the suffix differs"),
        (lambda p: p.rename(p.parent / "more" / p.name), "image-missing", ""),
        (replaced_by(lambda p: p.symlink_to("nowhere")), "image-missing", "a broken link"),
        (replaced_by(Path.mkdir), "image-unreadable", "is no file (a folder)"),
        (lambda p: p.write_bytes(b""), "image-empty", "is empty"),
        (lambda p: p.write_text("<html>404</html>"), "image-not-an-image", ""),
        (lambda p: p.write_bytes(p.read_bytes()[:300]), "image-not-an-image", ""),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "image-damaged", "OpenCV cannot read it"),
        (lambda p: picture(2, 20, 15).save(p), "image-size-differs", "20 x 15 in the file, 40 x"),
        (lambda p: picture(2, 30, 40).save(p), "image-size-differs", "in its record, swapped"),
        (turned, "image-orientation", "30 x 40 in the file, 40 x 30 in its record"),
        (lambda p: picture(3).save(p), "image-twice", ""),
    ],
)
def test_a_fault_of_a_file_is_found(
    images: Path, records: Records, change: Callable[[Path], object], code: str, example: str
) -> None:
    change(images / "2.jpg")
    findings = found(images, records)
    assert list(findings) == [code]
    assert findings[code].count == 1
    assert findings[code].file == str(images)
    assert "2.jpg" in findings[code].where[0]
    assert example in "".join(findings[code].examples)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("images\\2.jpg", "has backslashes"),
        ("train/2.jpg", "2.jpg is there: file_name holds another folder"),
        ("/home/somebody/2.jpg", "2.jpg is there: file_name holds another folder"),
        ("more/5.PNG", "more/5.png is there: upper and lower case differ"),
        ("2.png", "2.jpg is there: the suffix differs"),
        ("nul\0.jpg", ""),
        ("\ud800.jpg", ""),
        ("a" * 5000, ""),
    ],
)
def test_a_name_that_names_nothing_has_a_hint(
    images: Path, records: Records, name: str, hint: str
) -> None:
    findings = found(images, {**records, name: (40, 30)})
    assert list(findings) == ["image-missing"]
    assert hint in "".join(findings["image-missing"].examples)
    assert bool(findings["image-missing"].examples) == bool(hint)


def test_an_absolute_path_to_an_image_is_sound(images: Path) -> None:
    assert found(images, {str(images / "2.jpg"): (40, 30)}) == {}


def test_an_upright_record_of_a_turned_image_is_sound(images: Path, records: Records) -> None:
    turned(images / "2.jpg")
    assert found(images, {**records, "2.jpg": (30, 40)}) == {}


def test_a_folder_that_is_not_there(images: Path, records: Records) -> None:
    assert list(found(images / "none", records)) == ["image-folder-missing"]


def test_every_missing_image_is_counted_whatever_the_sample(images: Path, records: Records) -> None:
    records |= {f"{number}.jpg": (40, 30) for number in range(100, 400)}
    findings = found(images, records, sample=1)
    assert findings["image-missing"].count == 300


def test_too_many_pixels_are_a_warning(
    images: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    picture(2, 90, 80).save(images / "2.jpg")
    findings = found(images, records)
    assert {code: f.severity for code, f in findings.items()} == {"image-huge": "warning"}


def test_the_same_image_in_two_splits(images: Path) -> None:
    (images / "copy.jpg").write_bytes((images / "2.jpg").read_bytes())
    findings = Findings()
    files = sorted(images.glob("*.jpg"))
    splits = {"train": files[:3], "val": [images / "copy.jpg", files[3]], "test": [files[0]]}
    check_shared(splits, findings)
    shared = {finding.file: finding.where for finding in findings.all()}
    assert shared == {
        "train and val": [f"{images / '2.jpg'} = {images / 'copy.jpg'}"],
        "train and test": [f"{files[0]} = {files[0]}"],
    }
    sound = Findings()
    check_shared({"train": files[:3], "val": files[3:-1]}, sound)
    assert sound.all() == []


def test_images_of_no_split_are_noted(images: Path) -> None:
    findings = Findings()
    files = [images / f"{number}.jpg" for number in range(4)]
    note_unlisted({"train": files[:2], "val": files[2:]}, findings)
    assert findings.notes == [f"{images}: 1 image not listed, so not used"]
    sound = Findings()
    note_unlisted({"train": files[:2], "val": [*files[2:], images / "4.jpg"]}, sound)
    assert sound.notes == []
