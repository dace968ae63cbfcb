"""Faults of index maps, each found by its own kind; sound maps give nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map_files import CLASSES, SIZE, check, described, labels, write_set
from PIL import Image

from casvit_dense.data.checks.image_facts import ORIENTATION
from casvit_dense.data.checks.map_facts import read_map
from casvit_dense.data.description import DataDescription
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path)
    return tmp_path


def found(description: DataDescription, **options: Any) -> dict[str, Any]:
    """Findings by code."""
    return {finding.kind.code: finding for finding in check(description, **options).all()}


@pytest.mark.parametrize("sample", [None, 1])
def test_sound_maps_give_nothing(root: Path, sample: int | None) -> None:
    assert found(described(root), sample=sample) == {}
    assert found(described(root), sample=sample, deep=True) == {}


def test_pixels_of_classes_are_counted(root: Path) -> None:
    facts = check(described(root)).splits["train"]
    all_labels = np.stack([labels(number) for number in range(4)])
    assert facts == {
        "images": 4,
        "maps": 4,
        "pixels": {name: int((all_labels == n).sum()) for n, name in enumerate(CLASSES)},
        "ignored_pixels": int((all_labels == 255).sum()),
    }


def changed(function: Callable[[Any], Any]) -> Callable[[Path], object]:
    """A map whose labels are changed."""
    return lambda path: Image.fromarray(function(np.array(Image.open(path)))).save(path)


def with_label(value: int, kind: type = np.uint8) -> Callable[[Path], object]:
    def set_corner(array: Any) -> Any:
        array = array.astype(kind)
        array[-1, -1] = value
        return array

    return changed(set_corner)


def as_jpeg(path: Path) -> None:
    Image.open(path).save(path, "JPEG", quality=100)


def converted(mode: str) -> Callable[[Path], object]:
    return lambda path: Image.open(path).convert(mode).save(path)


@pytest.mark.parametrize(
    ("change", "code", "example"),
    [
        (Path.unlink, "map-missing", ""),
        (lambda p: p.rename(p.with_suffix(".PNG")), "map-missing", ""),
        (lambda p: p.unlink() or p.mkdir(), "map-missing", ""),
        (lambda p: p.write_bytes(b""), "map-unreadable", "is empty"),
        (lambda p: p.write_text("no map"), "map-unreadable", "is not an image"),
        (lambda p: p.write_bytes(p.read_bytes()[:90]), "map-unreadable", "truncated or damaged"),
        (changed(lambda a: a[:, ::2]), "map-size", "8 x 12, its image 16 x 12"),
        (changed(lambda a: a.T), "map-size", "12 x 16, its image 16 x 12, turned"),
        (converted("RGB"), "map-channels", "mode RGB"),
        (converted("RGBA"), "map-channels", "mode RGBA"),
        (converted("LA"), "map-channels", "mode LA"),
        (as_jpeg, "map-lossy", ""),
        (with_label(3), "map-label", "label 3; 0 to 2 are classes, 255 ignored"),
        (with_label(254), "map-label", "label 254"),
        (with_label(300, np.uint16), "map-label", "label 300"),
        (lambda p: Image.new("I", SIZE, -1).save(p, "TIFF"), "map-label", "label -1"),
        (changed(lambda a: np.full_like(a, 255)), "map-ignored", ""),
    ],
)
def test_a_fault_of_a_map_is_found(
    root: Path, change: Callable[[Path], object], code: str, example: str
) -> None:
    change(root / "maps/1.png")
    findings = found(described(root))
    assert list(findings) == [code]
    assert findings[code].count == 1
    assert findings[code].file == str(root / "maps")
    assert findings[code].where == ["1.png"]
    assert example in "".join(findings[code].examples)


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (Path.unlink, ["map-without-image"]),
        (lambda p: p.rename(p.with_suffix(".PNG")), ["map-image-suffix", "map-without-image"]),
        (lambda p: p.write_bytes(b""), ["image-empty"]),
        (lambda p: p.write_bytes(p.read_bytes()[:-30]), ["image-damaged"]),
        (lambda p: p.write_bytes((p.parent / "2.png").read_bytes()), ["image-twice"]),
        (lambda p: Image.new("RGB", (8, 6)).save(p), ["map-size"]),
    ],
)
def test_a_fault_of_an_image_is_found(
    root: Path, change: Callable[[Path], object], codes: list[str]
) -> None:
    change(root / "images/1.png")
    findings = found(described(root))
    assert sorted(findings) == codes
    assert all("1.png" in f.where[0].lower() for f in findings.values())


@pytest.mark.parametrize("mode", ["P", "1", "I;16", "I"])
def test_numbers_of_any_kind_are_read_as_labels(tmp_path: Path, mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(np.uint8)
    image = Image.fromarray(array * 255 if mode == "1" else array)
    if mode == "P":
        image.putpalette([9, 9, 9, 200, 0, 0])  # whose colours say nothing
    else:
        image = image.convert("1" if mode == "1" else "I").convert(mode)
    image.save(tmp_path / "map.png", "TIFF" if mode == "I" else "PNG")
    expected = np.unique(array, return_counts=True)
    facts = read_map(str(tmp_path / "map.png"))
    assert dict(facts.labels) == dict(zip(*(v.tolist() for v in expected), strict=True))
    assert (facts.width, facts.height) == (7, 5)


def test_a_turned_image_must_fit_its_map_upright(root: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = root / "images/1.png"
    Image.open(path).save(path, exif=exif)
    assert list(found(described(root))) == ["map-size"]
    changed(lambda array: array.T.copy())(root / "maps/1.png")
    assert found(described(root)) == {}


@pytest.mark.parametrize("sample", [None, 2])
def test_maps_of_0_and_255_are_refused(root: Path, sample: int | None) -> None:
    """With two classes and 255 ignored, a network that has learnt nothing reaches a mIoU of 100."""
    for path in (root / "maps").rglob("*.png"):
        changed(lambda array: (array > 0).astype(np.uint8) * 255)(path)
    two = described(root, classes=["ground", "car"])
    findings = found(two, sample=sample)
    assert list(findings) == ["map-one-class"]
    assert findings["map-one-class"].severity == ("error" if sample is None else "warning")
    assert findings["map-one-class"].examples == ["labels 0, 255"]
    reduced = described(root, classes=["ground", "car"], reduce_zero_label=True)
    assert [f.kind.code for f in check(reduced, sample=sample).errors()] == ["map-all-ignored"]
    other = described(root, classes=["ground", "car"], ignore_label=11)
    assert list(found(other, sample=sample)) == ["map-label"]


def test_label_zero_is_no_class_where_classes_count_from_1(root: Path) -> None:
    """mmseg makes 0 and 255 the same ignored label."""
    reduced = described(root, classes=["road", "tree"], reduce_zero_label=True)
    findings = check(reduced)
    assert findings.all() == []
    plain = check(described(root)).splits["train"]
    assert findings.splits["train"]["pixels"] == {n: plain["pixels"][n] for n in ("road", "tree")}
    too_few = found(described(root, classes=["road"], reduce_zero_label=True))
    assert "label 2; 1 to 1 are classes, 0, 255 ignored" in too_few["map-label"].examples[0]


def test_a_label_to_ignore_of_ones_own(root: Path) -> None:
    """CamVid's is 11. 255 is then a label as any other."""
    for path in (root / "maps").rglob("*.png"):
        changed(lambda array: np.where(array == 255, 11, array).astype(np.uint8))(path)
    assert found(described(root, ignore_label=11)) == {}
    assert "label 11" in found(described(root))["map-label"].examples[0]


