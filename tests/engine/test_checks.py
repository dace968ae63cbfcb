"""Faults of the data that are found before the first step, each with its place and remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from casvit_dense.data.check_coco import check_coco
from casvit_dense.engine.checks import check_channels, check_data
from casvit_dense.engine.coco_backends import evaluate_coco
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.errors import UserError
from casvit_dense.options import COCO_BACKENDS, RunOptions

DEMO = Path(__file__).parents[2] / "configs" / "demo"
CLASSES = ("circle", "square", "triangle")


@pytest.fixture
def coco(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes / "coco", tmp_path / "coco"))


@pytest.fixture
def ade(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes / "ade", tmp_path / "ade"))


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def check_train(coco: Path, classes: tuple[str, ...] = CLASSES, allow_more: bool = False) -> int:
    ann_file = coco / "annotations/instances_train2017.json"
    return check_coco(ann_file, coco / "train2017", classes, allow_more)


def test_sound_coco_gives_its_number_of_images(coco: Path) -> None:
    assert check_train(coco) == 10


def test_missing_annotation_file_and_folder(coco: Path) -> None:
    shutil.rmtree(coco / "train2017")
    with pytest.raises(UserError, match="no image folder .*train2017; --data-root"):
        check_train(coco)
    (coco / "annotations/instances_train2017.json").unlink()
    with pytest.raises(UserError, match="no annotation file .*--data-root"):
        check_train(coco)


def test_missing_images_are_counted_and_named(coco: Path) -> None:
    for name in ("000002.png", "000005.png"):
        (coco / "train2017" / name).unlink()
    with pytest.raises(UserError, match=r"2 of 10 images .* missing: 000002.png, 000005.png"):
        check_train(coco)


@pytest.mark.parametrize(
    ("classes", "allow_more", "message"),
    [
        (("circle", "square", "star"), False, "only in the config: star; .*file: triangle"),
        (("circle", "square"), False, "only in the config: none; only in the file: triangle"),
        (("circle", "star"), True, "only in the config: star; only in the file: square, triangle"),
        (("triangle", "circle", "square"), False, "write the classes in the file's order"),
        (("square", "circle"), True, "write the classes in the file's order"),
    ],
)
def test_categories_against_classes(
    coco: Path, classes: tuple[str, ...], allow_more: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_train(coco, classes, allow_more)


def test_chosen_subset_of_classes_passes(coco: Path) -> None:
    assert check_train(coco, ("circle", "square"), allow_more=True) == 10


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ('{"images": []}', "lacks annotations, categories")]
)
def test_files_that_are_not_cocos(coco: Path, text: str, message: str) -> None:
    (coco / "annotations/instances_train2017.json").write_text(text)
    with pytest.raises(UserError, match=message):
        check_train(coco)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"][1].pop("name"), "categories 2 lacks name"),
        (lambda c: c["images"][3].pop("width"), "images 3 lacks width"),
        (lambda c: c["annotations"][0].pop("area"), "annotations 1 lacks area"),
        (lambda c: c["annotations"].clear(), "holds no annotations"),
        (lambda c: c["images"].clear(), "holds no images"),
        (lambda c: c["annotations"][0].update(category_id=9), "annotation 1 has category_id 9"),
        (lambda c: c["annotations"][0].update(image_id=99), "annotation 1 has image_id 99"),
        (lambda c: c["images"][1].update(id=0), "ids that occur more than once: images 0"),
        (lambda c: c["annotations"][4].update(id=1), "more than once: annotations 1"),
    ],
)
def test_faults_of_records_are_named(coco: Path, change: Callable, message: str) -> None:
    edit(coco / "annotations/instances_train2017.json", change)
    with pytest.raises(UserError, match=message):
        check_train(coco)


def test_masks_are_needed_where_they_are_loaded(coco: Path) -> None:
    def remove(content: dict) -> None:
        for annotation in content["annotations"]:
            del annotation["segmentation"]

    edit(coco / "annotations/instances_train2017.json", remove)
    assert check_train(coco) == 10
    with pytest.raises(UserError, match="annotations 1 lacks segmentation"):
        check_data(demo_config("mask-rcnn_casvit-mini_fpn_shapes", coco), ("train_dataloader",))


@pytest.mark.parametrize("loader", ["train", "val", "test"])
def test_an_annotation_that_no_evaluation_matches_is_named(coco: Path, loader: str) -> None:
    for half in ("train", "val"):
        file = coco / f"annotations/instances_{half}2017.json"
        edit(file, lambda c: c["annotations"][2].update(id=0))
    cfg = demo_config("retinanet_casvit-mini_fpn_shapes", coco)
    if loader == "train":
        check_data(cfg, ["train_dataloader"])
        return
    with pytest.raises(UserError, match="instances_val2017.json: an annotation has the id 0"):
        check_data(cfg, [f"{loader}_dataloader"])


@pytest.mark.filterwarnings("ignore:Found annotation id 0")
@pytest.mark.parametrize("first_id", [0, 1])
@pytest.mark.parametrize("backend", COCO_BACKENDS)
def test_evaluation_takes_the_id_0_for_no_match(backend: str, first_id: int) -> None:
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    truth = {
        "images": [{"id": 1, "width": 9, "height": 9, "file_name": "a"}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{**box, "id": first_id, "area": 16, "iscrowd": 0}],
    }
    numbers = evaluate_coco(truth, [{**box, "score": 0.9}], "bbox", [1], [1], backend)
    assert numbers.stats[0] == pytest.approx(first_id)


def test_faults_of_maps_stop_a_run(ade: Path) -> None:
    cfg = demo_config("fpn_casvit-mini_shapes", ade)
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(ade / "annotations/training/000000.png")
    with pytest.raises(UserError, match="map-label: .*000000.png .*label 9; 1 to 4 are classes"):
        check_data(cfg, ("train_dataloader",))


def demo_config(stem: str, root: Path, **overrides: object) -> Config:
    options = RunOptions(data_root=str(root), cfg_options=overrides)
    cfg = resolve(DEMO / f"{stem}.py", options).config
    register_scope(cfg)
    return cfg


@pytest.mark.parametrize(
    ("stem", "layout"),
    [
        ("retinanet_casvit-mini_fpn_shapes", "coco"),
        ("mask-rcnn_casvit-mini_fpn_shapes", "coco"),
        ("fpn_casvit-mini_shapes", "ade"),
    ],
)
def test_sound_configs_pass_with_a_line_for_each_data_set(
    shapes: Path, stem: str, layout: str
) -> None:
    cfg = demo_config(stem, shapes / layout)
    classes = 3 + (layout == "ade")
    assert check_data(cfg, ("train_dataloader", "val_dataloader")) == [
        f"train: 10 images, {classes} classes",
        f"val: 5 images, {classes} classes",
    ]


@pytest.mark.parametrize(
    ("stem", "layout", "key"),
    [
        ("retinanet_casvit-mini_fpn_shapes", "coco", "model.bbox_head.num_classes"),
        ("mask-rcnn_casvit-mini_fpn_shapes", "coco", "model.roi_head.mask_head.num_classes"),
        ("fpn_casvit-mini_shapes", "ade", "model.decode_head.num_classes"),
    ],
)
def test_every_head_is_compared_with_the_classes(
    shapes: Path, stem: str, layout: str, key: str
) -> None:
    with pytest.raises(UserError, match=r"has \d classes, but .*Head is built for 9"):
        check_data(demo_config(stem, shapes / layout, **{key: 9}), ("train_dataloader",))


def test_backbones_and_proposals_have_no_classes_of_the_data(shapes: Path) -> None:
    stem = "mask-rcnn_casvit-mini_fpn_shapes"
    cfg = demo_config(stem, shapes / "coco")
    cfg.model.backbone.num_classes = 1000
    cfg.model.rpn_head.num_classes = 1
    assert check_data(cfg, ("train_dataloader",))


def test_evaluator_with_the_truth_of_another_set_is_refused(shapes: Path) -> None:
    cfg = demo_config("retinanet_casvit-mini_fpn_shapes", shapes / "coco")
    cfg.val_dataloader.dataset.ann_file = "annotations/instances_train2017.json"
    cfg.val_dataloader.dataset.data_prefix = dict(img="train2017/")
    with pytest.raises(UserError, match="val_evaluator.ann_file is .*val2017.json, but .*set both"):
        check_data(cfg, ("val_dataloader",))


def test_the_truth_may_be_spelt_in_another_way(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shapes.parent)
    cfg = demo_config("retinanet_casvit-mini_fpn_shapes", shapes / "coco")
    cfg.val_dataloader.dataset.data_root = f"{shapes.name}/coco/"
    check_data(cfg, ("val_dataloader",))


@pytest.mark.parametrize(
    ("channels", "indices", "wrong"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], False),
        ([1, 3], [1, 3], False),
        ([1, 3], [1, 2], True),
        ([0, 1], [0, 4], True),
        (3, None, False),
        (2, 2, False),
        (2, None, True),
    ],
)
def test_a_head_without_a_neck_reads_maps_of_its_channels(
    shapes: Path, channels: Any, indices: Any, wrong: bool
) -> None:
    """``channels`` are given here by the map that has them; without ``in_index`` it is the last."""
    cfg = demo_config("fpn_casvit-mini_shapes", shapes / "ade")
    backbone = MODELS.build(cfg.model.backbone)
    dims = backbone.out_channels
    cfg.model.neck = None
    cfg.model.decode_head.in_channels = (
        [dims[i] for i in channels] if isinstance(channels, list) else dims[channels]
    )
    cfg.model.decode_head.pop("in_index", None)
    if indices is not None:
        cfg.model.decode_head.in_index = indices
    if not wrong:
        check_channels(cfg, backbone)
        return
    with pytest.raises(UserError, match=r"model.decode_head.in_channels says"):
        check_channels(cfg, backbone)


def test_classes_may_stand_in_a_file(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    cfg = demo_config("retinanet_casvit-mini_fpn_shapes", shapes / "coco")
    cfg.train_dataloader.dataset.metainfo.classes = str(tmp_path / "classes.txt")
    assert check_data(cfg, ("train_dataloader",)) == ["train: 10 images, 3 classes"]


def test_suffixes_of_the_data_sets_type_hold(ade: Path) -> None:
    """LoveDA's images end in .png, which only its type says."""
    cfg = demo_config("fpn_casvit-mini_shapes", ade)
    dataset = cfg.train_dataloader.dataset
    dataset.type = "LoveDADataset"
    del dataset["img_suffix"]
    assert check_data(cfg, ("train_dataloader",)) == ["train: 10 images, 4 classes"]


def test_a_config_without_validation_passes(shapes: Path) -> None:
    cfg = demo_config("retinanet_casvit-mini_fpn_shapes", shapes / "coco")
    cfg.val_dataloader = None
    assert len(check_data(cfg, ("train_dataloader", "val_dataloader"))) == 1


def test_unknown_kind_of_data_set_is_refused(shapes: Path) -> None:
    stem = "retinanet_casvit-mini_fpn_shapes"
    cfg = demo_config(stem, shapes / "coco", **{"train_dataloader.dataset.type": "CocoDatasett"})
    with pytest.raises(UserError, match="unknown data set 'CocoDatasett'"):
        check_data(cfg, ("train_dataloader",))
