"""A step that is not finite changes nothing, is kept, and can be made again."""

import argparse
import copy
import logging
import math
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from demo_runs import config_of, log_of, options_of
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.optim.optimizer import amp_optimizer_wrapper
from poison import poisoned
from processes import run_together
from torch import distributed, nn

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.formats import MODEL_RECORD
from casvit_dense.cli import main
from casvit_dense.engine.hooks import BackboneRecordHook
from casvit_dense.engine.record import training_of
from casvit_dense.engine.replay import replay, training_data, watch_outputs
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions, allowed_skips
from casvit_dense.training.draws import Draw, load_draws
from casvit_dense.training.finite import COLLAPSED, FiniteLossHook, finite_guard
from casvit_dense.training.kept_step import read_batches, write_batches
from casvit_dense.training.records import TRAINING_RECORD

RECORDS = {MODEL_RECORD: {"name": "toy"}, TRAINING_RECORD: {"seed": 0}}


class Steps:
    """A training of a linear layer behind BatchNorm, step by step."""

    def __init__(self, folder: Path, skips: int = 0, kind: Any = OptimWrapper, **more: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        self.wrapper = kind(optimizer=optimizer, **more)
        self.hub = MessageHub.get_instance(str(folder))
        self.runner: Any = SimpleNamespace(
            model=self.model,
            optim_wrapper=self.wrapper,
            message_hub=self.hub,
            work_dir=str(folder),
            logger=logging.getLogger("toy"),
            iter=0,
            seed=0,
            cfg={},
        )
        self.guard = FiniteLossHook()
        self.records = self.guard.begin(RECORDS, skips)
        self.guard.before_train(self.runner)

    def step(self, factor: float = 1.0, added: float = 0.0) -> dict[str, Any]:
        """Multiplies the inputs and adds to the loss; returns what the hooks after it see."""
        batch = {"inputs": [torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0]) * factor]}
        self.guard.before_train_iter(self.runner, 0, batch)
        loss = self.model(torch.stack(batch["inputs"])).pow(2).mean() + added
        self.wrapper.update_params(loss)
        outputs = {"loss": loss}
        self.guard.after_train_iter(self.runner, 0, batch, outputs)
        self.runner.iter += 1
        return outputs

    def state(self) -> dict[str, Any]:
        return copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.optimizer()})

    def optimizer(self) -> dict[str, Any]:
        return self.wrapper.optimizer.state_dict()["state"]


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        ({"factor": math.nan}, "the loss is nan"),
        ({"added": math.inf}, "the loss is inf"),  # whose gradients are finite
    ],
)
def test_a_bad_step_changes_nothing_and_ends_the_run(
    poison: dict[str, float], said: str, tmp_path: Path
) -> None:
    run = Steps(tmp_path)
    run.step()
    before = run.state()
    (tmp_path / "iter_1.pth").touch()
    with pytest.raises(UserError, match=f"{said} at iteration 2, .*Last checkpoint: .*iter_1.pth"):
        run.step(**poison)
    assert_same(run.state(), before)
    kept = read_checkpoint(tmp_path / "not_finite/iter_2/weights.pth")
    assert_same(dict(kept["state_dict"]), dict(before["model"]))  # statistics included
    assert kept["meta"] == {MODEL_RECORD: {"name": "toy"}, "processes": 1}
    (batch,) = read_batches(tmp_path / "not_finite/iter_2", 1)
    assert batch.iteration == 1 and len(batch.inputs) == 2


def test_the_noted_norm_stays_finite_where_gradients_are_clipped(tmp_path: Path) -> None:
    run = Steps(tmp_path, skips=1, clip_grad={"max_norm": 0.5})
    run.wrapper.message_hub = run.hub
    run.step()
    run.step(factor=math.nan)
    run.step()
    norms = run.hub.log_scalars["train/grad_norm"]
    assert len(norms.data[0]) == 2 and math.isfinite(norms.mean())


def test_infinite_gradients_of_a_finite_loss_are_named(tmp_path: Path) -> None:
    run = Steps(tmp_path)
    run.model[1].bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match=r"the gradients of 1.bias are not finite at iteration 1"):
        run.step()


