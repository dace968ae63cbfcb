"""The generated data set: the same every time, and its two layouts tell one story."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from casvit_dense.data.scene import SHAPES, Region, draw_scene, outlines, stays_whole
from casvit_dense.data.shapes import (
    SPLITS,
    ShapesSpec,
    annotation_file,
    generate_shapes,
    image_folders,
    run_lengths,
)
from casvit_dense.errors import UserError

SPEC = ShapesSpec(train=24, val=12, size=96)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    assert generate_shapes(root, SPEC)
    return root


@pytest.fixture(params=list(SPLITS))
def split(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def coco(root: Path, split: str) -> COCO:
    return COCO(str(annotation_file(root, split)))


def read_map(root: Path, split: str, name: str) -> np.ndarray:
    return cv2.imread(str(image_folders(root, split)[2] / name), cv2.IMREAD_UNCHANGED)


def digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_spec_gives_the_same_bytes(root, tmp_path):
    generate_shapes(tmp_path / "again", SPEC)
    assert digest(tmp_path / "again") == digest(root)


def test_known_scene_stays_as_it_is():
    """A change here changes everybody's demo data: raise ``VERSION`` with it."""
    scene = draw_scene(np.random.default_rng(7), 96, num_objects=3, crowd=True)
    facts = [(SHAPES[r.label], int(r.mask.sum()), r.crowd) for r in scene.regions]
    assert facts == [
        ("triangle", 221, True),
        ("square", 685, False),
        ("square", 985, False),
        ("circle", 303, False),
    ]


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 64}])
def test_another_spec_gives_other_labels(root, tmp_path, change):
    spec = ShapesSpec(**{"train": 2, "val": 1, "size": 96, **change})
    generate_shapes(tmp_path / "other", spec)
    one, other = (annotation_file(r, "val").read_text() for r in (root, tmp_path / "other"))
    assert json.loads(one)["annotations"][0] != json.loads(other)["annotations"][0]


def test_a_picture_does_not_depend_on_how_many_there_are(root, tmp_path):
    generate_shapes(tmp_path / "few", ShapesSpec(train=3, val=1, size=96))
    for few, many in zip(
        image_folders(tmp_path / "few", "train"), image_folders(root, "train"), strict=True
    ):
        for path in few.iterdir():
            assert path.read_bytes() == (many / path.name).read_bytes()


def test_train_and_val_share_no_picture(root):
    pictures = [
        {path.read_bytes() for path in image_folders(root, split)[0].iterdir()} for split in SPLITS
    ]
    assert not pictures[0] & pictures[1]


def test_both_layouts_hold_the_same_pictures(root, split, coco):
    coco_folder, ade_folder, map_folder = image_folders(root, split)
    names = {image["file_name"] for image in coco.dataset["images"]}
    assert len(names) == getattr(SPEC, split)
    for folder in (coco_folder, ade_folder, map_folder):
        assert {path.name for path in folder.iterdir()} == names
    for name in names:
        assert (coco_folder / name).read_bytes() == (ade_folder / name).read_bytes()
        assert cv2.imread(str(coco_folder / name)).shape == (SPEC.size, SPEC.size, 3)


def test_regions_rasterised_by_pycocotools_make_the_index_map(root, split, coco):
    inner = np.s_[SPEC.border : -SPEC.border, SPEC.border : -SPEC.border]
    for image in coco.dataset["images"]:
        drawn = np.ones((SPEC.size, SPEC.size), np.uint8)
        for annotation in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(annotation).astype(bool)
            assert not (drawn[mask] > 1).any(), "regions overlap"
            drawn[mask] = annotation["category_id"] + 1
        np.testing.assert_array_equal(
            read_map(root, split, image["file_name"])[inner], drawn[inner]
        )


def test_boxes_and_areas_are_those_of_the_masks(coco):
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation)
        x, y, width, height = cv2.boundingRect(mask)
        assert annotation["bbox"] == [x, y, width, height]
        assert annotation["area"] == mask.sum()
        assert np.shape(annotation["bbox"]) == (4,) and annotation["area"] > 0


def test_frame_is_unlabelled_and_nothing_else(root, split):
    for path in image_folders(root, split)[2].iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        inner = labels[SPEC.border : -SPEC.border, SPEC.border : -SPEC.border]
        assert labels.dtype == np.uint8 and labels.shape == (SPEC.size, SPEC.size)
        assert (labels == 0).sum() == labels.size - inner.size
        assert inner.min() >= 1 and inner.max() <= 1 + len(SHAPES)


