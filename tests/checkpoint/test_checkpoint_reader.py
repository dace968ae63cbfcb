"""Safe reading: what is restored, what is refused, and by which paths."""

import argparse
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel, BaseModule, PretrainedInit
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from opcodes import Reduced
from torch import Tensor, nn
from weight_files import TINY

from casvit_dense import CASViT, get_model, load_pretrained
from casvit_dense.checkpoint import convert, install_safe_loader, load_model, read_checkpoint
from casvit_dense.errors import UserError


class Payload:
    """Writes a marker file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


class Toy(BaseModel):
    """One number that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, mode: str = "tensor") -> dict[str, Tensor]:
        return {"loss": (torch.as_tensor(x, dtype=torch.float32) * self.weight).sum()}


def toy_runner(work_dir: Path, epochs: int = 1, **options: object) -> Runner:
    return Runner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader={
            "dataset": [0.5, 1.0],
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "batch_size": 1,
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler={"type": "MultiStepLR", "milestones": [1]},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
        experiment_name="-".join(work_dir.parts[-2:]),
        **options,
    )


@pytest.fixture
def safe_loader(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    install_safe_loader()


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def hostile(tmp_path, marker):
    """A checkpoint any reader would want, with one entry that runs code."""
    path = tmp_path / "hostile.pth"
    state = CASViT(TINY).state_dict()
    table = {"model": state, "state_dict": state, "args": Payload(marker)}
    torch.save({**table, "meta": {"epoch": 1, "iter": 1}}, path)
    return path


def initialise(path: str) -> None:
    init_cfg = {"type": "CASViTWeights", "checkpoint": path}
    CASViT(TINY, init_cfg=init_cfg).init_weights()


def initialise_natively(path: str) -> None:
    BaseModule(init_cfg={"type": "Pretrained", "checkpoint": path}).init_weights()


PATHS = {
    "read_checkpoint": lambda path, _: read_checkpoint(path),
    "load_pretrained": lambda path, _: load_pretrained(CASViT(TINY), path),
    "load_model": lambda path, _: load_model(nn.Module(), path),
    "get_model": lambda path, _: get_model("casvit-xs", path),
    "convert": lambda path, folder: convert(path, folder / "out.pth"),
    "CASViTWeights": lambda path, _: initialise(path),
    "Pretrained": lambda path, _: initialise_natively(path),
    "Pretrained with prefix": lambda path, _: PretrainedInit(path, "backbone.")(nn.Module()),
    "mmengine load_checkpoint": lambda path, _: load_checkpoint(nn.Module(), path),
    "Runner load_from": lambda path, folder: toy_runner(folder, load_from=path).load_or_resume(),
    "Runner resume": lambda path, folder: toy_runner(
        folder, load_from=path, resume=True
    ).load_or_resume(),
}


@pytest.mark.parametrize("load", PATHS.values(), ids=PATHS)
def test_no_path_runs_code(load, hostile, marker, tmp_path, safe_loader):
    with pytest.raises(UserError, match=r"it needs the type pathlib\.Path,"):
        load(str(hostile), tmp_path / "work")
    assert not marker.exists()


def test_the_hostile_file_is_hostile(hostile, marker):
    torch.load(hostile, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "call",
    [
        Reduced(getattr, argparse.Namespace, "__init__"),
        Reduced(getattr, HistoryBuffer.mean, "__globals__"),
        Reduced(eval, "1"),
        Reduced(np.dtype, "O"),
        Reduced(pickle.loads, b""),
    ],
    ids=["getattr", "getattr chain", "eval", "object dtype", "pickle"],
)
def test_types_outside_the_list_are_refused(call, zipped, tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"state_dict": call}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="is refused: it needs the type"):
        read_checkpoint(path)


def test_a_method_named_by_the_file_cannot_be_called(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"x": Reduced(HistoryBuffer.mean, HistoryBuffer([1], [1]))}, path)
    with pytest.raises(UserError):
        read_checkpoint(path)


def test_a_file_cannot_replace_the_statistics_of_later_buffers(tmp_path, monkeypatch):
    buffer = HistoryBuffer([1.0, 4.0], [1, 1])
    path = tmp_path / "file.pth"
    with monkeypatch.context() as patched:
        patched.setattr(HistoryBuffer, "_statistics_methods", {"mean": HistoryBuffer.max})
        torch.save({"x": buffer}, path)
    read = read_checkpoint(path)["x"]
    assert type(read) is HistoryBuffer
    assert read.statistics("mean") == 2.5


