"""Finding and reading images; writing and drawing results. No network takes part."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from casvit_dense.data.palette import palette_of
from casvit_dense.errors import UserError
from casvit_dense.predictor import Labels, draw, find_images, read_image
from casvit_dense.predictor.model import COCO_IDS, category_ids
from casvit_dense.predictor.results import ResultFolder, coco_rows, to_ids

LABELS = Labels(("circle", "square"), ((255, 0, 0), (0, 255, 0)), (3, 7))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def gradient(height: int, width: int) -> np.ndarray:
    """A picture that no rotation or flip maps onto itself."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)


class Sample(dict):
    """Stands in for a data sample: fields by name, membership by ``in``."""

    __getattr__ = dict.__getitem__


def instances(masks: bool = False) -> InstanceData:
    found = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 12.5, 9.0], [0.0, 0.0, 5.0, 5.0]]),
        scores=torch.tensor([0.9, 0.2]),
        labels=torch.tensor([1, 0]),
    )
    if masks:
        found.masks = torch.zeros(2, 20, 30, dtype=torch.bool)
        found.masks[0, 3:9, 2:12] = True
        found.masks[1, :5, :5] = True
    return found


# ---- inputs


def test_inputs_keep_their_order_and_lose_their_duplicates(tmp_path: Path) -> None:
    a, b, c = tmp_path / "in/b.jpg", tmp_path / "in/deep/a.PNG", tmp_path / "z.jpg"
    touch(a, b, c, tmp_path / "in/notes.txt")
    assert find_images([c, tmp_path / "in", a, tmp_path / "in/../z.jpg"]) == [c, a, b]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["x1.jpg", "x2.jpg"]),
        ("x?.*", ["x1.jpg", "x2.jpg"]),  # the text file is no image
        ("**/*.png", ["sub/y.png"]),
        ("su*", ["sub/y.png"]),  # a folder that a pattern matches
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(*(tmp_path / name for name in ("x2.jpg", "x1.jpg", "x3.txt", "sub/y.png")))
    assert find_images([str(tmp_path / pattern)]) == [tmp_path / name for name in expected]


def test_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path / "img[1].jpg", tmp_path / "img1.jpg")
    assert find_images([tmp_path / "img[1].jpg"]) == [tmp_path / "img[1].jpg"]


def test_named_file_of_any_ending_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "image.dat")
    assert find_images([tmp_path / "image.dat"]) == [tmp_path / "image.dat"]


def test_results_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "outputs/pictures/a.jpg")
    assert find_images([tmp_path], exclude=tmp_path / "outputs") == [tmp_path / "a.jpg"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.jpg", "no such file"), ("*.gif", "no match"), ("empty", "no images")],
)
def test_input_that_names_nothing(tmp_path: Path, name: str, reason: str) -> None:
    touch(tmp_path / "empty/readme.txt", tmp_path / "a.jpg")
    with pytest.raises(UserError, match=reason):
        find_images([tmp_path / "a.jpg", tmp_path / name])


# ---- reading


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),  # stored lying on its left side: turn clockwise
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int, turn) -> None:
    stored = Image.fromarray(gradient(40, 64))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "plain.jpg")
    stored.save(tmp_path / "turned.jpg", exif=exif)
    upright = turn(read_image(tmp_path / "plain.jpg"))
    np.testing.assert_array_equal(read_image(tmp_path / "turned.jpg"), upright)


@pytest.mark.parametrize("mode", ["grey", "alpha", "colour", "grey16", "colour16"])
def test_every_kind_of_png_becomes_8_bit_bgr(tmp_path: Path, mode: str) -> None:
    bgr = gradient(20, 30)
    alpha = np.full((20, 30, 1), 128, np.uint8)
    pixels, expected = {
        "grey": (bgr[..., 0], np.repeat(bgr[..., :1], 3, axis=2)),
        "alpha": (np.concatenate([bgr, alpha], axis=2), bgr),
        "colour": (bgr, bgr),
        "grey16": (bgr[..., 0].astype(np.uint16) * 257, np.repeat(bgr[..., :1], 3, axis=2)),
        "colour16": (bgr.astype(np.uint16) * 257, bgr),
    }[mode]
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), expected)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "cut.jpg", "cut.png"])
def test_unreadable_image_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no pixels here")
    elif kind != "missing":
        noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
        data = cv2.imencode(kind[3:], noise)[1].tobytes()
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"bad\.jpg: "):
        read_image(path)


