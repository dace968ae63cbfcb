"""Steps, hours and bytes by hand arithmetic."""

import json
import shutil
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.schedule import Schedule, moments_of, schedule_of
from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.estimate import (
    Estimate,
    benchmarked,
    evaluations_left,
    logged_times,
    step_time,
    training_pixels,
)
from casvit_dense.reproduce.recipe import (
    DataFacts,
    Known,
    count_images,
    count_parameters,
    published_images,
    read_truth,
)
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Software

CONFIGS = Path(__file__).parents[2] / "configs"
RETINANET = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
SEM_FPN = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"
DEMO = CONFIGS / "demo/retinanet_casvit-mini_fpn_shapes.py"


@cache
def as_read(path: Path) -> Config:
    """Bases from mmdet take half a second each time."""
    return read_config(path)


def resolved(path: Path, data_root: str | None = None) -> Config:
    return resolve(as_read(path), RunOptions(data_root=data_root)).config


def by_epoch(**changes: object) -> Schedule:
    usual = dict(length=12, by_epoch=True, batch=4, interval=1, kept=3, best=True, validations=12)
    return Schedule(**{**usual, **changes})


@pytest.mark.parametrize(
    ("images", "processes", "batch", "steps"),
    [
        (117_266, 8, 4, 12 * 3_665),  # a share is 14,659 images; its last batch has 3
        (117_266, 4, 8, 12 * 3_665),
        (117_266, 1, 32, 12 * 3_665),
        (10, 1, 4, 12 * 3),
        (10, 2, 4, 12 * 2),
        (8, 2, 4, 12),
    ],
)
def test_steps_of_epochs(images: int, processes: int, batch: int, steps: int) -> None:
    assert by_epoch(batch=batch).steps(images, processes) == steps
    assert by_epoch(batch=batch).steps(None, processes) is None


def test_steps_of_iterations_do_not_depend_on_the_images() -> None:
    schedule = by_epoch(length=40_000, by_epoch=False)
    assert schedule.steps(None, 8) == schedule.steps(20_210, 1) == 40_000


@pytest.mark.parametrize(
    ("changes", "checkpoints", "best"),
    [
        ({}, 3, 1),
        ({"kept": None}, 12, 1),
        ({"kept": None, "interval": 5}, 3, 1),  # 5, 10 and the last
        ({"length": 2}, 2, 1),
        ({"best": False}, 3, 0),
    ],
)
def test_disk(changes: dict, checkpoints: int, best: int) -> None:
    """AdamW keeps two floats of four bytes a trained parameter; the best has no optimiser."""
    expected = checkpoints * (1000 + 2 * 4 * 200) + best * 1000
    assert by_epoch(**changes).disk(weights=1000, trained=200, moments=2) == expected


def test_schedules_of_the_recipes() -> None:
    assert schedule_of(resolved(RETINANET)) == by_epoch()
    assert schedule_of(resolved(SEM_FPN)) == Schedule(
        length=40_000,
        by_epoch=False,
        batch=4,
        interval=4_000,
        kept=3,
        best=True,
        validations=10,
    )


@pytest.mark.parametrize(
    ("train_cfg", "validations"),
    [
        ({"max_epochs": 12}, 12),
        ({"max_epochs": 12, "val_interval": 5}, 3),  # 5, 10, 12
        ({"max_epochs": 12, "val_interval": 6, "val_begin": 8}, 1),
        ({"type": "IterBasedTrainLoop", "max_iters": 2500}, 3),  # 1000, 2000, 2500
    ],
)
def test_validations(train_cfg: dict, validations: int) -> None:
    cfg = Config(
        {
            "train_cfg": train_cfg,
            "default_hooks": {"checkpoint": {}},
            "train_dataloader": {"batch_size": 1},
        }
    )
    assert schedule_of(cfg).validations == validations


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [
        ({"type": "AdamW"}, 2),
        ({"type": "SGD", "momentum": 0.9}, 1),
        ({"type": "SGD"}, 0),
    ],
)
def test_moments_are_what_torch_keeps(optimizer: dict, moments: int) -> None:
    kind = getattr(torch.optim, optimizer["type"])
    parameter = torch.nn.Parameter(torch.ones(7))
    real = kind([parameter], lr=0.1, **{k: v for k, v in optimizer.items() if k != "type"})
    parameter.grad = torch.ones(7)
    real.step()
    kept = [v for v in real.state[parameter].values() if getattr(v, "shape", None) == (7,)]
    assert len(kept) == moments
    assert moments_of(Config({"optim_wrapper": {"optimizer": optimizer}})) == moments


def estimate(**changes: object) -> Estimate:
    usual = dict(
        steps=43_980, images=None, step=Known(0.5, ""), test=Known(90, ""), tests=13, gpus=8, disk=0
    )
    return Estimate(**{**usual, **changes})


def test_hours() -> None:
    assert estimate().gpu_hours == pytest.approx((43_980 * 0.5 + 13 * 90) * 8 / 3600)
    assert estimate(test=None).gpu_hours == pytest.approx(43_980 * 0.5 * 8 / 3600)
    assert estimate(step=None).gpu_hours is None
    assert estimate(steps=None).gpu_hours is None
    assert estimate(steps=0, step=None, tests=1).seconds == 90


@pytest.mark.parametrize(
    ("left", "todo", "tests"),
    [
        (1200, ("train", "test"), 13),
        (600, ("train", "test"), 7),
        (601, ("train", "test"), 8),
        (0, ("test",), 1),
        (0, (), 0),
    ],
)
def test_evaluations_that_are_left(left: int, todo: tuple[str, ...], tests: int) -> None:
    assert evaluations_left(by_epoch(), 1200, left, todo) == tests


