"""Checkpoints are whole or not there, and damages are found."""

import errno
import logging
import os
import random
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub

from casvit_dense.checkpoint import whole
from casvit_dense.checkpoint.whole import SUMS, check_whole, read_sums, whole_file
from casvit_dense.errors import UserError
from casvit_dense.training.saving import STOPPED, KeepingHook


def save(path: Path, value: float = 1.0) -> Path:
    with whole_file(path) as place:
        torch.save({"x": torch.full((1000,), value)}, place)
    return path


def test_its_sum_is_noted_as_sha256sum_reads_it(tmp_path: Path) -> None:
    save(tmp_path / "iter 1.pth")
    save(tmp_path / "iter_2.pth")
    (tmp_path / "iter 1.pth").unlink()
    save(tmp_path / "iter_3.pth")
    checked = subprocess.run(
        ["sha256sum", "--check", SUMS], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert checked.stdout.splitlines() == ["iter_2.pth: OK", "iter_3.pth: OK"]


def test_the_best_of_each_metric_is_kept_with_the_sums_of_what_is_there(tmp_path: Path) -> None:
    metrics = ["coco/bbox_mAP", "coco/bbox_mAP_50"]
    hook = KeepingHook(save_best=metrics, rule="greater", max_keep_ckpts=1)
    runner: Any = SimpleNamespace(
        work_dir=str(tmp_path),
        message_hub=MessageHub.get_instance(str(tmp_path)),
        logger=logging.getLogger("best"),
        save_checkpoint=lambda folder, filename, *_, **more: save(Path(folder, filename)),
        optim_wrapper=SimpleNamespace(should_update=lambda: True),
        val_loop=None,
        iter=0,
    )
    hook.before_train(runner)
    for runner.epoch, figures in enumerate([(0.1, 0.9), (0.2, 0.5)], 1):
        hook._save_best_checkpoint(runner, dict(zip(metrics, figures, strict=True)))
    save(tmp_path / STOPPED.format(7))
    hook._save_checkpoint(runner)
    kept = {"best_coco_bbox_mAP_epoch_2.pth", "best_coco_bbox_mAP_50_epoch_1.pth", "epoch_3.pth"}
    assert {path.name for path in tmp_path.glob("*.pth")} == kept
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=tmp_path, check=True)
    assert read_sums(tmp_path).keys() == kept


def test_a_file_system_without_sync_of_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def files_alone(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(number)

    monkeypatch.setattr(whole.os, "fsync", files_alone)
    check_whole(save(tmp_path / "iter_1.pth"))


@pytest.mark.parametrize("noted", [True, False])
def test_every_damage_is_found(tmp_path: Path, noted: bool) -> None:
    """Without a noted sum the CRCs inside find what touches a tensor."""
    path = save(tmp_path / "iter_1.pth")
    if not noted:
        (tmp_path / SUMS).unlink()
    sound, chance = path.read_bytes(), random.Random(0)
    check_whole(path)
    first = sound.index(torch.ones(1).numpy().tobytes() * 4)
    places = range(len(sound)) if noted else range(first, first + 4000)
    for _ in range(50):
        at = chance.choice(places)
        damaged = bytearray(sound)
        damaged[at] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            check_whole(path)
    for cut in (0, 1, 100, len(sound) - 1):
        path.write_bytes(sound[:cut])
        with pytest.raises(UserError, match="is damaged"):
            check_whole(path)


@pytest.mark.parametrize("call", ["fsync", "write", "sums"])
def test_a_full_disk_leaves_what_was_there(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "iter_1.pth")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(whole.os, "fsync", full)
    elif call == "sums":
        monkeypatch.setattr(whole, "write_whole", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        if call == "write":
            with whole_file(path):
                full()
        else:
            save(path, 2.0)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
