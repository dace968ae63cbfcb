"""A person's own data by one flag: found, put into configs, trained, tested, exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_layouts
import numpy as np
import pytest
import yaml
from demo_runs import CONFIGS, config_of
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.formats import known_classes
from casvit_dense.cli import main
from casvit_dense.config.kept import kept_config
from casvit_dense.config.own_data import OwnData, find_data
from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import heads_of
from casvit_dense.data.description import DataDescription, read_description
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.options import RunOptions

LAYOUTS: dict[str, Callable[[Path, Path], Path]] = {
    "roboflow": data_layouts.roboflow,
    "yolo": data_layouts.yolo,
    "voc": data_layouts.voc,
    "camvid": data_layouts.camvid,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated set in every layout; not to be changed."""
    folder = tmp_path_factory.mktemp("sets")
    root = data_layouts.shapes(folder / "shapes")
    for name, make in LAYOUTS.items():
        make(root, folder / name)
    data_layouts.one_file(root, folder / "one")
    data_layouts.yolo(root, folder / "polygons", polygons=True)
    return folder


def task_of(layout: str) -> str:
    return "fpn" if layout == "camvid" else "retinanet"


def found(cfg: Config, tmp_path: Path, training: bool = True, **options: Any) -> OwnData:
    data = find_data(cfg, RunOptions(work_dir=tmp_path / "work", **options), training)
    assert data is not None
    return data


def with_data(task: str, tmp_path: Path, **options: Any) -> Config:
    """A demo config with own data put into it."""
    cfg = read_config(config_of(task))
    data = found(cfg, tmp_path, **options)
    return resolve(cfg, RunOptions(work_dir=tmp_path / "work", **options), data).config


@pytest.mark.parametrize("layout", LAYOUTS)
def test_classes_heads_loaders_and_evaluators_follow(
    layout: str, sets: Path, tmp_path: Path
) -> None:
    ignore = {"ignore_label": 11} if layout == "camvid" else {}
    cfg = with_data(task_of(layout), tmp_path, data=sets / layout, **ignore)
    classes = data_layouts.MAP_CLASSES if layout == "camvid" else data_layouts.CLASSES
    assert {head.num_classes for _, head in heads_of(cfg) if "num_classes" in head} == {
        len(classes)
    }
    register_scope(cfg)
    built = {key: DATASETS.build(cfg[f"{key}_dataloader"].dataset) for key in ("train", "val")}
    assert {key: len(dataset) for key, dataset in built.items()} == {"train": 6, "val": 4}
    assert all(list(d.metainfo["classes"]) == classes for d in built.values())
    assert cfg.test_dataloader.dataset.data_prefix == cfg.val_dataloader.dataset.data_prefix
    if layout != "camvid":
        assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file
        truth = json.loads((sets / "shapes/coco/annotations/instances_val2017.json").read_text())
        objects = sum(len(built["val"].get_data_info(i)["instances"]) for i in range(4))
        crowds = 0 if layout != "yolo" else sum(a["iscrowd"] for a in truth["annotations"])
        assert objects == len(truth["annotations"]) - crowds  # YOLO knows none
    # the recipe's own pipeline
    given = read_config(config_of(task_of(layout)))
    assert [s.type for s in cfg.train_dataloader.dataset.pipeline] == [
        s.type for s in given.train_dataloader.dataset.pipeline
    ]


def test_the_ignored_label_reaches_loss_and_metric_as_255(sets: Path, tmp_path: Path) -> None:
    cfg = with_data("fpn", tmp_path, data=sets / "camvid", ignore_label=11)
    register_scope(cfg)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        labels = np.array(Image.open(sample.seg_map_path))
        expected = np.where(labels == 11, 255, labels)
        assert (sample.gt_sem_seg.data[0].numpy() == expected).all()
        assert (labels == 11).any()


def test_labels_from_one_where_zero_is_unlabelled(sets: Path, tmp_path: Path) -> None:
    """The generated maps in ADE20K's layout, whose frame is 0."""
    classes = ",".join(data_layouts.MAP_CLASSES)
    cfg = with_data("fpn", tmp_path, data=sets / "shapes/ade", ignore_label=0, classes=classes)
    register_scope(cfg)
    sample = DATASETS.build(cfg.val_dataloader.dataset)[0]["data_samples"]
    labels = np.array(Image.open(sample.seg_map_path)).astype(int)
    assert (sample.gt_sem_seg.data[0].numpy() == np.where(labels == 0, 255, labels - 1)).all()


def test_undivided_data_are_divided_by_seed(sets: Path, tmp_path: Path) -> None:
    sizes, names = [], []
    for seed in (0, 0, 1):
        cfg = with_data("retinanet", tmp_path, data=sets / "one", split=0.7, seed=seed)
        register_scope(cfg)
        parts = [DATASETS.build(cfg[f"{k}_dataloader"].dataset) for k in ("train", "val")]
        files = [{p.get_data_info(i)["img_path"] for i in range(len(p))} for p in parts]
        assert not files[0] & files[1]
        sizes.append(len(files[1]))
        names.append(files[1])
    assert sizes == [3, 3, 3] and names[0] == names[1] != names[2]


def test_without_val_there_is_no_validation_and_it_is_said(sets: Path, tmp_path: Path) -> None:
    cfg = read_config(config_of("retinanet"))
    data = found(cfg, tmp_path, data=sets / "one")
    assert any("goes without validation" in line for line in data.messages)
    cfg = resolve(cfg, RunOptions(data=sets / "one"), data).config
    assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is None
    assert cfg.test_dataloader.dataset.ann_file == cfg.train_dataloader.dataset.ann_file
    with pytest.raises(UserError, match="neither test nor val"):
        found(cfg, tmp_path, training=False, data=sets / "one")


