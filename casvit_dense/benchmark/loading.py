"""Where the time goes between images on disk and a batch for the network, and what workers hold."""

import random
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import get
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

from casvit_dense.benchmark.machine import provenance
from casvit_dense.benchmark.timing import spread
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.check_data import check_data
from casvit_dense.errors import UserError
from casvit_dense.options import IMAGE_DECODERS, RunOptions
from casvit_dense.results.measurements import LoadingSpeed

Result = TypeVar("Result")


def loading_jobs(
    configs: Sequence[str], data_root: str | None
) -> list[tuple[LoadingSpeed, Callable[[], list[LoadingSpeed]]]]:
    """A measurement for each config, with the row that it has if it fails; see `run.run_jobs`.

    Raises:
        UserError: no config is named, or one or its data are not as they should be.
    """
    if not configs:
        raise UserError("--mode data: name a config, whose images are loaded")
    if missing := [config for config in configs if not Path(config).is_file()]:
        raise UserError(f"no config file {', '.join(missing)}")
    options = RunOptions(data_root=data_root)
    for config in configs:  # all of them before the first is measured
        check_loading(config, options)
    return [
        (
            LoadingSpeed(**provenance("cpu"), config=Path(config).stem),
            partial(measure_loading, config, options),
        )
        for config in configs
    ]


def measure_loading(
    config: str | Path,
    options: RunOptions,
    images: int = 64,
    repeats: int = 3,
    workers: int = 2,
) -> list[LoadingSpeed]:
    """Times every step of a config's own training pipeline, then its loader with workers.

    Of the image decoders, those after the first need not work here; a line is printed on each that
    does not. Files are read once before, so that ``read`` is that of a warm file cache.

    Args:
        config: config file.
        options: those of a training; the data root above all.
        images: how many, evenly spaced over the data set.
        repeats: passes over the images; of each image and step the fastest counts.
        workers: processes of the loader.

    Returns:
        A row for every decoder and step with its times of an image, and one with step ``loader``:
        its rate, and the memory of a worker (where the system is Linux).

    Raises:
        UserError: anything that is wrong with config, options or data.
    """
    prepared = usable(config, options)
    datasets = {decoder: build_dataset(cfg) for decoder, cfg in prepared.items()}
    times = time_steps(datasets, images, repeats)
    first, cfg = next(iter(prepared.items()))  # what follows decoding is the same for all
    batch = cfg.train_dataloader.batch_size
    for step, seconds in time_batches(cfg, datasets[first], batch).items():
        times[first, step] = seconds
    found = {key: spread_ms(seconds) for key, seconds in times.items()}
    for decoder, cfg in prepared.items():
        found[decoder, "loader"] = measure_workers(cfg, workers, images)
    return [
        LoadingSpeed(
            **provenance("cpu"),
            config=Path(config).stem,
            images=images,
            batch=batch,
            workers=workers,
            decoder=decoder,
            step=step,
            **figures,
        )
        for (decoder, step), figures in found.items()
    ]


def usable(config: str | Path, options: RunOptions) -> dict[str, Config]:
    """The prepared config for each decoder that works, which the first must; others are printed."""
    prepared: dict[str, Config] = {}
    for decoder in IMAGE_DECODERS:
        try:
            prepared[decoder] = check_loading(config, replace(options, image_decoder=decoder))
        except UserError as error:
            if not prepared:
                raise
            print(f"not measured: {decoder}: {error}")
    return prepared


def check_loading(config: str | Path, options: RunOptions) -> Config:
    """The prepared config, whose training set was checked; a `UserError` says what is wrong."""
    cfg = resolve(config, options).config
    register_scope(cfg)
    if cfg.get("train_dataloader") is None:
        raise UserError(f"{config}: no train_dataloader, whose loading could be measured")
    check_data(cfg, ("train_dataloader",))
    return cfg