# ---- numbers of classes


def test_category_ids_of_the_annotation_file(tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"categories": [{"id": 9, "name": "b"}, {"id": 4, "name": "a"}]}))
    assert category_ids(["a", "b"], file) == (4, 9)
    assert category_ids(["a", "c"], file) == (1, 2)  # a file of other classes is ignored


def test_category_ids_of_coco_without_its_file(tmp_path: Path) -> None:
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO["classes"]
    ids = dict(zip(names, category_ids(names, tmp_path / "none.json"), strict=True))
    # As printed in COCO's own category list, around the gaps.
    assert [ids[name] for name in ("person", "stop sign", "backpack", "toothbrush")] == [
        1,
        13,
        27,
        90,
    ]
    assert [ids[name] for name in ("dining table", "toilet", "tv", "book")] == [67, 70, 72, 84]
    assert len(COCO_IDS) == 80


def test_missing_colours_are_made() -> None:
    assert palette_of([(1, 2, 3), [4, 5, 6]], 1) == [(1, 2, 3)]
    made = palette_of([(1, 2, 3)], 150)
    assert len(set(made)) == 150
    assert all(0 <= value <= 255 for colour in made for value in colour)


# ---- results


def test_coco_rows_by_hand() -> None:
    rows = coco_rows(instances(masks=True), 5, (3, 7))
    assert [{k: v for k, v in row.items() if k != "segmentation"} for row in rows] == [
        {"image_id": 5, "category_id": 7, "bbox": [2.0, 3.0, 10.5, 6.0], "score": 0.9},
        {"image_id": 5, "category_id": 3, "bbox": [0.0, 0.0, 5.0, 5.0], "score": 0.2},
    ]
    decoded = np.stack([rle.decode(row["segmentation"]) for row in rows])
    np.testing.assert_array_equal(decoded, instances(masks=True).masks.numpy())
    assert all(isinstance(row["segmentation"]["counts"], str) for row in rows)


def test_instance_folder_loads_as_coco_results(tmp_path: Path) -> None:
    image = gradient(20, 30)
    sample = Sample(pred_instances=instances(masks=True))
    with ResultFolder(tmp_path / "out", LABELS, True, 0.5, pictures=False) as results:
        results.keep(results.made(1, Path("a/x.jpg"), image, sample))
        results.skip(Path("broken.jpg"), "why")
        results.keep(results.made(3, Path("b/x.jpg"), image, sample))
    truth = COCO(str(tmp_path / "out/images.json"))
    loaded = truth.loadRes(str(tmp_path / "out/predictions.json"))
    assert loaded.getImgIds() == [1, 3]
    assert [image["file_name"] for image in loaded.loadImgs([1, 3])] == ["a/x.jpg", "b/x.jpg"]
    found = loaded.loadAnns(loaded.getAnnIds(imgIds=3))
    assert [(row["category_id"], row["score"]) for row in found] == [(7, 0.9)]  # 0.2 is below 0.5
    assert truth.loadCats(7) == [{"id": 7, "name": "square"}]
    index = json.loads((tmp_path / "out/images.json").read_text())
    assert index["skipped"] == [{"file_name": "broken.jpg", "reason": "why"}]


def test_map_folder_writes_the_numbers_of_the_data_set(tmp_path: Path) -> None:
    indices = torch.tensor([[[0, 1, 1], [1, 0, 0]]])
    labels = Labels(("wall", "sky"), ((0, 0, 0), (9, 9, 9)), (1, 2))
    with ResultFolder(tmp_path, labels, False, 0.3, pictures=False) as results:
        results.keep(
            results.made(
                1, Path("a.jpg"), gradient(2, 3), Sample(pred_sem_seg=PixelData(data=indices))
            )
        )
    written = np.array(Image.open(tmp_path / "maps/a.png"))
    np.testing.assert_array_equal(written, [[1, 2, 2], [2, 1, 1]])
    assert not (tmp_path / "predictions.json").exists()