def write_log(folder: Path, name: str, lines: list[object]) -> None:
    log = folder / name / "vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def test_times_come_from_the_newest_log_that_has_any(tmp_path: Path) -> None:
    def line(time: float) -> dict:
        return {"lr": 0.1, "time": time, "iter": 1}

    assert logged_times(tmp_path) == []
    write_log(tmp_path, "20260101_000000", [line(9.0)])
    assert logged_times(tmp_path) == [9.0], "the only one counts"
    validation = {"coco/bbox_mAP": 0.1, "time": 77.0}
    lines = [line(5.0), line(0.2), validation, line(0.3), line(0.4), '{"lr": 0.1, "ti', "7"]
    write_log(tmp_path, "20260102_000000", lines)
    assert logged_times(tmp_path) == [0.2, 0.3, 0.4], "without the first"
    write_log(tmp_path, "20260103_000000", [validation])
    assert logged_times(tmp_path) == [0.2, 0.3, 0.4]


def speed(**changes: object) -> Speed:
    usual = dict(
        **{"date": datetime(2026, 1, 2, tzinfo=timezone.utc), "device": "H200", "threads": 1},
        **{"precision": "fp32", "form": "reference", "backend": "eager", "model": "m"},
        **{"part": "model", "mode": "train", "size": "256x512", "batch": 2, "median_ms": 100.0},
        software=Software(versions={}),
    )
    return Speed(**{**usual, **changes})


def test_time_from_the_benchmark_goes_by_images_and_pixels() -> None:
    cfg = resolved(SEM_FPN)  # four crops of 512x512
    assert training_pixels(cfg) == 512 * 512
    found = benchmarked("m", cfg, [speed(median_ms=1.0), speed()])
    assert found == Known(0.1 * 4 / 2 * 2, "100 ms for 2 images of 256x512, H200")
    others = [
        speed(model="n"),
        speed(part="backbone"),
        speed(mode="infer"),
        speed(form="fused"),
        speed(precision="autocast"),
        speed(median_ms=None, error="out of memory"),
    ]
    assert benchmarked("m", cfg, others) is None


def test_given_times_go_before_logs_and_logs_before_the_benchmark(tmp_path: Path) -> None:
    cfg = resolved(SEM_FPN)
    rows = [speed()]
    assert step_time("m", cfg, {}, [tmp_path], rows).value == pytest.approx(0.4)
    write_log(tmp_path, "1", [{"lr": 1, "time": 3.0}])
    assert step_time("m", cfg, {}, [tmp_path / "none", tmp_path], rows) == Known(
        3.0, f"log in {tmp_path}"
    )
    assert step_time("m", cfg, {"m": 5.0}, [tmp_path], rows) == Known(5.0, "given")
    assert step_time("n", cfg, {}, [], rows) is None


def test_images_are_counted_as_the_framework_filters_them(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes", ShapesSpec(train=40, val=1, size=64))
    cfg = resolved(DEMO, str(tmp_path / "shapes/coco"))
    file = tmp_path / "shapes/coco/annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    drawn = {annotation["image_id"] for annotation in content["annotations"]}
    assert 0 < len(drawn) < 40, "the data set has images without objects"
    assert count_images(cfg) == DataFacts(Known(len(drawn), "counted"), len(drawn))
    leaf = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(type="RepeatDataset", times=3, dataset=leaf)
    assert count_images(cfg) == DataFacts(Known(3 * len(drawn), "counted"), len(drawn))
    cfg.train_dataloader.dataset = leaf
    small = min(drawn)
    for image in content["images"]:
        if image["id"] == small:
            image["width"] = 31  # filter_cfg.min_size is 32
    file.write_text(json.dumps(content))
    assert count_images(cfg) == DataFacts(Known(len(drawn) - 1, "counted"), len(drawn) - 1)
    file.unlink()
    assert count_images(cfg) == DataFacts(), "nothing is published of generated data"


def test_published_images_are_those_of_the_whole_data_sets() -> None:
    retinanet, fpn = (resolved(path, "no") for path in (RETINANET, SEM_FPN))
    # cocoapi's issue 76: 118,287 images, 1,021 of them without an object.
    for cfg, whole in ((retinanet, 118_287 - 1_021), (fpn, 20_210)):
        images = count_images(cfg)
        assert images.images.value == whole and images.own_images is None
    for key, value in {
        "filter_cfg": {},
        "indices": 100,
        "ann_file": "annotations/instances_minitrain2017.json",
        "metainfo": {"classes": ("dog",)},
    }.items():
        other = resolved(RETINANET)
        other.train_dataloader.dataset[key] = value
        if key == "filter_cfg":
            other.train_dataloader.dataset.filter_cfg.filter_empty_gt = False
        assert published_images(other) is None, key


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}', '{"images": [{}]}'])
def test_a_damaged_annotation_file_is_one_message(shapes: Path, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "coco"
    shutil.copytree(shapes / "coco", folder)
    for split in ("train", "val"):
        (folder / f"annotations/instances_{split}2017.json").write_text(text)
    cfg = resolved(DEMO, str(folder))
    for found, split in ((count_images(cfg), "train"), (read_truth(cfg), "val")):
        assert found == DataFacts(problem=found.problem)
        assert found.problem.startswith(f"the data in {folder}/annotations/instances_{split}2017.")
        assert "cannot be read: " in found.problem and "\n" not in found.problem


@pytest.mark.parametrize("path", [DEMO, SEM_FPN])
def test_parameters_are_those_of_the_real_model(path: Path) -> None:
    cfg = resolved(path)
    held, trained = count_parameters(cfg)
    register_scope(cfg)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert trained == sum(p.numel() for p in model.parameters())
    assert held == sum(t.nbytes for t in model.state_dict().values())