def spread_ms(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, mean and 10th and 90th percentile; a step of a few heavy images needs the mean."""
    times = 1e3 * np.array(seconds)
    median, p10, p90 = spread(times.tolist())
    return {"ms": median, "ms_mean": float(times.mean()), "ms_p10": p10, "ms_p90": p90}


def build_dataset(cfg: Config) -> Any:
    """The training set of a config, read; a `UserError` for a wrapper, which has no pipeline."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    if not hasattr(getattr(dataset, "pipeline", None), "transforms"):
        raise UserError(f"{cfg.filename}: loading is measured of plain data sets, not of wrappers")
    dataset.full_init()
    return dataset


def time_steps(
    datasets: dict[str, Any], images: int, repeats: int
) -> dict[tuple[str, str], list[float]]:
    """Fastest seconds of every image, by decoder and step, decoders in turn image by image."""
    size = len(next(iter(datasets.values())))
    chosen = np.unique(np.linspace(0, size - 1, min(images, size)).astype(int)).tolist()
    fastest: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for _ in range(repeats):
        for index in chosen:
            for decoder, dataset in datasets.items():
                random.seed(index)
                np.random.seed(index)
                for step, seconds in _steps_of(dataset, index):
                    known = fastest[decoder, step]
                    known[index] = min(seconds, known.get(index, seconds))
    return {key: list(by_image.values()) for key, by_image in fastest.items()}


def _steps_of(dataset: Any, index: int) -> Iterator[tuple[str, float]]:
    """Steps of one image and their seconds; ends early where a transform rejects the image."""
    seconds, data = _timed(dataset.get_data_info, index)
    yield "annotations", seconds
    for transform in dataset.pipeline.transforms:
        name = type(transform).__name__
        reading = 0.0
        if name == "LoadImageFromFile":
            path = data["img_path"]
            get(path)  # into the file cache
            reading, _ = _timed(get, path)
            yield "read", reading
        seconds, data = _timed(transform, data)
        # Loading an image is reading it, which was measured by itself, and decoding it.
        yield ("decode", max(seconds - reading, 0)) if reading else (name, seconds)
        if data is None:
            return


def time_batches(cfg: Config, dataset: Any, batch: int) -> dict[str, list[float]]:
    """Seconds per image of making batches, and of normalising and padding them on the CPU."""
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    times: dict[str, list[float]] = {"collate": [], "preprocess": []}
    for begin in range(0, 5 * batch, batch):
        samples = [dataset[index % len(dataset)] for index in range(begin, begin + batch)]
        collating, collated = _timed(pseudo_collate, samples)
        processing, _ = _timed(preprocessor, collated, True)
        if begin:  # the first batch finds memory cold
            times["collate"].append(collating / batch)
            times["preprocess"].append(processing / batch)
    return times


def measure_workers(cfg: Config, workers: int, images: int) -> dict[str, Any]:
    """Runs the training loader of a config: its rate after a start, and a worker's memory.

    The memory is None where the system does not say.
    """
    settings = cfg.train_dataloader.copy()
    settings.update(num_workers=workers, persistent_workers=workers > 0)
    loader = Runner.build_dataloader(settings, seed=0)
    batches = chain.from_iterable(repeat(loader))  # without end
    for _ in islice(batches, 2 * max(workers, 1)):  # workers start and fill their queues
        pass
    count = -(-images // settings.batch_size)
    seconds, _ = _timed(deque, islice(batches, count), 0)
    iterator = getattr(loader, "_iterator", None)
    held = [worker_memory(process.pid) for process in getattr(iterator, "_workers", [])]
    known = [memory for memory in held if memory is not None]
    return {
        "images_per_second": count * settings.batch_size / seconds,
        "rss_mib": max((rss for rss, _ in known), default=None),
        "private_mib": max((private for _, private in known), default=None),
    }


def worker_memory(pid: int) -> tuple[float, float] | None:
    """Resident MiB of a process, and those that it shares with no other; from Linux's /proc."""
    report = Path(f"/proc/{pid}/smaps_rollup")
    if not report.is_file():
        return None
    kib = {k: int(v) for k, v in re.findall(r"^(\w+): +(\d+) kB$", report.read_text(), re.M)}
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


def _timed(call: Callable[..., Result], *args: Any) -> tuple[float, Result]:
    begun = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - begun, result
