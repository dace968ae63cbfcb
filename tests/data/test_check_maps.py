"""Faults of index maps, each found by its own kind; sound maps give nothing."""

import hashlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from casvit_dense.data.checks.image_facts import ORIENTATION
from casvit_dense.data.checks.map_facts import read_map
from casvit_dense.data.checks.maps import check_maps
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.findings import Findings
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError

CLASSES = ["sky", "road", "tree"]
SIZE = (16, 12)  # width and height


def labels(number: int) -> Any:
    """A map of all three classes and of pixels to ignore."""
    array = np.random.default_rng(number).integers(0, 3, SIZE[::-1]).astype(np.uint8)
    array[0, :4] = 0, 1, 2, 255
    return array


def write_set(root: Path, count: int = 4) -> None:
    """The last image lies in a folder."""
    for number in range(count):
        name = f"{number}.png" if number < count - 1 else f"more/{number}.png"
        for kind in ("images", "maps"):
            (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (*SIZE[::-1], 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / name)
        Image.fromarray(labels(number)).save(root / "maps" / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path)
    return tmp_path


def described(root: Path, split: dict[str, Path] | None = None, **more: Any) -> DataDescription:
    folders = {"images": root / "images", "annotations": root / "maps", **(split or {})}
    usual = {"classes": CLASSES, "image_suffix": ".png", **more}
    splits = {"train": Split(**folders)}
    return DataDescription(task="segmentation", layout="maps", splits=splits, **usual)


def check(description: DataDescription, **options: Any) -> Findings:
    findings = Findings()
    check_maps(description.splits["train"], description, "train", findings, **options)
    return findings


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


def loaded(root: Path) -> tuple[int, str]:
    """What a loader makes of a set: how many images, and the first fault, as mmcv and torch see it.

    Not by the code under test: OpenCV's and Pillow's decoders and numpy.
    """
    images = sorted((root / "images").rglob("*.png"))
    files = [path for path in images if path.is_file() and path.name[0] != "."]
    for path in files:
        image = (
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), 1)
            if path.stat().st_size
            else None
        )
        if image is None:
            return len(files), "image"
        try:
            label_map = (root / "maps" / path.relative_to(root / "images")).read_bytes()
            array = np.array(Image.open(io.BytesIO(label_map))).squeeze()
        except Exception:
            return len(files), "map"
        if array.shape != image.shape[:2]:
            return len(files), "size"
        if not set(np.unique(array).tolist()) <= {0, 1, 2, 255}:
            return len(files), "label"
    return len(files), ""


def state_of(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def mutate(path: Path, kind: str, number: int) -> None:
    content = path.read_bytes()
    if kind == "delete":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: number % len(content)])
    elif kind == "flip":
        place = number % len(content)
        path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 + number % 255)]) + content[place + 1 :]
        )
    elif kind == "label":
        array = np.array(Image.open(path))
        array.flat[number % array.size] = number % 256
        Image.fromarray(array).save(path)
    elif kind == "mode":
        modes = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "I")
        Image.open(path).convert("L").convert(modes[number % len(modes)]).save(path)
    elif kind == "size":
        Image.open(path).resize((1 + number % 40, 12), Image.Resampling.NEAREST).save(path)
    elif kind == "rename":
        path.rename(path.with_name(("1.PNG", "1.jpg", "other.png", ".1.png")[number % 4]))
    elif kind == "format":
        format = ("JPEG", "BMP", "TIFF", "GIF", "WEBP")[number % 5]
        Image.open(path).save(path, format)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.with_name(f"more-{number % 3}.png").write_bytes(content)


KINDS = ("delete", "cut", "flip", "label", "mode", "size", "rename", "format", "folder", "add")


@pytest.mark.parametrize("examples", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_mutations_of_a_set(examples: int) -> None:
    """What a loader fails at, or leaves out, is found; what it reads is not refused."""

    @settings(max_examples=examples, deadline=None, derandomize=examples < 100, database=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["images/1.png", "maps/1.png"]),
                st.sampled_from(KINDS),
                st.integers(0, 100_000),
            ),
            min_size=1,
            max_size=2,
        )
    )
    def holds(mutations: list[tuple[str, str, int]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_set(root)
            for file, kind, number in mutations:
                if (root / file).is_file() and (root / file).stat().st_size:
                    try:
                        mutate(root / file, kind, number)
                    except OSError:  # a file that an earlier mutation made unreadable
                        continue
            before = state_of(root)
            quick, deep = check(described(root)), check(described(root), deep=True)
            assert state_of(root) == before
            images, fault = loaded(root)
            assert bool(deep.errors()) >= bool(fault), fault
            if images < 4 and (root / "maps/1.png").is_file():  # else both are gone
                assert deep.all()
            if not fault:
                assert {f.kind.code for f in deep.errors()} <= {"map-lossy"}
                assert {f.kind.code for f in quick.errors()} <= {"map-lossy"}

    holds()
