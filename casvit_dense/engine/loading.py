"""Loading that meets a broken file: it is tried again, named, and replaced where a run allows it.

One line says what is wrong, from any worker of a loader.
"""

import random
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from casvit_dense.data.checks.image_facts import ImageFacts, read_deep, read_header
from casvit_dense.data.checks.map_facts import read_map
from casvit_dense.errors import UserError
from casvit_dense.training.draws import SizedIndex

REMEDY = "casvit-dense data check names all such files"

#: Seconds before each further attempt: what a network file system needs to come back to itself.
PAUSES = (0.5, 2.0)

#: Samples that are tried in the place of a broken one, before the disk itself must be broken.
STAND_INS = 10

#: Key of a sample's meta information: why it stands in for another.
REPLACES = "replaces"

#: What torch says where a worker was killed, or found no room in the memory shared with it.
KILLED, NO_SHARED_MEMORY = "DataLoader worker (pid", ("shared memory", "</torch_")


class LoadingError(UserError):
    """A record that cannot be loaded.

    torch raises what a worker raised once more in the main process, as the same class with the
    whole traceback for its message, whose last line is the message that was meant.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class BrokenFileError(LoadingError):
    """A record whose files are broken; every other error is one of the pipeline."""


def name_records(dataset: Any, replace: bool = False) -> None:
    """Has a data set try again, and then name, the record that it cannot load.

    Args:
        dataset: a data set or a wrapper (repeat, concatenate) around some; others are left alone.
        replace: put another sample, which says so under `REPLACES`, in the place of one whose
            files are broken. Which one depends on the generators' states before that sample alone.
    """
    for inner in (*getattr(dataset, "datasets", ()), getattr(dataset, "dataset", None)):
        if inner is not None:
            name_records(inner, replace)
    if hasattr(dataset, "prepare_data"):  # workers that are spawned pickle it
        dataset.prepare_data = partial(_prepare, dataset, replace)


def name_batches(model: nn.Module) -> None:
    """Has a model name the images that cannot be stacked to a batch."""
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    if preprocessor is not None:
        preprocessor.forward = partial(_preprocess, preprocessor)


@contextmanager
def loaders_watched() -> Iterator[None]:
    """Says in one line that the system killed a worker of a loader.

    Raises:
        UserError: in place of torch's RuntimeError, which comes up in any line of a run.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if KILLED not in text and not any(part in text for part in NO_SHARED_MEMORY):
            raise
        remedy = "killed where memory runs out (dmesg says so): give fewer --workers"
        if any(part in text for part in NO_SHARED_MEMORY):
            remedy = "out of shared memory: enlarge /dev/shm (docker run --shm-size=8g)"
        raise UserError(
            f"a process that loads images ended, most likely {remedy}, and go on with --resume. "
            f"torch says: {text[-200:]}"
        ) from error