def test_what_others_allow_is_not_allowed_here_and_stays_theirs(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"x": Reduced(Path.cwd)}, path)
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([(Path.cwd, "pathlib.Path.cwd"), (getattr, "getattr")]):
        during = set(torch.serialization.get_safe_globals())
        with pytest.raises(UserError):
            read_checkpoint(path)
        assert set(torch.serialization.get_safe_globals()) == during
    assert set(torch.serialization.get_safe_globals()) == before


def message_hub_state() -> dict:
    hub = MessageHub("test_checkpoint_reader")
    for loss in (1.5, 2.5):
        hub.update_scalar("train/loss", loss)
    hub.update_info("best_score", np.float64(0.25))
    hub.update_info("ids", np.arange(3))
    return hub.state_dict()


def save_with_names(content: object, path: Path, module: bytes) -> None:
    """Writes a checkpoint as a numpy does whose functions lie in ``module``."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", module))


NUMPY_MODULES = pytest.mark.parametrize("module", [b"numpy._core.", b"numpy.core."])


@NUMPY_MODULES
def test_histories_and_arrays_are_restored_whichever_numpy_wrote_them(module, tmp_path):
    path = tmp_path / "file.pth"
    save_with_names({"hub": message_hub_state()}, path, module)
    hub = read_checkpoint(path)["hub"]
    history = hub["log_scalars"]["train/loss"]
    np.testing.assert_array_equal(history.data, [[1.5, 2.5], [1, 1]])
    assert hub["runtime_info"]["best_score"] == 0.25
    np.testing.assert_array_equal(hub["runtime_info"]["ids"], [0, 1, 2])


@NUMPY_MODULES
def test_a_training_run_resumes_through_the_safe_loader(module, tmp_path, safe_loader):
    toy_runner(tmp_path / "first").train()
    checkpoint = tmp_path / "first" / "epoch_1.pth"
    content = torch.load(checkpoint, weights_only=False)
    save_with_names(content, checkpoint, module)
    losses = content["message_hub"]["log_scalars"]["train/loss"]
    runner = toy_runner(tmp_path / "second", epochs=2, load_from=str(checkpoint), resume=True)
    runner.train()
    assert runner.iter == 4
    assert runner.param_schedulers[0].milestones == {1: 1}
    continued = runner.message_hub.log_scalars["train/loss"].data[0]
    np.testing.assert_array_equal(continued[:2], losses.data[0])
    assert len(continued) == 4


def test_the_config_in_a_checkpoint_is_not_run(marker, tmp_path, safe_loader):
    """mmengine does, where it is called ``config`` as in files of mmcv 1.x."""
    toy_runner(tmp_path / "first").train()
    checkpoint = tmp_path / "first" / "epoch_1.pth"
    content = torch.load(checkpoint, weights_only=False)
    content["meta"]["config"] = f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    torch.save(content, checkpoint)
    toy_runner(tmp_path / "second", load_from=str(checkpoint), resume=True).load_or_resume()
    assert not marker.exists()
    assert "config" in read_checkpoint(checkpoint)["meta"]


@pytest.mark.parametrize("scheme", ["https://", "http://", "s3://", "torchvision://", "mmcls://"])
def test_remote_weights_are_refused(scheme, safe_loader):
    with pytest.raises(UserError, match="remote weights are not fetched"):
        load_checkpoint(nn.Module(), f"{scheme}resnet50")


def test_installing_twice_changes_nothing(safe_loader):
    once = dict(CheckpointLoader._schemes)
    install_safe_loader()
    assert CheckpointLoader._schemes == once
    assert len(set(once.values())) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"<html>quota exceeded</html>", "is a web page, as Google Drive sends"),
        (b"\n<!DOCTYPE html>", "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "pointer of Git LFS; run git lfs pull",
        ),
        (b"\x10\0\0\0\0\0\0\0{" + b" " * 15, "is damaged"),
    ],
    ids=["absent", "empty", "web page", "doctype", "pointer", "safetensors"],
)
def test_unusable_files_are_named(content, message, tmp_path):
    path = tmp_path / "file.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_a_file_without_a_table_is_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "file.pth")
    with pytest.raises(UserError, match="holds a list"):
        read_checkpoint(tmp_path / "file.pth")


def test_a_truncated_file_is_damaged_wherever_it_ends(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"state_dict": {"x": torch.zeros(50_000)}}, path)
    whole = path.read_bytes()
    for size in (1_000, 5_000, 100_000):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="is damaged: its end is missing; fetch it again"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_raise_nothing_but_user_errors(zipped, tmp_path):
    path = tmp_path / "file.pth"
    table = {"state_dict": {"a": torch.arange(5.0)}, "hub": message_hub_state()}
    torch.save(table, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(min(4, len(damaged))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            assert isinstance(read_checkpoint(path), dict)
        except UserError:
            refused += 1
    assert refused > 100
