"""A file that does not load names itself and its record, in one line, from any worker."""

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from demo_runs import TASKS, config_of, options_of
from mmengine.config import Config
from mmengine.dataset import RepeatDataset
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from mmseg.models.data_preprocessor import SegDataPreProcessor
from PIL import Image
from torch.utils.data import DataLoader

from casvit_dense.cli import main
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.loading import (
    REPLACES,
    BrokenFileError,
    LoadingError,
    loaders_watched,
    name_batches,
    name_records,
)
from casvit_dense.engine.record import training_of
from casvit_dense.engine.replaced import ReplacedImagesHook
from casvit_dense.errors import UserError
from casvit_dense.training.draws import Draw, seed_samples


@cache
def config(task: str) -> Config:
    cfg = resolve(config_of(task), options_of(task, Path(), Path("work"))).config
    register_scope(cfg)
    return cfg


def built(task: str, root: Path, loader: str = "train_dataloader") -> Any:
    """A data set of the demo, as `build_runner` leaves it."""
    cfg = deepcopy(config(task))
    cfg[loader].dataset.data_root = str(root / TASKS[task][1])
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        dataset = registry.build(cfg[loader].dataset)
    name_records(dataset)
    return dataset


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casvit_dense.engine.loading.PAUSES", (0.0,))  # files stay broken


@pytest.fixture
def data(shapes: Path, tmp_path: Path) -> Path:
    shutil.copytree(shapes, tmp_path / "data")
    return tmp_path / "data"


