"""Faults of the data that are found before the first step, each with its place and remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.data.findings import Findings
from casvit_dense.engine.check_data import check_config
from casvit_dense.engine.checks import check_channels, check_data
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

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
    files = [shapes / f"coco/annotations/instances_{part}2017.json" for part in ("train", "val")]
    objects = [len(json.loads(file.read_text())["annotations"]) for file in files]
    kept = f"9 of 10 images (1 without objects), {objects[0]} objects"
    lines = {
        "coco": [
            f"train: {kept}, 3 classes",
            f"val: 5 images, {objects[1]} objects, 3 classes",
            f"warning images-lost: {files[0]}: more than one image in twenty is not trained on "
            f"({kept})",
        ],
        "ade": ["train: 10 images, 4 classes", "val: 5 images, 4 classes"],
    }
    assert check_data(cfg, ("train_dataloader", "val_dataloader")) == lines[layout]


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


def test_every_fault_of_all_loaders_is_told_at_once(coco: Path) -> None:
    def spoil(content: dict) -> None:
        content["annotations"][0]["bbox"][2] = -4
        content["annotations"][1]["iscrowd"] = "0"

    edit(coco / "annotations/instances_train2017.json", spoil)
    (coco / "val2017/000002.png").unlink()
    with pytest.raises(UserError) as error:
        check_data(
            demo_config("retinanet_casvit-mini_fpn_shapes", coco),
            ("train_dataloader", "val_dataloader"),
        )
    for said in (
        "3 faults",
        "box-negative",
        "annotation 1 (000000.png)",
        "flag-form",
        "000002.png",
    ):
        assert said in str(error.value)


def test_masks_are_needed_where_they_are_loaded(coco: Path) -> None:
    def remove(content: dict) -> None:
        for annotation in content["annotations"]:
            del annotation["segmentation"]

    edit(coco / "annotations/instances_train2017.json", remove)
    cfg = demo_config(
        "retinanet_casvit-mini_fpn_shapes",
        coco,
        **{"train_dataloader.dataset.pipeline.1.with_mask": False},
    )
    assert check_data(cfg, ["train_dataloader"])
    with pytest.raises(UserError, match=r"mask-missing.*annotation 1 \("):
        check_data(demo_config("mask-rcnn_casvit-mini_fpn_shapes", coco), ["train_dataloader"])


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
    assert check_data(cfg, ("train_dataloader",))[0].endswith(" objects, 3 classes")


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
    lines = check_data(cfg, ("train_dataloader", "val_dataloader"))
    assert [line.partition(":")[0] for line in lines] == ["train", "warning images-lost"]


def test_unknown_kind_of_data_set_is_refused(shapes: Path) -> None:
    stem = "retinanet_casvit-mini_fpn_shapes"
    cfg = demo_config(stem, shapes / "coco")
    cfg.train_dataloader.dataset.type = "CocoDatasett"
    with pytest.raises(UserError, match="unknown data set 'CocoDatasett'"):
        check_data(cfg, ("train_dataloader",))


@pytest.mark.parametrize(
    ("stem", "layout", "train", "val"),
    [
        ("retinanet_casvit-mini_fpn_shapes", "coco", "train2017", "val2017"),
        ("fpn_casvit-mini_shapes", "ade", "images/training", "images/validation"),
    ],
)
def test_a_config_is_checked_for_images_of_two_splits(
    stem: str, layout: str, train: str, val: str, shapes: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(shapes / layout, tmp_path / layout))
    shared = []
    for _ in range(2):
        findings = Findings()
        check_config(DEMO / f"{stem}.py", findings, str(root))
        assert findings.errors() == []
        shared.append(["image-shared" in found.kind.code for found in findings.all()])
        shutil.copy(min((root / train).iterdir()), min((root / val).iterdir()))
    assert [sum(found) for found in shared] == [0, 1]
