"""Training, resuming and evaluating all three tasks, by the program, on generated data."""

import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense.cli import main
from casvit_dense.deploy import FoldedCASViT, fuse
from casvit_dense.engine import evaluate as evaluation
from casvit_dense.engine import train as training
from casvit_dense.engine.checks import fold
from casvit_dense.engine.config import resolve
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.engine.train import find_resumed, train
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.options import RunOptions
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.row import row_id

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = {
    "retinanet": ("retinanet_casvit-mini_fpn_shapes", "coco", "coco/bbox_mAP"),
    "mask-rcnn": ("mask-rcnn_casvit-mini_fpn_shapes", "coco", "coco/segm_mAP"),
    "fpn": ("fpn_casvit-mini_shapes", "ade", "mIoU"),
}
SMALL = (64, 64)


def config_of(task: str) -> Path:
    return CONFIGS / "demo" / f"{TASKS[task][0]}.py"


def options_of(task: str, shapes: Path, work_dir: Path, rounds: int = 1) -> RunOptions:
    """Options that make a demo config a matter of seconds; a round is an epoch or 2 iterations."""
    length = {"train_cfg.max_iters": 2 * rounds, "train_cfg.val_interval": 2}
    if task != "fpn":
        length = {"train_cfg.max_epochs": rounds, "train_cfg.val_interval": 1}
    overrides = {
        **length,
        "default_hooks.checkpoint.interval": 2 if task == "fpn" else 1,
        "train_dataloader.batch_size": 4,
        "train_dataloader.dataset.pipeline.2.scale": SMALL,
        "val_dataloader.dataset.pipeline.1.scale": SMALL,
        "test_dataloader.dataset.pipeline.1.scale": SMALL,
        "custom_hooks.0.seconds": 0.0,
        # mmengine keeps one visualiser and one logger of a name in a process; names end in the
        # second they were made in.
        "visualizer.name": work_dir.name,
        "experiment_name": work_dir.name,
    }
    data_root = str(shapes / TASKS[task][1])
    return RunOptions(work_dir=work_dir, data_root=data_root, seed=0, cfg_options=overrides)


def log_of(work_dir: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(work_dir.glob("*/*.log")))


@pytest.fixture(scope="module", params=TASKS)
def trained(request: pytest.FixtureRequest, shapes: Path, tmp_path_factory) -> tuple[str, Path]:
    """A task and its work directory after one round."""
    task = request.param
    work_dir = tmp_path_factory.mktemp(f"{task}-work")
    with (work_dir / "console.txt").open("w") as console, redirect_stdout(console):
        checkpoint = train(config_of(task), options_of(task, shapes, work_dir))
    assert checkpoint.parent == work_dir
    return task, work_dir


def test_training_shows_little_and_its_log_keeps_all(trained: tuple[str, Path]) -> None:
    task, work_dir = trained
    shown = (work_dir / "console.txt").read_text().splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith("training iteration 1 of"))
    assert first <= 15
    facts = [line[:13].strip() for line in shown[:first]]
    data = ["data", "data"]
    assert facts == ["config", "model", "weights", "schedule", "device", *data, "log file", "note"]
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
    assert ("loading annotations into memory" in log) == (task != "fpn")
    assert ("UserWarning: The draw is False" in log) == (task == "fpn")


def test_evaluation_leaves_metrics_conditions_and_predictions(
    trained: tuple[str, Path], shapes: Path, capsys: pytest.CaptureFixture
) -> None:
    task, work_dir = trained
    options = options_of(task, shapes, work_dir)
    options.classwise = True
    checkpoint = Path((work_dir / "last_checkpoint").read_text().strip())
    metrics = evaluate(config_of(task), checkpoint, options)
    folder = find_evaluation(work_dir)
    left = json.loads((folder / "metrics.json").read_text())
    assert left["metrics"] == pytest.approx(metrics)
    assert TASKS[task][2] in metrics
    conditions = left["conditions"]
    assert conditions["images"] == 5
    assert conditions["batch_size"] == (1 if task == "fpn" else 4)
    assert conditions["dataset"]["data_root"] == options.data_root
    assert conditions["dataset"]["pipeline"][1]["scale"] == list(SMALL)
    assert conditions["device"]
    assert conditions["coco_backend"] == (None if task == "fpn" else "faster-coco-eval")
    assert left["conditions"]["versions"]["torch"] == torch.__version__
    assert len(left["conditions"]["weights_sha256"]) == 64
    kinds = {"retinanet": ["bbox"], "mask-rcnn": ["bbox", "segm"], "fpn": ["IoU", "Acc"]}[task]
    assert list(left["per_class"]) == kinds
    if task == "fpn":
        assert len(list((folder / "maps").glob("*.png"))) == 5
    else:
        assert len(metrics) == 12 * len(kinds)
        for kind in kinds:
            assert isinstance(json.loads((folder / f"predictions.{kind}.json").read_text()), list)

    shown = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith("evaluation batch 1 of"))
    facts = [line[:13].strip() for line in shown[:first]]
    assert facts == ["config", "model", "weights", "device", "data", "log file"]
    assert sum(line.endswith("(percent)") for line in shown) == (
        1 if task == "fpn" else 2 * len(kinds)
    )
    assert sum(line.endswith(" by class, percent:") for line in shown) == len(kinds)
    assert shown[-2].startswith("evaluated in ")
    assert shown[-2].endswith(f" s: {folder / 'metrics.json'}")
    assert shown[-1] == f"row {left['row']} added to {work_dir.parent / 'results.jsonl'}"
    log = log_of(folder)
    assert all(line in log for line in shown)
    assert "System environment:" in log