def read(dataset: Any, workers: int) -> None:
    list(DataLoader(dataset, num_workers=workers, collate_fn=list))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def half_size(path: Path) -> None:
    image = Image.open(path)
    image.resize((image.width // 2, image.height)).save(path)


def coloured(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


IMAGE, MAP = "images/training/000003.png", "annotations/training/000003.png"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (IMAGE, Path.unlink, "the image does not exist"),
        (IMAGE, no_bytes, "the image is empty"),
        (IMAGE, cut, "the image is truncated or damaged"),
        (IMAGE, lambda path: path.write_text("no picture"), "the image is not an image"),
        (IMAGE, half_size, "its map is 64 x 64, the image 32 x 64"),
        (MAP, Path.unlink, "the map does not exist"),
        (MAP, no_bytes, "the map is empty"),
        (MAP, cut, "the map is truncated or damaged"),
        (MAP, half_size, "its map is 32 x 64, the image 64 x 64"),
        (MAP, coloured, "the map does not hold one whole number a pixel (Pillow's mode RGB)"),
    ],
)
def test_a_map_or_its_image_is_named(
    data: Path, workers: int, file: str, change: Callable[[Path], object], said: str
) -> None:
    dataset = built("fpn", data)
    change(data / "ade" / file)
    with pytest.raises(LoadingError) as caught:
        read(dataset, workers)
    message = str(caught.value)
    assert message.startswith(f"image {data / 'ade' / IMAGE} with map {data / 'ade' / MAP} cannot")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("change", [Path.unlink, no_bytes, cut, half_size])
def test_an_image_of_objects_is_named_with_its_id(
    data: Path, workers: int, change: Callable[[Path], object]
) -> None:
    dataset = built("mask-rcnn", data)
    file = data / "coco/train2017/000003.png"
    change(file)
    with pytest.raises(LoadingError, match=f"^image {file} \\(id 3\\) cannot be [^\n]*$"):
        read(dataset, workers)


@pytest.mark.slow  # each worker imports everything
def test_spawned_workers_name_records_too(data: Path) -> None:
    dataset = built("fpn", data)
    no_bytes(data / "ade" / IMAGE)
    loader = DataLoader(dataset, num_workers=1, collate_fn=list, multiprocessing_context="spawn")
    with pytest.raises(LoadingError, match="000003.png cannot be loaded: the image is empty"):
        list(loader)


def test_data_sets_inside_wrappers_name_records(data: Path) -> None:
    inner = built("fpn", data)
    del inner.prepare_data
    no_bytes(data / "ade" / IMAGE)
    wrapper = RepeatDataset(inner, 2)
    name_records(wrapper)
    with pytest.raises(LoadingError, match="the image is empty"):
        [wrapper[index] for index in range(len(inner))]


def test_sound_data_load_in_training_and_test(shapes: Path) -> None:
    for task in TASKS:
        for loader in ("train_dataloader", "val_dataloader"):
            dataset = built(task, shapes, loader)
            assert len([dataset[index] for index in range(len(dataset))]) == len(dataset)


def test_a_map_of_another_size_is_named_in_a_test(data: Path) -> None:
    dataset = built("fpn", data, "val_dataloader")
    half_size(data / "ade/annotations/validation/000001.png")
    with pytest.raises(LoadingError, match="000001.png cannot be used: its map is 32 x 64"):
        [dataset[index] for index in range(len(dataset))]


def test_an_error_of_the_pipeline_says_record_and_line(data: Path) -> None:
    dataset = built("fpn", data)
    dataset.pipeline.transforms.append(lambda sample: sample["nothing"])
    with pytest.raises(
        LoadingError, match=r"KeyError: 'nothing' \(test_loading_faults.py, line \d+\)"
    ):
        dataset[0]


@pytest.mark.parametrize(("workers", "share", "code"), [(0, "0.001", 2), (2, "0.1", 0)])
def test_a_training_goes_on_without_a_broken_image_or_saves_and_stops(
    data: Path,
    tmp_path: Path,
    workers: int,
    share: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The file is damaged after the checks, which would have found it."""
    options = options_of("fpn", data, tmp_path / f"run-{workers}", rounds=2)
    overrides = {**options.cfg_options, "train_dataloader.num_workers": workers}
    monkeypatch.setattr("casvit_dense.engine.train.check_data", lambda *_: no_bytes(file) or [])
    file = data / "ade" / IMAGE
    words = ["train", str(config_of("fpn")), "--data-root", options.data_root, "--seed", "0"]
    words += ["--work-dir", str(options.work_dir), "--max-bad-images", share, "--cfg-options"]
    words += [f"{key}={value}" for key, value in overrides.items()]
    assert main(words) == code
    shown = capfd.readouterr()
    said = f"image {file} with map {data / 'ade' / MAP} cannot be loaded: the image is empty"
    assert "Traceback" not in shown.err
    if code == 0:
        assert shown.out.count(f"warning: {said}") == 1
        assert f"replaced: 1 image: image {file}" in shown.out
        saved = torch.load(options.work_dir / "iter_4.pth", weights_only=False)
        assert said in saved["message_hub"]["runtime_info"]["replaced_images"][0]
        training = training_of(saved)
        assert training is not None and training.replaced_images == 1
        assert training.replaced == [f"image {file} with map {data / 'ade' / MAP}"]
        assert training.remarks == [
            "the training replaced 1 image that could not be read: " + training.replaced[0]
        ]
    else:
        assert f"error: {said}" in shown.err
        (stopped,) = options.work_dir.glob("stopped_iter_*.pth")
        assert stopped.name in shown.err


class Flaky:
    """Samples of one random number, which fail the first times they are asked for."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error

    def __len__(self) -> int:
        return 100

    def get_data_info(self, index: int) -> dict[str, Any]:
        return {}

    def prepare_data(self, index: int) -> dict[str, Any]:
        numbers = random.random(), float(np.random.random()), float(torch.rand(()))
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        truth = BaseDataElement(metainfo={"numbers": numbers})
        return {"inputs": torch.zeros(1), "data_samples": truth}


def numbers(failures: int, error: Exception) -> Any:
    dataset: Any = Flaky(failures, error)
    name_records(dataset)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    return dataset.prepare_data(0)["data_samples"].numbers


def test_a_file_that_comes_back_gives_the_same_sample() -> None:
    hiccup = OSError(errno.ESTALE, "Stale file handle")
    assert numbers(1, hiccup) == numbers(0, hiccup)
    with pytest.raises(BrokenFileError, match="Stale file handle"):
        numbers(2, hiccup)


def test_a_disk_that_is_gone_is_waited_for_once() -> None:
    """For the first file: two attempts here, and one at each of ten others."""
    dataset: Any = Flaky(100, OSError(errno.EIO, "Input/output error"))
    name_records(dataset, replace=True)
    with pytest.raises(BrokenFileError, match="Input/output error"):
        dataset.prepare_data(0)
    assert dataset.failures == 100 - 2 - 10


def test_an_error_of_the_pipeline_is_not_replaced() -> None:
    dataset: Any = Flaky(9, KeyError("nothing"))
    name_records(dataset, replace=True)
    with pytest.raises(LoadingError, match="KeyError: 'nothing'"):
        dataset.prepare_data(0)


def test_who_stands_in_depends_on_the_draw_alone(data: Path) -> None:
    dataset = built("fpn", data)
    name_records(dataset, replace=True)
    seed_samples(dataset)
    (data / "ade" / IMAGE).unlink()
    draws = [[Draw(index, (0, 0, step, 0))] for step, index in enumerate([3, 1, 3, 3, 2, 3])]
    runs = []
    for workers in (0, 2):
        loader = DataLoader(dataset, batch_sampler=draws, num_workers=workers, collate_fn=list)
        samples = [batch[0]["data_samples"] for batch in loader]
        runs.append([sample.img_path for sample in samples])
        said = [sample.get(REPLACES, "") for sample in samples]
        assert ["the image does not exist" in text for text in said] == [1, 0, 1, 1, 0, 1]
    assert runs[0] == runs[1]
    assert len({runs[0][step] for step in (0, 2, 3, 5)}) > 1


def test_one_that_stands_in_may_be_broken_itself(data: Path) -> None:
    dataset = built("fpn", data)
    name_records(dataset, replace=True)
    for file in sorted((data / "ade/images/training").iterdir())[:6]:
        no_bytes(file)
    for seed in range(5):
        np.random.seed(seed)
        assert "is empty" in dataset[0]["data_samples"].get(REPLACES)
    for file in (data / "ade/images/training").iterdir():
        no_bytes(file)
    with pytest.raises(BrokenFileError, match="is empty"):
        dataset[0]


class Fatal(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(UserError, match="give fewer --workers") as caught, loaders_watched():
        list(DataLoader(Fatal(), num_workers=1))
    assert "torch says: DataLoader worker (pid" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_make_no_batch_are_named(data: Path) -> None:
    Image.new("RGB", (32, 48)).save(data / "ade/images/validation/000002.png")
    Image.new("L", (32, 48), 1).save(data / "ade/annotations/validation/000002.png")
    dataset = built("fpn", data, "val_dataloader")
    model = torch.nn.Module()
    model.data_preprocessor = SegDataPreProcessor(mean=[0.0] * 3, std=[1.0] * 3)
    name_batches(model)
    samples = [dataset[index] for index in (1, 2)]
    batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    with pytest.raises(UserError, match=r"000001.png 64 x 64, .*000002.png \d+ x 64. Crop"):
        model.data_preprocessor(batch)


def test_the_share_of_images_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.29 of 100 is 28.999… in floating point."""
    runner: Any = SimpleNamespace(
        message_hub=MessageHub("share"),
        optim_wrapper=SimpleNamespace(should_update=lambda: True),
        train_dataloader=SimpleNamespace(dataset=range(100)),
        iter=0,
    )
    hook = ReplacedImagesHook(0.29)
    hook.before_train(runner)
    samples = [{REPLACES: f"image {number} cannot be loaded"} for number in range(29)]
    hook.before_train_iter(runner, 0, {"data_samples": samples})
    monkeypatch.setattr("casvit_dense.engine.replaced.save_between", lambda *_: "x.pth")
    with pytest.raises(UserError, match="29 were replaced before, and --max-bad-images 0.29"):
        hook.before_train_iter(runner, 0, {"data_samples": [{REPLACES: "image 29"}]})