def test_skipped_steps_are_as_if_they_had_not_been(tmp_path: Path) -> None:
    straight = Steps(tmp_path / "straight")
    straight.step()
    straight.step()
    run = Steps(tmp_path, skips=2)
    assert "loss" in run.step()
    assert run.step(factor=math.nan) == {}  # nothing to note
    run.step(added=math.nan)
    assert "loss" in run.step()
    assert_same(run.state(), straight.state())
    assert run.records[TRAINING_RECORD] == {"seed": 0, "skipped_steps": [2, 3]}
    with pytest.raises(UserError, match=r"iteration 5, .* 2 such steps were left out before"):
        run.step(factor=math.nan)
    assert_same(run.state(), straight.state())


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"meta": "x", "message_hub": "x"},
        {"meta": [], "message_hub": {"runtime_info": {"last_ckpt": 5}}},
    ],
)
def test_a_file_that_gives_no_more_than_weights_may_hold_anything(more: dict) -> None:
    runner: Any = SimpleNamespace(cfg={}, work_dir="")
    for hook in (FiniteLossHook(), BackboneRecordHook()):
        hook.after_load_checkpoint(runner, {"state_dict": {}, **more})


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    run = Steps(tmp_path, skips=1)
    checkpoint = {"meta": {TRAINING_RECORD: {"skipped_steps": [7]}}}
    run.guard.after_load_checkpoint(run.runner, checkpoint)
    assert run.guard.skipped == []  # of another run, which this one begins with
    run.runner.cfg = {"resume": True}
    run.guard.after_load_checkpoint(run.runner, checkpoint)
    assert run.records[TRAINING_RECORD]["skipped_steps"] == [7]
    with pytest.raises(UserError, match="1 such steps"):
        run.step(factor=math.nan)


def test_the_norm_is_noted_once(tmp_path: Path) -> None:
    run = Steps(tmp_path / "plain")
    run.step()
    gradients = []
    for parameter in run.model.parameters():
        parameter.register_hook(gradients.append)
    run.step()
    expected = math.sqrt(sum(float(gradient.pow(2).sum()) for gradient in gradients))
    history = run.hub.get_scalar("train/grad_norm")
    assert len(history.data[0]) == 2 and history.current() == pytest.approx(expected)
    # mmengine notes the norm before it clips.
    run = Steps(tmp_path / "clipped", clip_grad={"max_norm": 1e-3})
    run.wrapper.message_hub = run.hub
    run.step()
    history = run.hub.get_scalar("train/grad_norm")
    assert len(history.data[0]) == 1 and history.current() > 1e-2


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    run = Steps(tmp_path, accumulative_counts=3)
    run.wrapper.initialize_count_status(run.model, 0, 9)
    for _ in range(3):
        run.step()
    before = run.state()
    run.step(factor=math.nan)
    run.step()
    with pytest.raises(UserError, match="the loss is nan at iteration 6"):
        run.step()
    assert_same(run.state(), before)
    batches = list(read_batches(tmp_path / "not_finite/iter_6", 1))
    assert [batch.iteration for batch in batches] == [3, 4, 5]


def test_each_optimizer_is_watched(tmp_path: Path) -> None:
    run = Steps(tmp_path)
    wrappers = OptimWrapperDict(one=run.wrapper)
    run.runner.optim_wrapper = wrappers
    guard = FiniteLossHook()
    guard.before_train(run.runner)
    guard.before_train_iter(run.runner, 0, {})
    run.wrapper.update_params(run.model(torch.ones(2, 2)).sum())
    assert "train/one.grad_norm" in run.hub.log_scalars


