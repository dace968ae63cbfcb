"""A full disk at each kind of file that a run writes: one message, and the old file as it was."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openvino
import pytest
import torch
from filled_disk import disk_of
from ledger_rows import evaluation
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

from casvit_dense.config.schedule import checkpoint_bytes, moments_of
from casvit_dense.engine import space
from casvit_dense.engine.quiet_runner import QuietRunner, WholeVisBackend
from casvit_dense.engine.space import check_test_space, check_training_space
from casvit_dense.errors import UserError
from casvit_dense.export import writers
from casvit_dense.export.writers import write_openvino, write_torch_export
from casvit_dense.files import write_whole
from casvit_dense.results.ledger import append_rows
from casvit_dense.training.saving import KeepingHook

OLD = b"what was there\n"


class Linear(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(100, 10, bias=False)

    def forward(self) -> None:  # type: ignore[override]
        raise NotImplementedError


def runner(folder: Path) -> QuietRunner:
    # mmengine keeps one logger of a name in a process.
    return QuietRunner(Linear(), str(folder), experiment_name=str(folder), cfg=Config({"key": 7}))


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_whole(file, b"new" * 9000),
        lambda file: append_rows(file, [evaluation()] * 9),
        lambda file: WholeVisBackend(file.parent, config_save_file=file.name).add_config(
            Config({"key": 7})
        ),
    ],
    ids=["whole file", "ledger", "config beside the log"],
)
@pytest.mark.parametrize("link", [False, True])
def test_the_old_file_stays(write: Callable, link: bool, tmp_path: Path) -> None:
    real = tmp_path / "real.py"
    real.write_bytes(OLD)
    file = tmp_path / "link.py" if link else real
    if link:
        file.symlink_to(real)
    with disk_of(tmp_path, room=0), pytest.raises(UserError, match="No space left on device"):
        write(file)
    assert real.read_bytes() == OLD
    assert not list(tmp_path.glob("*.tmp"))


def test_the_config_of_a_work_directory_stays(tmp_path: Path) -> None:
    first = runner(tmp_path)
    config = next(tmp_path.glob("*.py"))
    before = config.read_bytes()
    with disk_of(tmp_path, room=0), pytest.raises(UserError, match="No space left on device"):
        first.dump_config()
    assert config.read_bytes() == before


def test_a_log_that_takes_no_more_ends_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = runner(tmp_path)
    handler = next(h for h in made.logger.handlers if hasattr(h, "baseFilename"))
    handler.setStream(Path("/dev/full").open("w"))  # noqa: SIM115
    with pytest.raises(UserError, match="log file cannot be written: .*No space left"):
        made.logger.info("a message")
    assert "Logging error" not in capfd.readouterr().err


@pytest.mark.parametrize("loop", ["train", "test"])
def test_what_mmengine_writes_names_the_work_directory(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Runner) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Runner, loop, full)
    with pytest.raises(UserError, match=f"{tmp_path} cannot be written: .*No space left"):
        getattr(runner(tmp_path), loop)()


def test_the_name_of_the_last_checkpoint_is_not_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, hook = runner(tmp_path), KeepingHook()
    made.optim_wrapper = made.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 1}})
    hook.before_train(made)
    monkeypatch.setattr(made, "save_checkpoint", lambda *args, **more: None)
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth")
    with disk_of(tmp_path, room=0), pytest.raises(OSError, match="No space left"):
        hook._save_checkpoint_with_step(made, 2, {})
    assert not (tmp_path / "last_checkpoint").exists()


def test_an_exported_archive_does_not_abort_the_process(tmp_path: Path) -> None:
    description: Any = SimpleNamespace(dynamic=False, to_texts=dict)
    layer, example = torch.nn.Conv2d(3, 2, 1), torch.ones(1, 3, 4, 4)
    with disk_of(tmp_path, room=0), pytest.raises(OSError, match="No space left"):
        write_torch_export(layer, tmp_path / "model.pt2", example, description)


def test_openvino_says_what_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = openvino.convert_model(torch.nn.Conv2d(3, 2, 1), example_input=torch.ones(1, 3, 4, 4))
    monkeypatch.setattr(writers, "write_onnx", lambda graph, path, *_: path.touch())
    monkeypatch.setattr(openvino, "convert_model", lambda path: graph)
    for suffix in ("xml", "bin"):
        (tmp_path / f"model.{suffix}").symlink_to("/dev/full")
    description: Any = SimpleNamespace(to_texts=dict)
    with pytest.raises(UserError, match=r"cannot write .*model.xml: .*is the disk full"):
        write_openvino(torch.nn.Identity(), tmp_path / "model.xml", torch.ones(1), description)


@pytest.fixture
def schedule(tmp_path: Path) -> Config:
    """12 epochs with AdamW, of which the checkpoints of 3 are kept."""
    return Config(
        {
            "work_dir": str(tmp_path),
            "train_cfg": {"max_epochs": 12},
            "train_dataloader": {"batch_size": 1},
            "optim_wrapper": {"optimizer": {"type": "AdamW"}},
            "default_hooks": {"checkpoint": {"interval": 1, "max_keep_ckpts": 3}},
        }
    )


def test_the_size_of_a_checkpoint_is_that_of_the_file(schedule: Config) -> None:
    model = torch.nn.Linear(1000, 100, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1000)).sum().backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    assert len(file.getvalue()) == pytest.approx(
        checkpoint_bytes(400_000, 100_000, moments_of(schedule)), rel=0.01
    )


@pytest.mark.parametrize(
    ("free", "there", "said"),
    [
        (11_999, 0, "has 0.0 MB free, and one checkpoint takes about 0.0 MB"),
        (12_000, 0, "has 0.0 MB free, and the checkpoints take up to 0.0 MB more"),
        (47_999, 0, "max_keep_ckpts=1"),
        (48_000, 0, ""),  # three, and the fourth before the first goes
        (12_000, 36_000, ""),  # as a resumed run has them
        (11_999, 36_000, "one checkpoint"),
    ],
)
def test_space_for_a_training(
    schedule: Config, free: int, there: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(schedule.work_dir, "epoch_1.pth").write_bytes(bytes(there))
    monkeypatch.setattr(space, "free_bytes", lambda _: free)
    try:
        found = " ".join(check_training_space(schedule, torch.nn.Linear(100, 10, bias=False)))
    except UserError as error:
        found = str(error)
    assert said in found
    assert bool(said) == bool(found)


def test_space_for_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = {"type": "DenseCocoMetric", "outfile_prefix": "here", "metric": ["bbox", "segm"]}
    cfg = Config({"work_dir": str(tmp_path), "test_evaluator": boxes})
    monkeypatch.setattr(space, "free_bytes", lambda _: 279_999_999)
    assert "the predictions of 5,000 images take up to 0.28 GB" in check_test_space(cfg, 5000)[0]
    assert check_test_space(cfg, 4999) == []