def test_the_split_of_an_evaluation(sets: Path, tmp_path: Path) -> None:
    """test where it has truth, else val; for predictions alone, test."""
    content = json.loads((sets / "roboflow/valid/_annotations.coco.json").read_text())
    images = {"images": content["images"], "categories": content["categories"]}
    (tmp_path / "test.json").write_text(json.dumps(images))
    splits = {
        name: {
            "images": str(sets / "roboflow" / folder),
            "annotations": str(file),
        }
        for name, folder, file in (
            ("train", "train", sets / "roboflow/train/_annotations.coco.json"),
            ("val", "valid", sets / "roboflow/valid/_annotations.coco.json"),
            ("test", "valid", tmp_path / "test.json"),
        )
    }
    content = {"task": "detection", "classes": data_layouts.CLASSES, "splits": splits}
    file = tmp_path / "set.yaml"
    cfg = read_config(config_of("retinanet"))
    for annotations, truth, expected in (
        (str(tmp_path / "test.json"), True, "val"),
        (str(tmp_path / "test.json"), False, "test"),
        (splits["val"]["annotations"], True, "test"),
        (None, False, "val"),
    ):
        splits["test"]["annotations"] = annotations
        file.write_text(yaml.safe_dump(content))
        data = find_data(cfg, RunOptions(work_dir=tmp_path, data=file), False, truth)
        assert data is not None and data.tested == expected
        assert f"evaluated on {expected}" in data.messages
    splits["train"]["annotations"] = None
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="no annotated split for training"):
        found(cfg, tmp_path, data=file)


def test_a_recipe_of_masks_needs_masks(sets: Path, tmp_path: Path) -> None:
    for config, named in (
        ("mask_rcnn/mask-rcnn_casvit-s_fpn_8xb4-1x", "retinanet/retinanet_casvit-s_fpn_8xb4-1x"),
        ("demo/mask-rcnn_casvit-mini_fpn", "demo/retinanet_casvit-mini_fpn"),
    ):
        (file,) = CONFIGS.glob(f"{config}*.py")
        with pytest.raises(UserError, match=f"boxes and no masks.*configs/{named}_"):
            found(read_config(file), tmp_path, data=sets / "yolo")
    cfg = with_data("mask-rcnn", tmp_path, data=sets / "polygons")
    assert cfg.test_evaluator.metric == ["bbox", "segm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(classes="a"), "--classes is for --data"),
        (dict(data=Path("x"), data_root="y"), "--data and --data-root"),
        (dict(data=Path("x"), cfg_options={"model": {}}), "model and --data contradict"),
        (
            dict(data=Path("x"), cfg_options={"model.bbox_head.num_classes": 2}),
            "num_classes and --data contradict",
        ),
        (dict(data=Path("nowhere")), "no file or folder nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    cfg = Config(dict(default_scope="mmdet"), filename=None)
    cfg._filename = "x.py"
    with pytest.raises(UserError, match=message):
        find_data(cfg, RunOptions(work_dir=tmp_path, **options), training=True)


def test_data_of_the_other_task_are_refused(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data for detection, and .* is for segmentation"):
        found(read_config(config_of("fpn")), tmp_path, data=sets / "one/annotations.json")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["camvid", "roboflow", "yolo", "voc"])
def test_one_flag_trains_and_everything_follows(
    layout: str, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, work_dir, task = sets / layout, tmp_path / f"{layout}-own", task_of(layout)
    about = ["--data", data, *(["--ignore-label", 11] if layout == "camvid" else [])]
    flags = ["--epochs", 2, "--batch-size", 4, "--image-size", 64, "--workers", 0]

    def run(*words: object) -> None:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err

    run("train", config_of(task), *about, *flags, "--work-dir", work_dir, "--seed", 0)
    description = read_description(work_dir / "data.yaml")
    assert isinstance(description, DataDescription)
    checkpoint = work_dir / "epoch_2.pth"
    content = read_checkpoint(checkpoint)
    assert known_classes(content) == description.classes
    assert content["meta"]["model"]["ignore_label"] == (11 if layout == "camvid" else None)
    exported = tmp_path / "model.onnx"
    run("export", checkpoint, "--out", exported, "--input", "64x64")
    image = next(path for path in data.rglob("val*.png") if "annot" not in str(path))
    run("predict", checkpoint, image, "--out", tmp_path / "predicted")
    scale = "test_dataloader.dataset.pipeline.1.scale=(64,64)"
    figures, boxes = [], []
    for number, words in enumerate(
        [
            (checkpoint,),
            (checkpoint, *about),
            (exported,),
            (exported, *about),
            (config_of(task), checkpoint, *about, "--cfg-options", scale),
        ]
    ):
        folder = tmp_path / f"{layout}-test{number}"
        run("test", *words, "--work-dir", folder)
        evaluation = find_evaluation(folder)
        figures.append(json.loads((evaluation / "metrics.json").read_text())["metrics"])
        if layout != "camvid":
            found = json.loads((evaluation / "predictions.bbox.json").read_text())
            boxes.append(sorted((round(r["score"], 3), r["category_id"]) for r in found)[-20:])
    assert figures[0] == figures[1] == figures[4]
    assert figures[2] == figures[3] == pytest.approx(figures[0], abs=0.1)
    assert all(one == boxes[0] and len(one) == 20 for one in boxes)
    if layout == "camvid":
        assert main(["analyze", str(tmp_path / f"{layout}-test0")]) == 0
        assert "are not those that were evaluated" not in capsys.readouterr().out
    assert kept_config(checkpoint).work_dir == str(work_dir)