def test_the_scaler_of_fp16_finds_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infinite gradients are its business, until there are too many; losses are ours."""
    scaler = partial(torch.amp.GradScaler, "cpu")
    monkeypatch.setattr(amp_optimizer_wrapper, "GradScaler", scaler)
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    run = Steps(tmp_path, kind=AmpOptimWrapper)
    run.step()
    before = run.state()
    with pytest.raises(UserError, match="the loss is nan at iteration 2"):
        run.step(factor=math.nan)
    assert_same(run.state(), before)
    run = Steps(tmp_path, kind=AmpOptimWrapper)
    scale = run.wrapper.loss_scaler.get_scale()
    handle = run.model[1].bias.register_hook(lambda gradient: gradient * math.inf)
    before = run.state()["optimizer"]
    run.step()
    run.step()
    assert run.wrapper.loss_scaler.get_scale() == scale / 4
    assert_same(run.state()["optimizer"], before)
    handle.remove()
    run.step()
    assert run.state()["optimizer"] != before
    run.model[1].bias.register_hook(lambda gradient: gradient * math.inf)
    for _ in range(COLLAPSED - 1):
        run.step()
    with pytest.raises(UserError, match=f"no scale of fp16 gave finite .* in {COLLAPSED} steps"):
        run.step()


def test_all_processes_refuse_a_step_that_one_of_them_spoils(tmp_path: Path) -> None:
    def work() -> int:
        distributed.init_process_group(backend="gloo")
        rank = int(os.environ["RANK"])
        run = Steps(tmp_path, skips=1)
        run.runner.model = nn.parallel.DistributedDataParallel(run.model)
        run.model = run.runner.model
        before = run.optimizer()
        run.step(added=math.inf * rank if rank else 0.0)
        assert run.guard.skipped == [1] and run.optimizer() == before
        try:
            run.step(added=math.inf if rank else 0.0)
        except UserError as error:
            return 2 if "the loss is inf at iteration 2" in str(error) else 3
        return 0

    assert run_together(work, 2, tmp_path) == [2, 2], (tmp_path / "rank1.log").read_text()
    assert len(list(read_batches(tmp_path / "not_finite/iter_2", 2))) == 2


@pytest.mark.parametrize(
    ("key", "name"), [("state_dict", "state_dict.0"), ("optimizer", "optimizer.state.0.exp_avg")]
)
def test_no_checkpoint_holds_what_is_not_finite(key: str, name: str, tmp_path: Path) -> None:
    content = {
        "state_dict": {"0": torch.ones(2), "1": torch.ones(1, dtype=torch.int64)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2), "step": 1}}, "param_groups": []},
    }
    run = Steps(tmp_path)
    run.guard.before_save_checkpoint(run.runner, content)
    place: Any = content["state_dict"] if key == "state_dict" else content["optimizer"]["state"][0]
    place["0" if key == "state_dict" else "exp_avg"][1] = -math.inf
    with pytest.raises(UserError, match=f"no checkpoint is written at iteration 1: {name} are"):
        run.guard.before_save_checkpoint(run.runner, content)


def test_a_runner_has_one_guard() -> None:
    hooks: list[Any] = []
    runner: Any = SimpleNamespace(hooks=hooks, register_hook=hooks.append)
    assert finite_guard(runner) is finite_guard(runner) and len(hooks) == 1


def test_the_option_is_stop_or_a_number_of_steps() -> None:
    assert allowed_skips("stop") == 0 and allowed_skips("skip:12") == 12
    for text in ("skip", "skip:", "skip:-1", "go", "skip:1x"):
        with pytest.raises(argparse.ArgumentTypeError, match="give stop, or skip:N"):
            allowed_skips(text)


def test_samples_say_how_they_were_drawn() -> None:
    class Sample:
        def set_metainfo(self, content: dict) -> None:
            self.content = content

    samples = {3: {"data_samples": Sample()}, 4: "another"}
    first, other = load_draws(samples, [Draw(3, (7, 0, 12, 1)), Draw(4, (7, 0, 12, 2))])
    assert first["data_samples"].content == {"draw": (3, 7, 0, 12, 1)} and other == "another"


def test_a_loss_that_is_not_finite_stops_the_training(shapes: Path, tmp_path: Path) -> None:
    options = options_of("fpn", shapes, tmp_path / "nan", rounds=3)
    options.cfg_options["optim_wrapper.optimizer.lr"] = 1e30
    options.cfg_options["param_scheduler.0.start_factor"] = 1.0
    with pytest.raises(
        UserError, match=r"at iteration 2, .*Last checkpoint: none yet\. Look.*; --on-nan"
    ):
        train(config_of("fpn"), options)


def test_a_poisoned_step_is_left_out_kept_and_made_again(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "skipped"
    options = options_of("retinanet", shapes, folder)
    options.on_nan, options.workers = 1, 1
    with poisoned("input", at=2):
        last = train(config_of("retinanet"), options)
    record = training_of(read_checkpoint(last))
    assert record is not None and record.skipped_steps == [2] and record.iterations == 3
    assert all(value.isfinite().all() for value in read_checkpoint(last)["state_dict"].values())
    log = log_of(folder)
    assert "left out, 1 of at most 1: the loss is nan at iteration 2" in log
    assert "1 step was left out, not finite: iterations 2" in log
    assert "grad_norm: " in log and "loss: nan" not in log
    kept = folder / "not_finite/iter_2"
    capsys.readouterr()
    assert main(["replay", str(kept)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (batch,) = read_batches(kept, 1)
    name = batch.images[0]
    assert "1 of 4 are not what the data give now: " + name in lines[2]
    assert f"not finite: {name}" in lines[3]
    assert "losses     loss nan, loss_cls nan" in lines[4]
    assert lines[5] == "outputs    first not finite: data_preprocessor (DetDataPreprocessor)"
    assert lines[6].startswith("gradients  not finite: ")
    # With the image as it was before it was poisoned, the step is sound.
    batch.inputs[0].nan_to_num_(0)
    write_batches(kept, 0, [batch])
    assert main(["replay", str(kept)]) == 1
    assert capsys.readouterr().out.endswith("everything is finite on this machine\n")


def test_the_innermost_module_is_named_first() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Sequential(nn.Identity(), nn.Softmax(dim=0)), nn.ReLU()
    )
    first = watch_outputs(model)
    model(torch.ones(2, 2))
    assert first == []
    model(torch.full((2, 2), 1e38) * torch.tensor([1.0, -1e5]))
    assert first == ["0 (Linear)"]
    model[0] = nn.Identity()
    first = watch_outputs(model[1])
    model[1](torch.full((2,), -torch.inf))
    assert first == ["0 (Identity)"]


def test_data_that_moved_are_named(tmp_path: Path) -> None:
    dataset = dict(type="mmseg.BaseSegDataset", data_prefix={"img_path": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="gone: No such file .*--data-root says where they are"):
        training_data(Config({"train_dataloader": {"dataset": dataset}}))


def test_a_folder_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no kept step; .*not_finite/iter_N"):
        replay(None, tmp_path, RunOptions())
    torch.save({"state_dict": {}, "meta": {}}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not of a step that a training kept"):
        replay(None, tmp_path, RunOptions())
