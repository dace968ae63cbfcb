"""Mistakes in configs are refused with what is meant; configs that work are not."""

import sys
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from casvit_dense.checkpoint.formats import MODEL_RECORD
from casvit_dense.cli import main as command
from casvit_dense.cli.options import parse_value
from casvit_dense.config.check import faults
from casvit_dense.config.kept import model_record
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.config.values import check_checkpoints
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from config_mistakes import BASES, MISSPELLINGS, MISTAKES, Mistake

CONFIGS = Path(__file__).parents[2] / "configs"


@cache
def read(base: str) -> Config:
    return read_config(BASES[base])


def mistaken(mistake: Mistake) -> tuple[Config, RunOptions]:
    """The config that a file with the mistake would give, without the time of reading bases."""
    base = read(mistake.base)
    if mistake.override is not None:
        key, _, value = mistake.override.partition("=")
        return base, RunOptions(cfg_options={key: parse_value(value)})
    child: dict = {}
    exec(mistake.text, child)
    del child["__builtins__"]
    merged = Config._merge_a_into_b(child, deepcopy(base._cfg_dict))
    return Config(merged, cfg_text=mistake.text, filename="mistake.py"), RunOptions()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.text)
def test_a_mistake_is_refused_with_what_is_meant(mistake: Mistake) -> None:
    cfg, options = mistaken(mistake)
    with pytest.raises(UserError) as caught:
        resolve(cfg, options)
    named = f"did you mean '{mistake.meant}'?" if mistake in MISSPELLINGS else mistake.meant
    assert named in str(caught.value)


@pytest.mark.parametrize("flag", ["epochs", "iters"])
@pytest.mark.parametrize(
    "recipe", ["retinanet_casvit-xs_fpn_8xb4-1x_coco", "fpn_casvit-xs_8xb4-40k_ade20k-512x512"]
)
def test_a_recipe_of_another_length_is_no_mistake(recipe: str, flag: str) -> None:
    """Its checkpoints keep it, and are checked when they are evaluated."""
    (file,) = CONFIGS.glob(f"*/{recipe}.py")
    fitted = resolve(read_config(file), RunOptions(from_scratch=True, **{flag: 100})).config
    assert faults(fitted) == []


OURS = sorted(path for path in CONFIGS.glob("*/*.py"))
#: Of each framework: some of every kind of part.
THEIRS = {
    "mmdet": (
        "atss/atss_r50_fpn_1x_coco",
        "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco",
        "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco",
        "deformable_detr/deformable-detr_r50_16xb2-50e_coco",
        "dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco",
        "htc/htc_r50_fpn_1x_coco",
        "mask2former/mask2former_r50_8xb2-lsj-50e_coco",
        "pascal_voc/faster-rcnn_r50_fpn_1x_voc0712",
        "pisa/faster-rcnn_r50_fpn_pisa_1x_coco",
        "reppoints/reppoints-moment_r50_fpn_1x_coco",
        "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco",
        "yolox/yolox_tiny_8xb8-300e_coco",
    ),
    "mmseg": (
        "mask2former/mask2former_r50_8xb2-160k_ade20k-512x512",
        "ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024",
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        "unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64",
    ),
}


def theirs(package: str, name: str) -> Path:
    return Path(next(iter(import_module(package).__path__)), ".mim/configs", f"{name}.py")


@pytest.mark.parametrize("base", BASES)
def test_the_demo_is_not_refused(base: str) -> None:
    assert faults(deepcopy(read(base))) == []


@pytest.mark.slow
def test_configs_that_work_are_not_refused() -> None:
    paths = [*OURS, *(theirs(package, name) for package in THEIRS for name in THEIRS[package])]
    wrong = {path.stem: faults(Config.fromfile(path)) for path in paths}
    assert {stem: found for stem, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("pascal_voc/faster-rcnn_r50_fpn_1x_voc0712-cocofmt", "val_evaluator.eval_mode"),
        ("solov2/solov2-light_r18_fpn_ms-3x_coco", "train_cfg.by_epoch"),
    ],
)
def test_mistakes_that_mmdet_ships_are_found(name: str, place: str) -> None:
    assert place in [fault.place for fault in faults(Config.fromfile(theirs("mmdet", name)))]


def test_a_training_that_would_keep_nothing_is_refused() -> None:
    cfg = Config({"default_hooks": {"checkpoint": None}})
    with pytest.raises(UserError, match="no checkpoint would be written"):
        check_checkpoints(cfg)
    cfg.custom_hooks = [{"type": "CheckpointHook"}]
    check_checkpoints(cfg)


def test_a_config_from_outside_is_said_and_can_be_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "config.py"
    file.write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()\n")
    with pytest.raises(UserError, match="--trusted-configs-only: .*config.py is not among"):
        read_config(file, trusted_only=True)
    assert not (tmp_path / "run").exists()
    with caplog.at_level("INFO"):
        read_config(file)
    assert f"{file} is from outside the project" in caplog.text
    caplog.clear()
    read_config(BASES["fpn"], trusted_only=True)
    assert "outside" not in caplog.text


def test_show_prints_what_a_training_would_use(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert command(["config", "show", str(BASES["fpn"]), "--iters", "50", "--lr", "0.1"]) == 0
    shown = tmp_path / "shown.py"
    shown.write_text(capsys.readouterr().out)
    cfg = Config.fromfile(shown)
    assert (cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.lr) == (50, 0.1)
    assert "train_pipeline" not in cfg
    options = RunOptions(iters=50, lr=0.1)
    assert resolve(shown, RunOptions()).hashes == resolve(BASES["fpn"], options).hashes


def test_diff_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"_base_ = {str(BASES['fpn'])!r}\ntrain_cfg = dict(max_iters=7)\nmine = 1\n")
    assert command(["config", "diff", str(BASES["fpn"]), str(file)]) == 1
    assert capsys.readouterr().out == "train_cfg.max_iters: was 1200, is 7\n"
    assert command(["config", "diff", str(file), str(file)]) == 0
    # As many as the config's model has, or more.
    weights = {f"{layer}.weight": torch.zeros(100_000) for layer in range(20)}
    content = {"state_dict": weights, "meta": {MODEL_RECORD: kept(file)}}
    torch.save(content, tmp_path / "epoch_1.pth")
    assert command(["config", "diff", str(tmp_path / "epoch_1.pth"), str(BASES["fpn"])]) == 1
    assert capsys.readouterr().out.endswith("train_cfg.max_iters: was 7, is 1200\n")


def kept(file: Path) -> dict:
    """What a training of a config would keep of it in its checkpoints."""
    resolved = resolve(file, RunOptions())
    return model_record(resolved.config, resolved.recipe)
