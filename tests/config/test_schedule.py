"""Flags of length, batch, rate and image size, on recipes that count epochs and iterations."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_runs import config_of, options_of
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.config.schedule import describe_steps, unfinished_warmup
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

CONFIGS = Path(__file__).parents[2] / "configs"
DETECTION = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
SEGMENTATION = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"
RATE = 2e-4


@cache
def read(path: Path) -> Config:
    return read_config(path)


def resolved(path: Path, **options: Any) -> Config:
    return resolve(read(path), RunOptions(**options)).config


def rates(cfg: Config, epochs: int, epoch_length: int) -> list[float]:
    """The learning rate of every step, by mmengine's schedulers, as its hook steps them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg_rate(cfg))
    built = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length)
        )
        for scheduler in cfg.param_scheduler
    ]
    found = []
    for _ in range(epochs):
        for _ in range(epoch_length):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            for scheduler in built:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in built:
            if scheduler.by_epoch:
                scheduler.step()
    return found


def cfg_rate(cfg: Config) -> float:
    return cfg.optim_wrapper.optimizer.lr


def test_a_short_detector_training_warms_up_and_decays_in_time() -> None:
    cfg = resolved(DETECTION, epochs=3)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1
    found = rates(cfg, 3, 20)
    assert found[0] == pytest.approx(RATE * 1e-6)
    assert found[:6] == sorted(found[:6])  # a tenth of 60 steps
    assert found[5:40] == pytest.approx([RATE] * 35)  # 8 of 12 epochs
    assert found[40:55] == pytest.approx([RATE / 10] * 15)  # 11 of 12
    assert found[55:] == pytest.approx([RATE / 100] * 5)
    assert describe_steps(cfg, 60, 20) == "60 steps (3 x 20), warm-up 6, rate x 0.1 at 40 and 55"


def test_a_long_detector_training_keeps_the_steps_of_its_warm_up() -> None:
    cfg = resolved(DETECTION, epochs=24)
    assert cfg.param_scheduler[1].milestones == [16, 22]
    found = rates(cfg, 24, 250)
    assert found[499:4000] == pytest.approx([RATE] * 3501)
    assert found[498] < RATE * 0.999
    assert found[4000] == pytest.approx(RATE / 10) and found[5500] == pytest.approx(RATE / 100)
    assert cfg.train_cfg.val_interval == 2


@pytest.mark.parametrize("epoch_length", [1, 2, 3, 7])
@pytest.mark.parametrize("epochs", [1, 2, 5])
@pytest.mark.parametrize("config", [DETECTION, SEGMENTATION, "retinanet", "fpn"], ids=str)
def test_the_shortest_trainings_begin_or_soon_reach_the_full_rate(
    config: Path | str, epochs: int, epoch_length: int
) -> None:
    cfg = resolved(config_of(config) if isinstance(config, str) else config, epochs=epochs)
    found = rates(cfg, epochs, epoch_length)
    assert max(found) > 0.9 * cfg_rate(cfg)
    assert found.index(max(found)) <= 0.1 * len(found)


def test_iterations_of_a_segmenter() -> None:
    cfg = resolved(SEGMENTATION, iters=400)
    assert cfg.train_cfg.max_iters == 400
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 40
    found = rates(cfg, 1, 400)
    assert found == pytest.approx([RATE * (1 - i / 399) ** 0.9 for i in range(400)])


def test_epochs_of_a_segmenter_whose_recipe_counts_iterations() -> None:
    cfg = resolved(SEGMENTATION, epochs=20)
    assert cfg.train_cfg == dict(type="EpochBasedTrainLoop", max_epochs=20, val_interval=2)
    assert cfg.train_dataloader.sampler.type == "DefaultSampler"
    assert cfg.default_hooks.checkpoint.by_epoch and cfg.default_hooks.checkpoint.interval == 2
    assert cfg.log_processor.by_epoch and cfg.default_hooks.logger.log_metric_by_epoch
    found = rates(cfg, 20, 10)
    assert found == pytest.approx([RATE * (1 - i / 199) ** 0.9 for i in range(200)])


def test_iterations_of_a_detector_whose_recipe_counts_epochs() -> None:
    cfg = resolved(DETECTION, iters=300)
    assert cfg.train_cfg == dict(type="IterBasedTrainLoop", max_iters=300, val_interval=25)
    assert cfg.train_dataloader.sampler.type == "InfiniteSampler"
    assert not cfg.default_hooks.checkpoint.by_epoch
    found = rates(cfg, 1, 300)
    assert found[29:200] == pytest.approx([RATE] * 171) and found[28] < RATE
    assert found[200] == pytest.approx(RATE / 10) and found[275] == pytest.approx(RATE / 100)


