"""Training and resuming all three tasks on generated data."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from demo_runs import CONFIGS, TASKS, Runs, config_of, log_of, options_of
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, MODELS

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.cli import main
from casvit_dense.deploy import FoldedCASViT
from casvit_dense.engine import runner
from casvit_dense.engine import train as training
from casvit_dense.engine.checks import fold
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.engine.train import find_resumed, keep_mmcv_operators_in_fp32, train
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


@pytest.mark.parametrize("task", ["retinanet", "fpn"])
def test_resuming_goes_on_from_the_newest_sound_checkpoint(
    task: str, copied: Copied, shapes: Path
) -> None:
    first = copied(task)
    # A run that was killed while writing the next checkpoint leaves half of it.
    number = int(first.stem.split("_")[1])
    step = 2 if task == "fpn" else 1
    half = first.with_name(first.name.replace(str(number), str(number + step)))
    half.write_bytes(first.read_bytes()[:1000])
    options = options_of(task, shapes, first.parent, rounds=2)
    options.resume = "auto"
    found, (message,) = find_resumed(resolve(config_of(task), options).config, options)
    assert found == first
    assert half.name in message
    last = train(config_of(task), options)
    assert last == half  # written whole this time
    log = log_of(first.parent)
    assert f"resumed epoch: {number}" in log or f"iter: {number}" in log
    steps = {"fpn": 4}.get(task, 6)  # 10 images, batch 4: three iterations an epoch
    state = torch.load(last, weights_only=False)  # written by this very test
    assert state["meta"]["iter"] == steps
    optimizer_steps = {int(s["step"]) for s in state["optimizer"]["state"].values()}
    assert optimizer_steps == {steps}


def test_a_seeded_run_is_the_same_with_and_without_a_break(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flips and dropout included; without the hook, a resumed run differs."""

    def weights(name: str, resume: Path | None = None) -> dict[str, torch.Tensor]:
        options = options_of("fpn", shapes, tmp_path / name, rounds=2)
        options.cfg_options["default_hooks.checkpoint.max_keep_ckpts"] = -1
        options.seed, options.resume = 3, resume and str(resume)
        return read_checkpoint(train(config_of("fpn"), options))["state_dict"]

    whole = weights("whole")
    middle = tmp_path / "whole/iter_2.pth"
    resumed = weights("resumed", middle)
    assert resumed.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    monkeypatch.setattr(training, "RepeatableHook", Hook)
    other = weights("other", middle)
    assert [name for name in whole if not torch.equal(whole[name], other[name])] != []


def test_resuming_as_another_experiment_is_refused(copied: Copied, shapes: Path) -> None:
    options = options_of("fpn", shapes, copied("fpn").parent)
    options.cfg_options["model.backbone.norm_eval"] = True
    options.resume = "auto"
    with pytest.raises(UserError, match="norm_eval was False, is True"):
        train(config_of("fpn"), options)


def test_weights_alone_cannot_be_resumed(copied: Copied, shapes: Path) -> None:
    """The best checkpoint, and what `convert` writes, lack the state of a training."""
    checkpoint = copied("fpn")
    options = options_of("fpn", shapes, checkpoint.parent)
    cfg = resolve(config_of("fpn"), options).config
    content = read_checkpoint(checkpoint)
    for lacking, kept in (
        ("optimizer", ("state_dict", "meta")),
        ("epoch, iter, optimizer", ("state_dict",)),
    ):
        torch.save({key: content[key] for key in kept}, checkpoint.with_name("best_mIoU.pth"))
        options.resume = str(checkpoint.with_name("best_mIoU.pth"))
        with pytest.raises(UserError, match=f"holds weights without {lacking}, as"):
            find_resumed(cfg, options)


def test_nothing_to_resume_starts_from_the_beginning(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "empty")
    options.resume = "auto"
    found, (message,) = find_resumed(resolve(config_of("fpn"), options).config, options)
    assert found is None
    assert "starting from the beginning" in message


def test_the_best_copy_is_not_a_step_and_no_sound_checkpoint_is_an_error(
    shapes: Path, tmp_path: Path
) -> None:
    options = options_of("fpn", shapes, tmp_path)
    options.resume = "auto"
    cfg = resolve(config_of("fpn"), options).config
    (tmp_path / "best_mIoU_iter_4.pth").touch()
    (tmp_path / "epoch_best.pth").touch()
    assert find_resumed(cfg, options)[0] is None
    (tmp_path / "iter_4.pth").touch()
    with pytest.raises(UserError, match="no checkpoint in .* can be read"):
        find_resumed(cfg, options)


def test_a_copied_run_leaves_the_original_alone(
    copied: Copied, shapes: Path, tmp_path: Path
) -> None:
    """mmengine would delete the best checkpoint of the run that was copied."""
    first = copied("fpn")
    best = sorted(first.parent.glob("best_*.pth"))
    assert best
    options = options_of("fpn", shapes, tmp_path / "going-on", rounds=2)
    options.resume = str(first)
    assert train(config_of("fpn"), options).parent == tmp_path / "going-on"
    assert sorted(first.parent.glob("best_*.pth")) == best


def test_nothing_left_to_train_is_an_error(copied: Copied, shapes: Path) -> None:
    options = options_of("fpn", shapes, copied("fpn").parent)
    options.resume = "auto"
    with pytest.raises(UserError, match="the schedule was over"):
        train(config_of("fpn"), options)


@pytest.mark.parametrize("key", ["train_dataloader", "train_cfg", "optim_wrapper"])
def test_a_config_without_training_is_refused(tmp_path: Path, key: str, shapes: Path) -> None:
    config = tmp_path / "tested.py"
    config.write_text(f"_base_ = {str(config_of('fpn'))!r}\n{key} = None\n")
    options = options_of("fpn", shapes, tmp_path)
    options.cfg_options = {}
    with pytest.raises(UserError, match=f"cannot be trained: it lacks {key}"):
        train(config, options)


def test_a_loss_that_is_not_finite_stops_the_training(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "nan", rounds=3)
    options.cfg_options["optim_wrapper.optimizer.lr"] = 1e30
    options.cfg_options["param_scheduler.0.start_factor"] = 1.0
    options.cfg_options["custom_hooks.2.interval"] = 1
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at iteration \d; lower the"):
        train(config_of("fpn"), options)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.backbone.arch", "xxs", "unknown arch 'xxs'"),
        ("model.backbone.type", "CASVit", "CASVit is not in"),
        ("model.backbone.colour", "red", "unexpected keyword argument 'colour'"),
        ("train_dataloader.batch_size", 0, "batch_size"),
    ],
)
def test_a_config_that_cannot_be_built_is_a_user_error(
    shapes: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    options = options_of("fpn", shapes, tmp_path / f"unbuilt-{value}")
    options.cfg_options[key] = value
    with pytest.raises(UserError, match=f"cannot be built: .*{message}"):
        train(config_of("fpn"), options)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_work_dir_that_cannot_be_made_is_a_user_error(
    shapes: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    options = options_of("fpn", shapes, tmp_path / "file" / below)
    with pytest.raises(UserError, match="cannot be made"):
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