def _prepare(dataset: Any, replace: bool, index: int, again: bool = True) -> Any:
    """A sample; random numbers are drawn as if its first attempt were the only one.

    Args:
        again: whether to try again.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for pause in (*PAUSES * again, None):
        try:
            return _load(dataset, index)
        except LoadingError as error:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])
            if pause is not None:
                time.sleep(pause)
                continue
            if not replace or not isinstance(error, BrokenFileError):
                raise
            if (sample := _stand_in(dataset, index, str(error))) is None:
                raise
            return sample


def _stand_in(dataset: Any, index: int, why: str) -> Any:
    """A sample that says for which broken one it stands; None where it cannot, or none is whole."""
    for _ in range(STAND_INS):
        other = int(np.random.randint(len(dataset)))
        if isinstance(index, SizedIndex):
            other = SizedIndex(other, index.size)
        with suppress(BrokenFileError):  # at once: a disk that is gone has had its time
            sample = _prepare(dataset, False, other, again=False)
            if not isinstance(sample, dict) or "data_samples" not in sample:
                return None
            sample["data_samples"].set_metainfo({REPLACES: why})
            return sample
    return None


def _load(dataset: Any, index: int) -> Any:
    try:
        sample = type(dataset).prepare_data(dataset, index)
    except UserError:
        raise
    except Exception as error:  # whatever a step of a pipeline raises
        record = dataset.get_data_info(index)
        reason = _fault_of(record)
        kind = BrokenFileError if reason or isinstance(error, OSError) else LoadingError
        raise kind(
            f"{_name(record)} cannot be loaded: {reason or in_a_line(error)}. {REMEDY}"
        ) from error
    truth = _differing_truth(sample)
    if truth:
        record = dataset.get_data_info(index)
        reason = _differing_files(record) or f"its {truth} differ from it in size"
        raise BrokenFileError(f"{_name(record)} cannot be used: {reason}. {REMEDY}")
    return sample


def _preprocess(preprocessor: Any, data: Any, training: bool = False) -> Any:
    try:
        return type(preprocessor).forward(preprocessor, data, training)
    except (AssertionError, RuntimeError) as error:
        images, samples = data.get("inputs"), data.get("data_samples")
        if not samples or len({image.shape[-2:] for image in images}) == 1:
            raise
        sizes = (
            f"{sample.get('img_path')} {image.shape[-1]} x {image.shape[-2]}"
            for image, sample in zip(images, samples, strict=True)
        )
        raise UserError(
            f"images of one batch differ in size: {', '.join(sizes)}. Crop or pad them to one "
            "size in the pipeline, or load one at a time (batch_size=1)"
        ) from error


def _name(record: Mapping[str, Any]) -> str:
    name = f"image {record.get('img_path')}"
    if "img_id" in record:
        name += f" (id {record['img_id']})"
    if record.get("seg_map_path"):
        name += f" with map {record['seg_map_path']}"
    return name


def _fault_of(record: Mapping[str, Any]) -> str:
    """What is wrong with the files of a record."""
    image, label_map = record.get("img_path"), record.get("seg_map_path")
    if image is not None and (facts := read_deep(image)).problem:
        return f"the image {facts}"
    if label_map is not None:
        found = read_map(label_map)
        if found.problem:
            return f"the map {found.problem}"
    return _differing_files(record)


def _differing_files(record: Mapping[str, Any]) -> str:
    """What is wrong with the truth of a record beside its image."""
    image = read_header(record["img_path"]) if record.get("img_path") else ImageFacts()
    if record.get("seg_map_path"):
        found = read_map(record["seg_map_path"])
        if not found.labels:
            return f"the map does not hold one whole number a pixel (Pillow's mode {found.mode})"
        truth, width, height = "map", found.width, found.height
    else:
        truth, width, height = "record", record.get("width", 0), record.get("height", 0)
    if image.problem or not width or (width, height) == (image.width, image.height):
        return ""
    return f"its {truth} is {width} x {height}, the image {image.width} x {image.height}"


def _differing_truth(sample: Any) -> str:
    """Which truth of a sample has another size than its image; empty if none."""
    if not isinstance(sample, dict) or "data_samples" not in sample:
        return ""
    image, truth = sample["inputs"], sample["data_samples"]
    if not hasattr(image, "shape"):  # the variants of a test with augmentation
        return ""
    # In a test, truth keeps the size that the image had before the pipeline.
    sizes = [tuple(image.shape[-2:]), tuple(truth.metainfo.get("ori_shape", ()))]
    # Maps of mmdet's samples may be smaller on purpose (SegRescale).
    if type(truth).__name__ == "SegDataSample" and "gt_sem_seg" in truth:
        return "map" * (tuple(truth.gt_sem_seg.shape) not in sizes)
    masks = truth.get("gt_instances", {}).get("masks")
    return "masks" * (masks is not None and (masks.height, masks.width) not in sizes)


def in_a_line(error: Exception) -> str:
    """An error of other code: what, and in which line of which file."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}, line {last.lineno})"