@pytest.mark.parametrize("aim", ["time", "memory"])
def test_training_in_the_folded_form(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aim: str
) -> None:
    folded = []
    monkeypatch.setattr(
        training, "fold", lambda backbone, aim: (fold(backbone, aim), folded.append(backbone))
    )
    options = options_of("retinanet", shapes, tmp_path)
    options.cfg_options["model.backbone.norm_eval"] = True
    options.fold = aim
    train(config_of("retinanet"), options)
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
    options = options_of("retinanet", shapes, tmp_path)
    options.fold = "memory"
    options.cfg_options |= more
    with pytest.raises(UserError, match=message):
        train(config_of("retinanet"), options)


def test_fused_form_gives_the_same_metrics(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, work_dir = trained
    checkpoint = Path((work_dir / "last_checkpoint").read_text().strip())
    fused = []
    monkeypatch.setattr(evaluation, "fuse", lambda model: fused.append(fuse(model)) or fused[0])
    found = {}
    for form in ("reference", "fused"):
        options = options_of(task, shapes, tmp_path / form)
        options.fuse = form == "fused"
        found[form] = evaluate(config_of(task), checkpoint, options)
        left = json.loads((find_evaluation(tmp_path / form) / "metrics.json").read_text())
        assert left["conditions"]["form"] == form
    assert found["fused"] == pytest.approx(found["reference"], abs=2e-3, nan_ok=True)
    assert not any(isinstance(m, _BatchNorm) for m in fused[0].backbone.network.modules())


def test_resuming_goes_on_from_the_newest_sound_checkpoint(
    trained: tuple[str, Path], shapes: Path
) -> None:
    task, work_dir = trained
    first = Path((work_dir / "last_checkpoint").read_text().strip())
    # A run that was killed while writing the next checkpoint leaves half of it.
    number = int(first.stem.split("_")[1])
    step = 2 if task == "fpn" else 1
    half = first.with_name(first.name.replace(str(number), str(number + step)))
    half.write_bytes(first.read_bytes()[:1000])
    options = options_of(task, shapes, work_dir, rounds=2)
    options.resume = "auto"
    found, (note,) = find_resumed(resolve(config_of(task), options).config, options)
    assert found == first
    assert half.name in note
    last = train(config_of(task), options)
    assert last == half  # written whole this time
    assert f"resumed epoch: {number}" in log_of(work_dir) or f"iter: {number}" in log_of(work_dir)
    steps = {"fpn": 4}.get(task, 6)  # 10 images, batch 4: three iterations an epoch
    state = torch.load(last, weights_only=False)  # written by this very test
    assert state["meta"]["iter"] == steps
    optimizer_steps = {int(s["step"]) for s in state["optimizer"]["state"].values()}
    assert optimizer_steps == {steps}


def test_resuming_as_another_experiment_is_refused(trained: tuple[str, Path], shapes: Path) -> None:
    task, work_dir = trained
    options = options_of(task, shapes, work_dir)
    options.cfg_options["model.backbone.norm_eval"] = True
    options.resume = "auto"
    with pytest.raises(UserError, match="norm_eval was False, is True"):
        train(config_of(task), options)


def test_nothing_to_resume_starts_from_the_beginning(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "empty")
    options.resume = "auto"
    found, (note,) = find_resumed(resolve(config_of("fpn"), options).config, options)
    assert found is None
    assert "starting from the beginning" in note


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


def test_an_argument_that_nothing_takes_is_a_user_error(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "unknown-argument")
    options.cfg_options["model.backbone.colour"] = "red"
    with pytest.raises(UserError, match="unexpected keyword argument 'colour'"):
        train(config_of("fpn"), options)


def test_a_copied_run_leaves_the_original_alone(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path
) -> None:
    """mmengine would delete the best checkpoint of the run that was copied."""
    task, work_dir = trained
    best = sorted(work_dir.glob("best_*.pth"))
    assert best
    first = min(work_dir.glob("[ei]*_[0-9]*.pth"), key=lambda p: int(p.stem.split("_")[1]))
    options = options_of(task, shapes, tmp_path / f"{task}-copied", rounds=3)
    options.resume = str(first)
    last = train(config_of(task), options)
    assert last.parent == tmp_path / f"{task}-copied"
    assert sorted(work_dir.glob("best_*.pth")) == best


def test_nothing_left_to_train_is_said(trained: tuple[str, Path], shapes: Path) -> None:
    task, work_dir = trained
    options = options_of(task, shapes, work_dir)
    options.resume = "auto"
    with pytest.raises(UserError, match="the schedule was over"):
        train(config_of(task), options)


def test_a_loss_that_is_no_number_stops_the_training(shapes: Path, tmp_path: Path) -> None:
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
        ("train_dataloader.batch_size", 0, "batch_size"),
    ],
)
def test_what_cannot_be_built_is_a_user_error(
    shapes: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    options = options_of("fpn", shapes, tmp_path / f"unbuilt-{value}")
    options.cfg_options[key] = value
    with pytest.raises(UserError, match=f"cannot be built: .*{message}"):
        train(config_of("fpn"), options)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_work_dir_that_cannot_be_made_is_a_user_error(
    shapes: Path, tmp_path: Path, trained: tuple[str, Path], below: str
) -> None:
    (tmp_path / "file").touch()
    task, work_dir = trained
    options = options_of(task, shapes, tmp_path / "file" / below)
    checkpoint = (work_dir / "last_checkpoint").read_text().strip()
    with pytest.raises(UserError, match="cannot be made"):
        evaluate(config_of(task), checkpoint, options)
    with pytest.raises(UserError, match="cannot be made"):
        train(config_of(task), options)


def run_cli(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_user_errors_are_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
    cases = {
        ("train", recipe): "no pretrained weights at pretrained/casvit-xs_in1k.pth",
        ("train", recipe, "--from-scratch", "--data-root", tmp_path): "no annotation file",
        ("train", tmp_path / "none.py"): "no config file",
        ("test", config_of("fpn"), tmp_path / "none.pth"): "none.pth does not exist",
        ("train", recipe, "--pretrained", __file__): "no weight file",
        ("train", recipe, "--launcher", "pytorch"): "start with tools/dist_train.sh",
        ("train", recipe, "--seed", -1): "from 0 to",
        ("train", __file__): "",
        ("train", recipe, "--resume", tmp_path / "none.pth"): "none.pth",
    }
    for arguments, message in cases.items():
        assert run_cli(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_checkpoint_of_another_model_is_refused(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    task, work_dir = trained
    other = {"retinanet": "mask-rcnn", "mask-rcnn": "fpn", "fpn": "retinanet"}[task]
    checkpoint = next(work_dir.glob("*_*.pth"))
    data_root = shapes / TASKS[other][1]
    flags = ("--data-root", data_root, "--work-dir", tmp_path / f"{other}-refused")
    assert run_cli("test", config_of(other), checkpoint, *flags) == 2
    assert checkpoint.name in capsys.readouterr().err


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_evaluate_as_one(task: str, shapes: Path, tmp_path: Path) -> None:
    """Five images over two processes: the sixth place is filled up and must not count."""
    from casvit_dense.engine.config import register_scope

    cfg = resolve(config_of(task), RunOptions()).config
    scope = register_scope(cfg)
    registry = __import__(f"{scope}.registry", fromlist=["MODELS"])
    checkpoint = tmp_path / "random.pth"
    torch.save({"state_dict": registry.MODELS.build(cfg.model).state_dict()}, checkpoint)

    found = []
    for processes in (1, 2):
        work_dir = tmp_path / str(processes)
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", str(processes), "-m", "casvit_dense", "test"),
            *(config_of(task), checkpoint, "--launcher", "pytorch", "--work-dir", work_dir),
            *("--data-root", shapes / TASKS[task][1]),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [str(c) for c in command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines = done.stdout.splitlines()
        assert sum(line.startswith("config ") for line in lines) == 1  # one process speaks
        assert len(lines) <= 15
        found.append(json.loads((find_evaluation(work_dir) / "metrics.json").read_text()))
    one, two = found
    assert (one["conditions"]["processes"], two["conditions"]["processes"]) == (1, 2)
    assert one["conditions"]["images"] == two["conditions"]["images"] == 5
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-9)
    # One row of each run, whatever its processes.
    rows, rejected = read_ledger(tmp_path / "results.jsonl")
    assert rejected == []
    assert [row.processes for row in rows] == [1, 2]
    assert [row_id(row) for row in rows] == [one["row"], two["row"]]
    assert rows[1].command.startswith("torchrun --nproc_per_node 2 -m casvit_dense test ")
    assert rows[0].dataset == rows[1].dataset