def test_classes_without_a_pixel_are_named(root: Path) -> None:
    more = described(root, classes=[*CLASSES, "car"])
    findings = found(more)
    assert list(findings) == ["map-class-without-pixels"]
    assert findings["map-class-without-pixels"].where == ["car"]
    assert found(more, sample=2) == {}  # the rest may have it


def test_an_excerpt_of_a_set_of_many_classes_is_sound(root: Path) -> None:
    findings = check(described(root, classes=[*CLASSES, "car", "bus"]))
    assert findings.all() == []
    assert findings.notes == [f"{root / 'maps'}: 2 of 5 classes have no pixel"]


def test_one_class_alone_may_be_all_there_is(root: Path) -> None:
    for path in (root / "maps").rglob("*.png"):
        changed(np.zeros_like)(path)
    assert found(described(root, classes=["leaf"])) == {}
    assert list(found(described(root, classes=["leaf", "stem"]))) == ["map-one-class"]


@pytest.mark.parametrize(("ignored", "codes"), [(65535, []), (300, ["map-label"])])
def test_ignored_labels_of_sixteen_bits(root: Path, ignored: int, codes: list[str]) -> None:
    """Loaders keep eight bits: 65535 becomes 255, 300 would be class 44."""
    for path in (root / "maps").rglob("*.png"):
        changed(lambda a: np.where(a == 255, ignored, a.astype(int)).astype(np.uint16))(path)
    assert list(found(described(root, ignore_label=ignored))) == codes


def test_suffixes_make_pairs(root: Path) -> None:
    for path in [*(root / "maps").rglob("*.png")]:
        path.rename(path.with_name(f"{path.stem}_L.png"))
    description = described(root, map_suffix="_L.png")
    assert found(description) == {}
    assert image_stems(description.splits["train"], ".png") == ["0", "1", "2", "more/3"]
    findings = found(described(root))
    assert {code: f.count for code, f in findings.items()} == {
        "map-missing": 4,
        "map-without-image": 4,
    }


def test_a_wrong_suffix_of_images(root: Path) -> None:
    findings = found(described(root, image_suffix=".jpg"))
    assert findings["map-no-images"].examples == ["no name ends in .jpg; the folder has .png"]


def test_a_list_of_names_chooses(root: Path) -> None:
    names = root / "names.txt"
    names.write_text("0\nmore/3\n")
    description = described(root, {"files": names})
    assert found(description) == {}
    assert check(description).splits["train"]["images"] == 2
    names.write_text("0\n1.png\n9\n")
    findings = found(description)
    assert findings["image-missing"].where == ["1.png.png", "9.png"]
    assert "should be without .png" in findings["image-missing"].examples[0]
    names.unlink()
    with pytest.raises(UserError, match="names.txt cannot be read"):
        check(description)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    findings = found(described(tmp_path))
    assert findings["image-folder-missing"].count == 1
    with pytest.raises(UserError, match="no image folder"):
        image_stems(described(tmp_path).splits["train"], ".png")


def test_images_without_maps_are_checked_alone(root: Path) -> None:
    (root / "images/1.png").write_bytes(b"")
    assert list(found(described(root, {"annotations": None}))) == ["image-empty"]


def test_a_link_to_a_folder_above_ends(root: Path) -> None:
    (root / "images/more/again").symlink_to(root / "images")
    assert found(described(root)) == {}


def test_every_image_must_have_a_map_whatever_the_sample(root: Path) -> None:
    for number in range(1, 3):
        (root / f"maps/{number}.png").unlink()
    assert found(described(root), sample=1)["map-missing"].count == 2