def test_what_follows_a_warm_up_begins_where_it_ends() -> None:
    """The demo's cosine begins after its first epoch of 20."""
    cfg = resolved(config_of("retinanet"), iters=200)
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end) == (10, 10, 200)


def test_batch_rate_and_workers() -> None:
    cfg = resolved(DETECTION, batch_size=7, lr=1e-3, workers=0)
    assert cfg.train_dataloader.batch_size == 7 and cfg_rate(cfg) == 1e-3
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert cfg[key].num_workers == 0 and not cfg[key].persistent_workers
    assert resolve(read(DETECTION), RunOptions(lr=1e-3)).messages == ()  # it was chosen
    plain, more = (resolve(read(DETECTION), RunOptions(batch_size=n)).hashes for n in (4, 8))
    assert plain.recipe == more.recipe and plain.config != more.config


def test_detectors_fit_images_into_the_square() -> None:
    cfg = resolved(DETECTION, image_size=320)
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        (resize,) = (s for s in cfg[key].dataset.pipeline if s.type == "Resize")
        assert resize.scale == (320, 320) and resize.keep_ratio


def test_segmenters_keep_the_proportion_of_resizing_and_crop() -> None:
    cfg = resolved(SEGMENTATION, image_size=256)
    train_steps, steps = (
        {s.type: s for s in cfg[key].dataset.pipeline}
        for key in ("train_dataloader", "test_dataloader")
    )
    assert train_steps["RandomResize"].scale == (1024, 256)
    assert train_steps["RandomCrop"].crop_size == cfg.model.data_preprocessor.size == (256, 256)
    assert steps["Resize"].scale == (1024, 256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(epochs=1, iters=2), "--epochs and --iters are two lengths"),
        (dict(epochs=0), "--epochs 0"),
        (dict(workers=-1), "--workers -1: give 0 or more"),
        (dict(lr=float("nan")), "--lr nan"),
        (dict(lr=0.1, auto_scale_lr=True), "--lr and --auto-scale-lr both set"),
        (dict(image_size=500), "--image-size 500: give a multiple of 32, such as 512"),
        (dict(epochs=1, cfg_options={"train_cfg.max_epochs": 2}), "contradict each other"),
        (dict(iters=1, cfg_options={"param_scheduler": []}), "param_scheduler and --iters"),
        (dict(lr=1.0, cfg_options={"optim_wrapper": {}}), "optim_wrapper and --lr"),
        (
            dict(batch_size=1, cfg_options={"train_dataloader.batch_size": 2}),
            "--cfg-options train_dataloader.batch_size and --batch-size contradict",
        ),
        (
            dict(
                image_size=64,
                cfg_options={"test_dataloader.dataset.pipeline.1.scale": (64, 64)},
            ),
            "pipeline.1.scale and --image-size contradict",
        ),
    ],
    ids=str,
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        resolve(read(DETECTION), RunOptions(**options))


def test_a_schedule_that_cannot_be_stretched_is_refused() -> None:
    scheduler = dict(type="PolyLR", by_epoch=False, begin=500, end=9000)
    override = {"param_scheduler": [scheduler]}
    cfg = Config({**read(DETECTION).to_dict(), **override}, filename=None)
    cfg._filename = str(DETECTION)
    with pytest.raises(UserError, match="PolyLR cannot be fitted .*does not count epochs"):
        resolve(cfg, RunOptions(epochs=3))


def test_a_warm_up_that_does_not_end_is_said() -> None:
    cfg = resolved(DETECTION, cfg_options={"train_cfg.max_epochs": 1})
    (line,) = unfinished_warmup(cfg, 12, 12)
    assert "takes 500 steps and the training has 12" in line and "ends at 4.4e-06" in line
    assert rates(cfg, 1, 12)[-1] == pytest.approx(4.4e-6, rel=0.01)
    assert unfinished_warmup(cfg, 500, 500) == []
    assert unfinished_warmup(resolved(DETECTION, epochs=1), 12, 12) == []


@pytest.mark.parametrize(
    ("task", "length", "last"),
    [("fpn", {"epochs": 2}, "epoch_2.pth"), ("retinanet", {"iters": 3}, "iter_3.pth")],
)
def test_trainings_of_the_other_unit(
    task: str,
    length: dict[str, int],
    last: str,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    options = options_of(task, shapes, tmp_path / f"{task}-length")
    options.cfg_options = {"custom_hooks.0.seconds": 0.0, "experiment_name": f"{task}-length"}
    options.image_size, options.batch_size = 64, 4
    for name, value in length.items():
        setattr(options, name, value)
    assert train(config_of(task), options).name == last
    shown = capsys.readouterr().out
    assert re.search(r"^steps +(6 steps \(2 x 3\)|3 steps \(1 epoch of 3\))", shown, re.MULTILINE)
    assert "validation after" in shown
