"""A run that was broken off ends as a straight one, or says why it cannot go on."""

import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from broken_runs import differences, options_for, signal_at
from demo_runs import config_of, log_of
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.hooks import BackboneRecordHook
from casvit_dense.engine.record import training_of
from casvit_dense.engine.resume import (
    ResumedRun,
    changes_since,
    check_same_start,
    find_resumed,
    one_training_in,
    refuse_changes,
)
from casvit_dense.engine.runner import check_unfinished
from casvit_dense.engine.train import records_of, train
from casvit_dense.errors import Stopped, UserError
from casvit_dense.training.saving import KeepingHook, numbered

Straight = Callable[[str], Path]


@pytest.fixture(scope="session")
def straight(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """Work directories of runs without a break."""

    @cache
    def run(task: str) -> Path:
        folder = tmp_path_factory.mktemp("straight") / task
        return train(config_of(task), options_for(task, shapes, folder)).parent

    return run


@pytest.fixture
def broken(straight: Straight, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of these, killed after their first checkpoint."""

    def copy(task: str) -> Path:
        folder = tmp_path / f"{task}-broken"
        shutil.copytree(straight(task), folder)
        for later in numbered(folder)[:-1]:
            later.unlink()
        return folder

    return copy


@pytest.mark.parametrize("task", ["fpn", pytest.param("retinanet", marks=pytest.mark.slow)])
def test_after_a_kill_it_goes_on_from_the_newest_whole_checkpoint(
    task: str, straight: Straight, broken: Callable[[str], Path], shapes: Path
) -> None:
    folder = broken(task)
    (first,) = (path for path in folder.glob("*.pth") if not path.name.startswith("best"))
    damaged = folder / numbered(straight(task))[0].name
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    left = folder / ".unfinished.iter_4.pth"
    left.touch()
    options = options_for(task, shapes, folder, resume="auto")
    found = find_resumed(resolve(config_of(task), options).config, options)
    assert found is not None and found.checkpoint == first
    assert len(found.messages) == 1 and f"{damaged} is damaged" in found.messages[0]
    last = train(config_of(task), options)
    assert last == damaged  # written whole this time
    assert differences(last, numbered(straight(task))[0]) == []
    assert not left.exists()
    assert "evaluation batch" in log_of(folder)  # the validation before the break is made again


@pytest.mark.parametrize(
    ("task", "at", "workers"),
    [
        ("fpn", 3, 2),
        ("retinanet", 4, 2),
        pytest.param("retinanet", 1, 0, marks=pytest.mark.slow),
        pytest.param("retinanet", 3, 0, marks=pytest.mark.slow),
        pytest.param("mask-rcnn", 2, 4, marks=pytest.mark.slow),
        pytest.param("fpn", 1, 4, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_at_its_step_and_the_run_ends_as_a_straight_one(
    task: str,
    at: int,
    workers: int,
    straight: Straight,
    shapes: Path,
    tmp_path: Path,
) -> None:
    """Also inside an epoch, and with other workers than the straight run, which had none."""
    folder = tmp_path / f"{task}-stopped"
    options = options_for(task, shapes, folder, workers=workers)
    with (
        signal_at(at, signal.SIGTERM),
        pytest.raises(Stopped, match=f"SIGTERM at iteration {at}: saved as .*--resume"),
    ):
        train(config_of(task), options)
    stopped = folder / f"stopped_iter_{at}.pth"
    assert stopped.exists()
    assert "stopped by SIGTERM" in log_of(folder)
    options.resume = "auto"
    last = train(config_of(task), options)
    assert differences(last, numbered(straight(task))[0]) == []
    assert not stopped.exists()  # later checkpoints replace it


#: Kind -> overrides by dotted key, or fields of the options; what is said.
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "rate": ({"optim_wrapper.optimizer.lr": 0.5}, "optim_wrapper.optimizer.lr: was"),
    "decay": ({"optim_wrapper.optimizer.weight_decay": 0.5}, "weight_decay: was"),
    "optimizer": (
        {"optim_wrapper.optimizer": {"_delete_": True, "type": "SGD", "lr": 0.1}},
        "type: was 'AdamW', is 'SGD'",
    ),
    "clipping": ({"optim_wrapper.clip_grad": {"max_norm": 1}}, "clip_grad: was None, is"),
    "accumulation": ({"optim_wrapper.accumulative_counts": 2}, "counts: was None, is 2"),
    "precision": (
        {"optim_wrapper.type": "AmpOptimWrapper"},
        "optim_wrapper.type: was 'OptimWrapper', is 'AmpOptimWr",
    ),
    "schedule": ({"param_scheduler.1.eta_min": 0.5}, "param_scheduler.1.eta_min: was"),
    "length": ({"train_cfg.max_iters": 6}, "train_cfg.max_iters: was 4, is 6"),
    "batch": ({"train_dataloader.batch_size": 2}, "images a process and step: was 4, is 2"),
    "processes": ({"launcher": "pytorch"}, "processes: was 1, is 2"),
    "pipeline": (
        {"train_dataloader.dataset.pipeline.3.prob": [0.1, 0.3]},
        "pipeline.3.prob.0: was 0.3, is 0.1",
    ),
    "backbone": ({"model.backbone.norm_eval": True}, "norm_eval: was False, is True"),
    "loss": ({"model.decode_head.loss_decode.loss_weight": 2.0}, "loss_weight: was 1, is 2"),
    "classes": (
        {"train_dataloader.dataset.metainfo": {"classes": ["a", "b", "c", "d"]}},
        "classes.0: was ",
    ),
    "seed": ({"seed": 5}, "seed: was 0, is 5"),
    "data": ({"data_root": "other"}, "training data: was '10 images, "),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_is_named(
    kind: str,
    broken: Callable[[str], Path],
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = options_for("fpn", shapes, broken("fpn"), resume="auto")
    change, expected = CHANGES[kind]
    for key, value in change.items():
        if key == "data_root":
            shutil.copytree(shapes / "ade", tmp_path / "other")
            image = next((tmp_path / "other/annotations/training").iterdir())
            image.write_bytes(image.read_bytes() + b"\0")
            options.data_root = str(tmp_path / "other")
        elif "." in key:
            options.cfg_options[key] = value
        else:
            setattr(options, key, value)
    if kind == "processes":
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
    resolved = resolve(config_of("fpn"), options)
    register_scope(resolved.config)
    resumed = find_resumed(resolved.config, options)
    assert resumed is not None
    dataset = DATASETS.build(resolved.config.train_dataloader.dataset)
    runner: Any = SimpleNamespace(
        max_iters=4, seed=0, train_dataloader=SimpleNamespace(dataset=dataset)
    )
    changes = changes_since(resumed, resolved, records_of(resolved, options, runner))
    assert any(expected in line for line in changes), changes


def test_a_changed_run_is_refused_and_nothing_is_lost(
    broken: Callable[[str], Path], shapes: Path
) -> None:
    folder = broken("fpn")
    options = options_for("fpn", shapes, folder, resume="auto", seed=5)
    options.cfg_options["optim_wrapper.optimizer.lr"] = 0.5
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    with pytest.raises(UserError, match="cannot be resumed, since things have changed") as error:
        train(config_of("fpn"), options)
    said = str(error.value)
    assert "optimizer.lr: was 0.002, is 0.5" in said and "seed: was 0, is 5" in said
    assert "--allow-changed-resume" in said
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before


def test_of_many_changes_the_first_are_named_and_the_others_counted() -> None:
    resumed = ResumedRun(Path("iter_4.pth"), {"meta": {"iter": 4}}, ())
    with pytest.raises(UserError, match=r"place 9: \S+\n  and 47 more\n  Give"):
        refuse_changes(resumed, [f"place {number}: changed" for number in range(57)])


def test_a_changed_run_that_is_allowed_follows_its_config_and_says_so(
    broken: Callable[[str], Path], shapes: Path
) -> None:
    options = options_for("fpn", shapes, broken("fpn"), resume="auto", allow_changed_resume=True)
    options.cfg_options["optim_wrapper.optimizer.lr"] = 0.5
    content = read_checkpoint(train(config_of("fpn"), options))
    record = training_of(content)
    assert record is not None and len(record.changes) == 1
    assert record.changes[0].startswith("optim_wrapper.optimizer.lr: was")
    (group, *_) = content["optimizer"]["param_groups"]
    assert group["initial_lr"] == 0.5
    # The two schedulers of the config from the start: warm-up over 50 steps, then poly.
    cfg = resolve(config_of("fpn"), options).config
    factor = cfg.param_scheduler[0].start_factor
    steps = cfg.param_scheduler[0].end - 1
    expected = 0.5 * (factor + (1 - factor) * min(4 / steps, 1))
    assert group["lr"] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(("done", "changed"), [(10**9, False), (4, True), (5, False)])
@pytest.mark.parametrize("kind", [IterBasedTrainLoop, EpochBasedTrainLoop])
def test_a_run_beyond_its_schedule_is_refused(kind: type, done: int, changed: bool) -> None:
    loop = object.__new__(kind)
    loop._max_iters = loop._max_epochs = 4
    for fine in ({"iter": 3, "epoch": 3}, {"iter": 4 - changed, "epoch": 4 - changed}):
        check_unfinished("x.pth", fine, loop, changed)
    with pytest.raises(UserError, match=f"it has {done} .* ends after 4; give a longer one"):
        check_unfinished("x.pth", {"iter": done, "epoch": done}, loop, changed)


@pytest.mark.slow
def test_epochs_may_change_their_length(broken: Callable[[str], Path], shapes: Path) -> None:
    options = options_for(
        "retinanet", shapes, broken("retinanet"), resume="auto", allow_changed_resume=True
    )
    options.cfg_options["train_dataloader.batch_size"] = 2
    meta = read_checkpoint(train(config_of("retinanet"), options))["meta"]
    assert (meta["epoch"], meta["iter"]) == (2, 10)


def test_machines_must_begin_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that are not shared: the first machine alone has checkpoints."""
    check_same_start(None)
    monkeypatch.setattr("casvit_dense.engine.resume.on_main_process", lambda task: 4)
    with pytest.raises(UserError, match="first process begins at iteration 4, this one at 0"):
        check_same_start(None)
    check_same_start(ResumedRun(Path("iter_4.pth"), {"meta": {"iter": 4}}, ()))


def test_weights_alone_cannot_be_resumed(broken: Callable[[str], Path], shapes: Path) -> None:
    """The best checkpoint, and what `convert` writes, lack the state of a training."""
    folder = broken("fpn")
    content = read_checkpoint(folder / "iter_2.pth")
    options = options_for("fpn", shapes, folder, resume=str(folder / "best_mIoU.pth"))
    cfg = resolve(config_of("fpn"), options).config
    for lacking, kept in (
        ("optimizer, message_hub, param_schedulers", ("state_dict", "meta")),
        ("meta, optimizer, message_hub, param_schedulers", ("state_dict",)),
    ):
        torch.save({key: content[key] for key in kept}, folder / "best_mIoU.pth")
        with pytest.raises(UserError, match=f"cannot be resumed: it has no {lacking}, as"):
            find_resumed(cfg, options)


def test_what_is_no_state_is_left_out_and_none_left_is_an_error(
    shapes: Path, tmp_path: Path
) -> None:
    options = options_for("fpn", shapes, tmp_path, resume="auto")
    cfg = resolve(config_of("fpn"), options).config
    (tmp_path / "best_mIoU_iter_4.pth").touch()
    (tmp_path / "epoch_best.pth").touch()
    assert find_resumed(cfg, options) is None
    (tmp_path / "iter_4.pth").touch()
    with pytest.raises(UserError, match="no checkpoint in .* can be resumed"):
        find_resumed(cfg, options)


def test_a_used_folder_is_not_mixed_with_another_run(
    broken: Callable[[str], Path], shapes: Path
) -> None:
    folder = broken("fpn")
    with pytest.raises(UserError, match=r"holds a training already \(iter_2.pth\): --resume"):
        train(config_of("fpn"), options_for("fpn", shapes, folder))


def test_a_run_that_ended_since_the_choice_of_the_start_is_not_mixed_with(tmp_path: Path) -> None:
    found = numbered(tmp_path)
    with one_training_in(tmp_path, found):
        (tmp_path / "iter_2.pth").touch()
    again = one_training_in(tmp_path, found)
    with pytest.raises(UserError, match="another training has just run in .*--resume"), again:
        pass


def test_a_copied_run_leaves_the_original_alone(
    broken: Callable[[str], Path], shapes: Path, tmp_path: Path
) -> None:
    """mmengine would delete the best checkpoint of the run that was copied."""
    folder = broken("fpn")
    best = sorted(folder.glob("best_*.pth"))
    assert best
    options = options_for("fpn", shapes, tmp_path / "on", resume=str(folder / "iter_2.pth"))
    assert train(config_of("fpn"), options).parent == tmp_path / "on"
    assert sorted(folder.glob("best_*.pth")) == best


def test_a_moved_run_keeps_its_best(tmp_path: Path) -> None:
    """Of another folder's there is nothing to keep: see above."""
    best, last = tmp_path / "best_mIoU_iter_2.pth", tmp_path / "iter_2.pth"
    before = {"best_ckpt": f"old/{best.name}", "last_ckpt": f"old/{last.name}", "best_score": 1.0}
    runner: Any = SimpleNamespace(cfg={"resume": True}, work_dir=str(tmp_path))

    def named() -> dict[str, Any]:
        content = {"message_hub": {"runtime_info": dict(before)}}
        BackboneRecordHook().after_load_checkpoint(runner, content)
        return content["message_hub"]["runtime_info"]

    last.touch()
    assert named() == {}
    best.touch()
    assert named() == {"best_ckpt": str(best), "last_ckpt": str(last), "best_score": 1.0}


def test_a_last_validation_that_was_broken_off_is_made(
    straight: Straight,
    broken: Callable[[str], Path],
    shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = broken("fpn")
    for best in folder.glob("best_*"):
        best.unlink()
    options = options_for("fpn", shapes, folder, resume="auto")
    validated = KeepingHook.after_val_epoch

    def on_a_full_disk(self: KeepingHook, runner: Any, metrics: dict[str, Any]) -> None:
        if runner.iter == 4:
            raise UserError("no space left")
        validated(self, runner, metrics)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="no space left"):
        patch.setattr(KeepingHook, "after_val_epoch", on_a_full_disk)
        train(config_of("fpn"), options)
    last = train(config_of("fpn"), options)
    assert last == folder / "iter_4.pth"
    assert "only its validation is missing" in log_of(folder)
    expected = numbered(straight("fpn"))[0]
    assert differences(last, expected) == []
    facts = [read_checkpoint(path)["message_hub"]["runtime_info"] for path in (last, expected)]
    assert facts[0]["best_score"] == facts[1]["best_score"]
    names = [{p.name for p in f.glob("*.pth")} for f in (folder, expected.parent)]
    assert names[0] == names[1]
    with pytest.raises(UserError, match="the schedule was over after 4 iterations"):
        train(config_of("fpn"), options)
