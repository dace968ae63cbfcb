"""Training and resuming all three tasks on generated data."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_runs import CONFIGS, TASKS, Runs, config_of, log_of, options_of
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS

from casvit_dense.cli import main
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.deploy import FoldedCASViT
from casvit_dense.engine import runner
from casvit_dense.engine.checks import fold
from casvit_dense.engine.train import keep_mmcv_operators_in_fp32, train
from casvit_dense.errors import UserError

Copied = Callable[[str], Path]


@pytest.mark.parametrize("task", TASKS)
def test_training_shows_little_and_its_log_keeps_all(task: str, runs: Runs) -> None:
    work_dir = runs[task].parent
    shown = (work_dir / "console.txt").read_text().splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith("training iteration 1 of"))
    assert first <= 15
    facts = [line[:13].strip() for line in shown[:first]]
    # One of ten images has no objects; two steps are less than a warm-up of fifty.
    data, notes = (["data"] * 2, ["note"] * 2) if task == "fpn" else (["data"] * 3, ["note"])
    begin = ["config", "model", "weights", "schedule", "device"]
    assert facts == [*begin, *data, "log file", "steps", *notes]
    assert re.fullmatch(
        r"training iteration 1 of \d, [\d.]+ s each, \d+ s left, loss [\d.]+(?: \(.*\))?, "
        r"lr \S+e-\d\d, memory [\d.]+ GiB",
        shown[first],
    )
    assert sum(line.startswith("evaluation batch 1 of") for line in shown) == 1
    kinds = {"retinanet": 2, "mask-rcnn": 4, "fpn": 1}[task]
    metrics = [line for line in shown if line.startswith("validation after ")]
    assert [line.endswith("(percent)") for line in metrics] == [True] * kinds
    assert shown[-1].startswith("trained in ")
    assert all(line.isprintable() for line in shown)
    assert not any("mmengine" in line or "mAP:" in line or "Average" in line for line in shown)

    log = log_of(work_dir)
    assert all(line in log for line in shown)
    assert re.search(r"System environment:\n +sys.platform: ", log)
    assert re.search(r"Config:\n(?:.*\n)+.*type='CASViT'", log)
    assert "Hooks will be executed in the following order:" in log
    assert ("Average Precision" in log) == (task != "fpn")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("work_dir", "file", "work directory .*file cannot be written: .*: Not a directory"),
        ("init", "file", "weight file .*file is empty"),
        ("load_from", "file", "weight file .*file is empty"),
        ("resume", "", "--resume '': give a name, or no value"),
        ("resume", "https://there/x.pth", "weight file https://there/x.pth is an address"),
        (
            "model.decode_head.feature_strides",
            [4, 8],
            r"cannot be built: AssertionError.*fpn_head.py",
        ),
    ],
)
def test_what_is_wrong_is_said_before_data_are_looked_for(
    name: str, value: Any, said: str, tmp_path: Path
) -> None:
    options = options_of("fpn", tmp_path / "nothing", tmp_path / "work")
    (tmp_path / "file").touch()
    value = tmp_path / value if value == "file" else value
    if hasattr(options, name):
        setattr(options, name, value)
    else:
        options.cfg_options[name] = str(value) if isinstance(value, Path) else value
    with pytest.raises(UserError, match=said):
        train(config_of("fpn"), options)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize("task", ["retinanet", "mask-rcnn"])
def test_losses_in_bfloat16(task: str, shapes: Path, tmp_path: Path) -> None:
    """By the CPU's autocast; mmcv's operators have no kernels of bfloat16 there either."""
    cfg = resolve(config_of(task), options_of(task, shapes, tmp_path)).config
    register_scope(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)

    def loss() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model.parse_losses(model(**data, mode="loss"))[0].item()

    if task == "mask-rcnn":
        with pytest.raises(RuntimeError, match="BFloat16"):
            loss()
    keep_mmcv_operators_in_fp32(model)
    given = []
    for module in model.modules():
        if type(module).__name__ in ("SingleRoIExtractor", "FocalLoss"):
            module.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    assert math.isfinite(loss())
    tensors = [t for first in given for t in (first if isinstance(first, tuple) else [first])]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


@pytest.mark.parametrize("aim", [pytest.param("time", marks=pytest.mark.slow), "memory"])
def test_training_in_the_folded_form(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aim: str
) -> None:
    folded = []
    monkeypatch.setattr(
        runner, "fold", lambda backbone, aim: (fold(backbone, aim), folded.append(backbone))
    )
    options = options_of("fpn", shapes, tmp_path / f"folded-{aim}")
    options.cfg_options["model.backbone.norm_eval"] = True
    options.fold = aim
    train(config_of("fpn"), options)
    (backbone,) = folded
    assert isinstance(backbone, FoldedCASViT)
    assert backbone.network[0][0].recompute is (aim == "memory")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "BatchNorm learns here"),
        ({"model.backbone.norm_eval": True, "model.backbone.with_cp": True}, "exclude each other"),
    ],
)
def test_folding_without_effect_is_refused(
    shapes: Path, tmp_path: Path, more: dict, message: str
) -> None:
    options = options_of("fpn", shapes, tmp_path)
    options.fold = "memory"
    options.cfg_options |= more
    with pytest.raises(UserError, match=message):
        train(config_of("fpn"), options)


@pytest.mark.parametrize("key", ["train_dataloader", "train_cfg", "optim_wrapper"])
def test_a_config_without_training_is_refused(tmp_path: Path, key: str, shapes: Path) -> None:
    config = tmp_path / "tested.py"
    config.write_text(f"_base_ = {str(config_of('fpn'))!r}\n{key} = None\n")
    options = options_of("fpn", shapes, tmp_path)
    options.cfg_options = {}
    with pytest.raises(UserError, match=f"cannot be trained: it lacks {key}"):
        train(config, options)


def test_a_config_that_cannot_be_built_is_a_user_error(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "unbuilt")
    options.cfg_options["model.backbone.arch"] = "xxs"
    with pytest.raises(UserError, match="cannot be built: .*unknown arch 'xxs'"):
        train(config_of("fpn"), options)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_work_dir_that_cannot_be_made_is_a_user_error(
    shapes: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    options = options_of("fpn", shapes, tmp_path / "file" / below)
    with pytest.raises(UserError, match="cannot be written"):
        train(config_of("fpn"), options)


def test_user_errors_are_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
    cases = {
        ("train", recipe): "no pretrained weights at pretrained/casvit-xs_in1k.pth",
        ("train", recipe, "--from-scratch", "--data-root", tmp_path): "--data where your own are",
        ("train", tmp_path / "none.py"): "no config file",
        ("test", config_of("fpn"), tmp_path / "none.pth"): "none.pth does not exist",
        ("train", recipe, "--pretrained", __file__): "no weight file",
        ("train", recipe, "--launcher", "pytorch"): "start with tools/dist_train.sh",
        ("train", recipe, "--seed", -1): "from 0 to",
        ("train", __file__): "",
        ("train", recipe, "--resume", tmp_path / "none.pth"): "none.pth",
    }
    for arguments, message in cases.items():
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