def test_maps_of_many_classes_need_16_bits() -> None:
    ids = tuple(range(1, 301))
    assert to_ids(np.array([[0, 299]]), ids).tolist() == [[1, 300]]
    assert to_ids(np.array([[0, 254]]), ids[:255]).dtype == np.uint8


def test_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    inputs = ["a/x.jpg", "b/x.png", "c/X.jpg", "x_2.jpg"]
    with ResultFolder(tmp_path, LABELS, False, 0.3, pictures=True) as results:
        for number, name in enumerate(inputs, 1):
            indices = torch.full((1, 8, 8), number % 2)
            sample = Sample(pred_sem_seg=PixelData(data=indices))
            results.keep(results.made(number, Path(name), gradient(8, 8), sample))
    images = json.loads((tmp_path / "images.json").read_text())["images"]
    assert [image["file_name"] for image in images] == inputs
    for kind in ("map", "picture"):
        names = [image[kind].lower() for image in images]
        assert len(set(names)) == len(inputs)
        assert all((tmp_path / image[kind]).is_file() for image in images)
    for image in images:
        assert (cv2.imread(str(tmp_path / image["map"]), -1) == LABELS.ids[image["id"] % 2]).all()


def test_interrupted_run_leaves_a_valid_index(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ResultFolder(tmp_path, LABELS, True, 0.0, pictures=False) as results,
    ):
        results.keep(
            results.made(1, Path("a.jpg"), gradient(20, 30), Sample(pred_instances=instances()))
        )
        raise KeyboardInterrupt
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 2
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == 1
    assert not list(tmp_path.glob(".*"))


def test_result_folder_that_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made"):
        ResultFolder(tmp_path / "file", LABELS, True, 0.3, pictures=False).__enter__()


# ---- pictures


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 200), (320, 640)), ((700, 900), (700, 900)), ((800, 3200), (400, 1600))],
)
def test_pictures_have_a_readable_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    assert draw(image, Sample(pred_instances=instances()[:0]), LABELS).shape[:2] == expected


def test_box_is_drawn_where_it_was_found() -> None:
    image = np.zeros((80, 160, 3), np.uint8)  # drawn four times as large
    found = instances()
    found.bboxes = torch.tensor([[80.0, 20.0, 140.0, 60.0], [10.0, 10.0, 30.0, 30.0]])
    picture = draw(image, Sample(pred_instances=found), LABELS, score_thr=0.5)
    green = (picture[..., 1] > 100) & (picture[..., 2] < 60)  # label 1, BGR
    y, x = np.nonzero(green)
    assert abs(x.max() - 560) <= 3 and abs(y.max() - 240) <= 3
    assert picture[:, :300].max() == 0  # the box of score 0.2 is left out


def test_mask_is_filled_where_it_was_found() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    found = instances(masks=True)[:1]
    picture = draw(image, Sample(pred_instances=found), LABELS)
    scale = 640 / 30
    inside = picture[int(8.2 * scale), int(11 * scale)]
    assert inside[1] > 60
    assert picture[int(15 * scale), int(20 * scale)].max() == 0


def test_map_is_tinted_and_explained() -> None:
    image = np.full((640, 640, 3), 100, np.uint8)
    indices = torch.zeros(1, 640, 640, dtype=torch.int64)
    indices[:, :, 500:] = 1
    picture = draw(image, Sample(pred_sem_seg=PixelData(data=indices)), LABELS)
    assert picture[600, 20].tolist() == [50, 50, 178]  # half of red (BGR) and half of the image
    assert picture[600, 630].tolist() == [50, 178, 50]
    legend = picture[:, 640:]
    assert legend.shape[1] > 60
    swatches = [tuple(c) for c in np.unique(legend.reshape(-1, 3), axis=0).tolist()]
    assert (0, 0, 255) in swatches and (0, 255, 0) in swatches
    assert (picture[:, :640].min(axis=2) > 200).any()  # white letters upon the regions
