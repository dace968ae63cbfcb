"""A backbone from outside, by one config: the worked examples of the page."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from pages import code_of_page

from casvit_dense.config.read import read_config, register_scope
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.results.ledger import read_ledger

CONFIGS = Path(__file__).parents[2] / "configs"
CLASS, CONFIG, _, MMPRETRAIN = code_of_page("python", "backbones.md")
BASES = ("retinanet", "mask-rcnn", "sem-fpn")


def importable(package: str) -> bool:
    try:
        import_module(package)
    except Exception:  # a torchvision that does not fit torch raises a RuntimeError
        return False
    return True


@pytest.fixture(scope="module")
def my_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path with the page's module in it."""
    folder = tmp_path_factory.mktemp("my_package")
    (folder / "my_backbone.py").write_text(CLASS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def write_config(folder: Path, text: str, base: str = "retinanet") -> Path:
    path = folder / f"{base}_mine.py"
    bases = CONFIGS / "peers/_base_"
    text = text.replace('"configs/peers/_base_/retinanet.py"', repr(str(bases / f"{base}.py")))
    path.write_text(text)
    return path


@pytest.mark.parametrize("base", BASES)
def test_the_class_of_the_page_stands_under_every_head(base: str, my_package: Path) -> None:
    cfg = Config.fromfile(write_config(my_package, CONFIG, base))
    scope = register_scope(cfg)
    model = import_module(f"{scope}.registry").MODELS.build(cfg.model)
    model.init_weights()
    assert type(model.backbone).__name__ == "MyBackbone"
    maps = model.backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (1, 16, 16, 24),
        (1, 32, 8, 12),
        (1, 64, 4, 6),
        (1, 128, 2, 3),
    ]
    levels = model.neck(maps)
    assert len(levels) == (4 if base == "sem-fpn" else 5)


def test_the_config_of_the_page_trains_and_evaluates(
    my_package: Path, shapes: Path, tmp_path: Path
) -> None:
    loaders = ("train", "val", "test")
    classes = ("circle", "square", "triangle")
    overrides = {
        **{f"{loader}_dataloader.num_workers": 0 for loader in loaders},
        **{f"{loader}_dataloader.dataset.metainfo": {"classes": classes} for loader in loaders},
        "train_dataloader.dataset.pipeline.2.scale": (64, 64),
        "val_dataloader.dataset.pipeline.1.scale": (64, 64),
        "test_dataloader.dataset.pipeline.1.scale": (64, 64),
        "model.bbox_head.num_classes": 3,
        "train_cfg.max_epochs": 1,
        "visualizer.name": "own_backbone",
        "experiment_name": "own_backbone",
    }
    options = RunOptions(
        work_dir=tmp_path / "work",
        data_root=str(shapes / "coco"),
        seed=0,
        from_scratch=True,
        cfg_options=overrides,
    )
    config = write_config(my_package, CONFIG)
    checkpoint = train(config, options)
    assert "coco/bbox_mAP" in evaluate(config, checkpoint, options)
    (row,), _ = read_ledger(tmp_path / "results.jsonl")
    assert (row.backbone, row.seed, row.dataset.title) == ("MyBackbone", 0, shapes.name)
    # Of a stage: weights of its convolutions; its biases and norms cost no multiply-adds.
    widths, pixels = (3, 16, 32, 64, 128), (16**2, 8**2, 4**2, 2**2)
    weights = [
        a * b * side**2 + 49 * b + 8 * b**2
        for a, b, side in zip(widths, widths[1:], (4, 2, 2, 2), strict=False)
    ]
    others = sum((b + 2 * b) + (b + 2 * b + 4 * b + b) for b in widths[1:])
    assert row.costs.size == "64x64"
    counted = (sum(weights) + others) / 1e6
    assert row.costs.backbone_params_m == pytest.approx(counted, rel=1e-4)
    macs = sum(weight * count for weight, count in zip(weights, pixels, strict=True))
    assert row.costs.backbone_gmacs == pytest.approx(macs / 1e9, rel=1e-4)
    assert row.costs.params_m > row.costs.backbone_params_m


@pytest.mark.parametrize("base", BASES)
def test_the_example_of_mmpretrain_gives_four_maps(base: str, tmp_path: Path) -> None:
    if not importable("mmpretrain"):
        pytest.skip("mmpretrain is not here, or does not import")
    text = f'_base_ = "configs/peers/_base_/retinanet.py"\n{MMPRETRAIN}'
    cfg = Config.fromfile(write_config(tmp_path, text, base))
    scope = register_scope(cfg)
    model = import_module(f"{scope}.registry").MODELS.build(cfg.model)
    maps = model.backbone(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == list(cfg.model.neck.in_channels)
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2]


def test_channels_that_the_neck_does_not_expect_are_said_first(
    my_package: Path, tmp_path: Path
) -> None:
    wrong = CONFIG.replace("in_channels=[16, 32, 64, 128]", "in_channels=[16, 32, 64, 99]")
    assert wrong != CONFIG
    options = RunOptions(work_dir=tmp_path / "work", data_root="nowhere", from_scratch=True)
    with pytest.raises(UserError, match=r"\[16, 32, 64, 128\] channels.* \[16, 32, 64, 99\]"):
        train(write_config(tmp_path, wrong), options)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("text", ["import missing_module", "from missing_module import x"])
def test_what_a_module_fails_to_import_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_backbone.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    path = write_config(tmp_path, CONFIG.replace("my_backbone", "failing_backbone"))
    with pytest.raises(UserError, match="No module named 'missing_module'"):
        read_config(path)
