"""Names the record whose files cannot be loaded: one line, from any worker of a loader."""

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from casvit_dense.data.checks.image_facts import ImageFacts, read_deep, read_header
from casvit_dense.data.checks.map_facts import read_map
from casvit_dense.errors import UserError

REMEDY = "casvit-dense data check names all such files"


class LoadingError(UserError):
    """A record that cannot be loaded.

    torch raises what a worker raised once more in the main process, as the same class with the
    whole traceback for its message, whose last line is the message that was meant.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


def name_records(dataset: Any) -> None:
    """Has a data set name the record that it cannot load.

    Args:
        dataset: a data set or a wrapper (repeat, concatenate) around some; others are left alone.
    """
    for inner in (*getattr(dataset, "datasets", ()), getattr(dataset, "dataset", None)):
        if inner is not None:
            name_records(inner)
    if hasattr(dataset, "prepare_data"):
        dataset.prepare_data = partial(_prepare, dataset)  # workers that are spawned pickle it


def name_batches(model: nn.Module) -> None:
    """Has a model name the images that cannot be stacked to a batch."""
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    if preprocessor is not None:
        preprocessor.forward = partial(_preprocess, preprocessor)


def _prepare(dataset: Any, index: int) -> Any:
    try:
        sample = type(dataset).prepare_data(dataset, index)
    except UserError:
        raise
    except Exception as error:  # whatever a step of a pipeline raises
        record = dataset.get_data_info(index)
        reason = _fault_of(record) or _in_a_line(error)
        raise LoadingError(f"{_name(record)} cannot be loaded: {reason}. {REMEDY}") from error
    truth = _differing_truth(sample)
    if truth:
        record = dataset.get_data_info(index)
        reason = _differing_files(record) or f"its {truth} differ from it in size"
        raise LoadingError(f"{_name(record)} cannot be used: {reason}. {REMEDY}")
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


def _in_a_line(error: Exception) -> str:
    """An error for which no file is to blame: what, and in which line of which code."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}, line {last.lineno})"
