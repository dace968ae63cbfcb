"""The demo from end to end on a handful of small pictures, and what it says at the end."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import MODELS as MODEL_REGISTRY
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from casvit_dense import demo
from casvit_dense.cli import demo as command
from casvit_dense.config.read import register_scope
from casvit_dense.data.scene import SHAPES
from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.demo import DemoResult, as_prediction, find_config, run_demo, summary
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.zoo import DEMO_MODELS

#: One short step a model. The training pictures include one with a crowd and an empty one.
SPEC = ShapesSpec(train=8, val=2, size=96)
SHORT = {
    "retinanet": {"train_cfg.max_epochs": 1, "param_scheduler": []},
    "fpn": {
        "train_cfg.max_iters": 1,
        "param_scheduler": [],
        "train_dataloader.batch_size": 4,
        "train_dataloader.dataset.pipeline.2.scale": (64, 64),
        "val_dataloader.dataset.pipeline.1.scale": (64, 64),
        "test_dataloader.dataset.pipeline.1.scale": (64, 64),
    },
}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    generate_shapes(root, SPEC)
    return root


@pytest.mark.parametrize("name", [pytest.param("retinanet", marks=pytest.mark.slow), "fpn"])
def test_demo_trains_evaluates_and_draws(name, data_root, tmp_path):
    said: list[str] = []
    results = run_demo(tmp_path, data_root, [name], SPEC, SHORT[name], said.append)
    assert [r.model for r in results] == [DEMO_MODELS[name]]
    assert said == [f"demo: data set found in {data_root}", f"demo: {name}"]

    folder = tmp_path / DEMO_MODELS[name].config
    assert results[0].folder == folder
    stored = json.loads((find_evaluation(folder) / "metrics.json").read_text())
    assert stored["metrics"][DEMO_MODELS[name].metric] == results[0].value
    pictures = sorted((folder / "pictures").iterdir())
    assert [path.stem for path in pictures] == [f"{i:06d}" for i in range(SPEC.val)]
    shape = cv2.imread(str(pictures[0])).shape
    assert shape[0] == 640 and shape[1] >= 1280, "truth and prediction side by side"


@pytest.mark.parametrize("name", DEMO_MODELS)
def test_models_build_and_share_the_small_backbone(name):
    cfg = Config.fromfile(find_config(DEMO_MODELS[name].config))
    register_scope(cfg)
    model = MODEL_REGISTRY.build(cfg.model)
    assert cfg.model.backbone.arch == {"depths": [1, 1, 2, 1], "dims": [16, 32, 64, 96]}
    assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
    assert not model.backbone.norm_eval and cfg.model.backbone.init_cfg is None
    assert sum(p.numel() for p in model.parameters()) < 2e6


@pytest.mark.parametrize("name", DEMO_MODELS)
def test_configs_know_the_classes_of_the_data(name):
    cfg = Config.fromfile(find_config(DEMO_MODELS[name].config))
    classes = SHAPES if DEMO_MODELS[name].layout == "coco" else ("background", *SHAPES)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == classes
        assert len(loader.dataset.metainfo.palette) == len(classes)
        assert Path(loader.dataset.data_root) == Path("data/shapes", DEMO_MODELS[name].layout)


def test_config_that_is_nowhere_is_named():
    with pytest.raises(UserError, match="no config nonsense.py"):
        find_config("nonsense")


def result(name: str, value: float, seconds: float) -> DemoResult:
    return DemoResult(DEMO_MODELS[name], value, seconds, Path("out", name))


def test_summary_counts_who_reached_the_bar():
    lines = summary([result("retinanet", 0.55, 61), result("fpn", 79.99, 200)], 263.4)
    assert lines[-1] == ("demo: 1 of 2 models reached the expected accuracy in 4 min 23 s")
    assert lines[1].split() == [
        *("retinanet_casvit-mini_fpn_shapes", "coco/bbox_mAP", "0.55", "0.55"),
        *("1", "min", "01", "s", "out/retinanet"),
    ]
    assert len(lines) == 4


@pytest.mark.parametrize(("value", "code"), [(80.0, 0), (79.0, 1)])
def test_exit_code_says_whether_all_reached(monkeypatch, capsys, value, code):
    monkeypatch.setattr(demo, "run_demo", lambda *args: [result("fpn", value, 1)])
    args = type("Args", (), {"out": Path("o"), "data_root": Path("d"), "only": ["fpn"]})
    assert command.run(args) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"demo: {1 - code} of 1")


def test_the_data_can_be_made_alone(data_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run_demo", partial(run_demo, spec=SPEC))
    args = type("Args", (), {"out": tmp_path, "data_root": data_root, "only": ["data"]})
    assert command.run(args) == 0
    assert capsys.readouterr().out == f"demo: data set found in {data_root}\n"
    assert sorted(path.name for path in (data_root / "classes/train").iterdir()) == sorted(SHAPES)
    assert not list(tmp_path.iterdir())


def test_truth_of_boxes_is_drawn_as_certain_predictions():
    masks = np.zeros((2, 6, 8), np.uint8)
    masks[0, 1:3, 1:4], masks[1, 4, 5] = 1, 1
    truth = DetDataSample(
        gt_instances=InstanceData(
            bboxes=HorizontalBoxes(torch.tensor([[1.0, 1, 4, 3], [5, 4, 6, 5]])),
            labels=torch.tensor([2, 0]),
            masks=BitmapMasks(masks, 6, 8),
        )
    )
    drawn = as_prediction(truth, num_classes=3).pred_instances
    assert drawn.bboxes.tolist() == [[1, 1, 4, 3], [5, 4, 6, 5]]
    assert drawn.labels.tolist() == [2, 0] and drawn.scores.tolist() == [1, 1]
    assert drawn.masks.dtype == torch.bool and (drawn.masks.numpy() == masks).all()


def test_truth_of_maps_gives_unlabelled_pixels_the_next_class():
    truth = SegDataSample(gt_sem_seg=PixelData(data=torch.tensor([[[255, 0], [1, 0]]])))
    assert as_prediction(truth, num_classes=4).pred_sem_seg.data.tolist() == [[[4, 0], [1, 0]]]