def test_rare_kinds_of_picture_are_there(coco):
    crowds = [a for a in coco.dataset["annotations"] if a["iscrowd"]]
    assert crowds and all(isinstance(a["segmentation"], dict) for a in crowds)
    assert any(not coco.getAnnIds(image_id) for image_id in coco.getImgIds())
    plain = [a for a in coco.dataset["annotations"] if not a["iscrowd"]]
    assert {a["category_id"] for a in plain} == {1, 2, 3}


@pytest.mark.parametrize(
    ("rows", "polygons", "holes"),
    [
        (["#"], [[0, 0, 0, 1, 1, 1, 1, 0]], False),
        (["##.", "##."], [[0, 0, 0, 2, 2, 2, 2, 0]], False),
        (["#.#"], [[2, 0, 2, 1, 3, 1, 3, 0], [0, 0, 0, 1, 1, 1, 1, 0]], False),
        (["###", "#.#", "###"], [[0, 0, 0, 3, 3, 3, 3, 0]], True),
        (["..."], [], False),
    ],
)
def test_outlines_run_along_pixel_edges(rows, polygons, holes):
    mask = np.array([[c == "#" for c in row] for row in rows])
    assert outlines(mask) == (polygons, holes)


@pytest.mark.parametrize(
    ("rows", "counts"),
    [(["#.", "#."], [0, 2, 2]), ([".#", ".."], [2, 1, 1]), (["..", ".#"], [3, 1])],
)
def test_run_lengths_go_down_the_columns(rows, counts):
    mask = np.array([[c == "#" for c in row] for row in rows])
    assert run_lengths(mask) == {"size": [2, 2], "counts": counts}


@pytest.mark.parametrize(
    ("visible", "crowd", "accepted"),
    [
        (["###", "###", "###"], False, True),
        (["##.", "##.", "##."], False, True),
        (["#..", "#..", "##."], False, False),  # 4 of 9
        (["###", "#.#", "###"], False, False),  # a hole, which polygons cannot describe
        (["###", "#.#", "###"], True, True),
    ],
)
def test_objects_may_be_hidden_by_half_but_not_pierced(visible, crowd, accepted):
    region = Region(label=0, mask=np.ones((3, 3), bool), crowd=crowd)
    mask = np.array([[c == "#" for c in row] for row in visible])
    assert stays_whole(region, mask) == accepted


def test_made_once_and_then_found(root):
    before = digest(root)
    assert not generate_shapes(root, SPEC)
    assert digest(root) == before


def test_an_empty_folder_is_filled(tmp_path):
    assert generate_shapes(tmp_path, ShapesSpec(train=1, val=1, size=32))
    assert (tmp_path / "shapes.json").is_file()


def test_a_broken_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("casvit_dense.data.shapes.describe", fail)
    with pytest.raises(KeyboardInterrupt):
        generate_shapes(tmp_path / "shapes", ShapesSpec(train=1, val=1, size=32))
    assert not list(tmp_path.iterdir())


def remove_a_picture(root: Path) -> None:
    next((root / "ade" / "images" / "training").iterdir()).unlink()


def remove_annotations(root: Path) -> None:
    annotation_file(root, "val").unlink()


def garble_manifest(root: Path) -> None:
    (root / "shapes.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_a_picture, "1 pictures, expected 2"),
        (remove_annotations, "missing"),
        (garble_manifest, "no generated shapes"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, damage, message):
    spec = ShapesSpec(train=2, val=1, size=32)
    generate_shapes(tmp_path / "shapes", spec)
    damage(tmp_path / "shapes")
    with pytest.raises(UserError, match=message):
        generate_shapes(tmp_path / "shapes", spec)


def test_other_shapes_are_not_reused(root):
    with pytest.raises(UserError, match="another make"):
        generate_shapes(root, ShapesSpec(train=24, val=12, size=96, seed=5))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="no generated shapes"):
        generate_shapes(tmp_path, SPEC)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    spec = ShapesSpec(train=2, val=1, size=32)
    rename = Path.rename

    def too_late(self, target):
        monkeypatch.setattr(Path, "rename", rename)
        assert generate_shapes(target, spec)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", too_late)
    assert not generate_shapes(tmp_path / "shapes", spec)
