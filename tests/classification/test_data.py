"""Images of classes: found, read, cut and counted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from PIL import Image

from casvit_dense.classification import ImageNetFolder, TopAccuracy
from casvit_dense.classification.pipeline import PackClassInputs
from casvit_dense.classification.pixels import MEAN, STD, evaluated, read_rgb
from casvit_dense.errors import UserError


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return Image.fromarray(noise.astype(np.uint8)).resize((width, height))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes with 2, 0 and 1 images, one of them in a folder below."""
    for number, name in enumerate(("n02/a.JPEG", "n02/deep/b.png", "n10/c.jpg")):
        (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(40, 30, number).save(tmp_path / "val" / name)
    (tmp_path / "val/n03").mkdir()
    (tmp_path / "val/n02/notes.txt").touch()
    (tmp_path / "val/.cache").mkdir()
    return tmp_path


def test_folders_are_numbered_by_name(folder: Path) -> None:
    dataset = ImageNetFolder(data_root=str(folder), data_prefix={"img_path": "val"})
    assert dataset.metainfo["classes"] == ("n02", "n03", "n10")
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    names = [str(Path(info["img_path"]).relative_to(folder / "val")) for info in found]
    labels = [info["gt_label"] for info in found]
    assert list(zip(names, labels, strict=True)) == [
        ("n02/a.JPEG", 0),
        ("n02/deep/b.png", 0),
        ("n10/c.jpg", 2),
    ]


def test_a_list_names_images_and_labels(folder: Path) -> None:
    (folder / "val.txt").write_text("n10/c.jpg 7\n\nn02/a b.JPEG 0\n")
    dataset = ImageNetFolder(
        data_root=str(folder), data_prefix={"img_path": "val"}, ann_file="val.txt"
    )
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [info["gt_label"] for info in found] == [7, 0]
    assert found[1]["img_path"] == str(folder / "val/n02/a b.JPEG")


@pytest.mark.parametrize(
    ("prefix", "listed", "message"),
    [
        ("none", None, "no folder .*none; --data-root says where"),
        ("val/n03", None, "has no folders of classes; expected .*/<class>/<image>"),
        ("val", "a.png 0\nb.png\n", "line 2: expected 'path label', found 'b.png'"),
        ("val", "a.png 0\nb.png -1\n", "line 2: expected"),
    ],
)
def test_what_is_no_data_set_is_refused(
    folder: Path, prefix: str, listed: str | None, message: str
) -> None:
    if listed:
        (folder / "list.txt").write_text(listed)
    with pytest.raises(UserError, match=message):
        ImageNetFolder(
            data_root=str(folder),
            data_prefix={"img_path": prefix},
            ann_file="list.txt" if listed else "",
        )


def test_other_numbers_of_classes_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"3 folders of classes \(n02, n03, n10\), the config 2"):
        ImageNetFolder(
            data_root=str(folder),
            data_prefix={"img_path": "val"},
            metainfo={"classes": ("a", "b")},
        )


# What torchvision's Resize and CenterCrop do, written out: (width, height) of the image, the size
# asked for, the size after resizing, left and top of the crop.
@pytest.mark.parametrize(
    ("image", "size", "resized", "corner"),
    [
        ((500, 375), 224, (341, 256), (58, 16)),  # 341.33 is cut; 58.5 is rounded to even
        ((375, 500), 224, (256, 341), (16, 58)),
        ((300, 300), 224, (256, 256), (16, 16)),
        ((100, 80), 224, (320, 256), (48, 16)),
        ((500, 375), 288, (438, 329), (75, 20)),  # 329.14
    ],
)
def test_below_384_the_centre_is_cut(
    image: tuple[int, int], size: int, resized: tuple[int, int], corner: tuple[int, int]
) -> None:
    given = picture(*image)
    left, top = corner
    expected = np.asarray(given.resize(resized, Image.Resampling.BICUBIC))
    expected = expected[top : top + size, left : left + size]
    assert np.array_equal(np.asarray(evaluated(given, size)), expected)


@pytest.mark.parametrize("size", [384, 448])
def test_from_384_images_are_warped(size: int) -> None:
    given = picture(500, 375)
    expected = given.resize((size, size), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(evaluated(given, size)), np.asarray(expected))


def test_samples_are_packed_in_rgb() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    packed = PackClassInputs()({"img": image, "img_path": "x", "gt_label": 4})
    assert packed["inputs"].shape == (3, 2, 3) and packed["inputs"].dtype == torch.uint8
    assert packed["inputs"][:, 1, 2].tolist() == [1, 2, 3]
    assert packed["data_samples"].gt_label == 4 and packed["data_samples"].img_path == "x"
    assert [round(m / 255, 3) for m in MEAN] == [0.485, 0.456, 0.406]
    assert [round(s / 255, 3) for s in STD] == [0.229, 0.224, 0.225]


def test_images_of_any_mode_are_read_and_turned_where_asked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    picture(40, 30).save(tmp_path / "a.jpg", exif=exif)
    assert read_rgb(tmp_path / "a.jpg").size == (40, 30)
    assert read_rgb(tmp_path / "a.jpg", upright=True).size == (30, 40)
    for mode in ("L", "RGBA", "P", "CMYK"):
        file = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        picture(8, 8).convert(mode).save(file)
        assert read_rgb(file).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_is_a_user_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png: (not an image|cannot be read)"):
        read_rgb(tmp_path / "x.png")


def test_accuracy_counts_the_first_and_the_first_five() -> None:
    """By hand: ranks of the true classes are 1, 2, 6, 1 of seven."""
    metric = TopAccuracy()
    metric.dataset_meta = {"classes": tuple("abcdefg")}
    for label, rank in ((0, 1), (0, 2), (1, 6), (3, 1)):
        scores = torch.linspace(0.9, 0.1, 7)
        scores[[label, rank - 1]] = scores[[rank - 1, label]]
        sample = BaseDataElement(gt_label=label, scores=scores)
        metric.process(None, [sample.to_dict()])
    figures = metric.evaluate(4)
    assert figures == {"top1": 50.0, "top5": 75.0}
    values = metric.per_class["top1"]
    assert [values["a"], values["b"], values["d"]] == [50.0, 0.0, 100.0]
    assert np.isnan(values["c"])
