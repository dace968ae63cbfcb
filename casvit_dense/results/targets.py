"""Published figures of CAS-ViT and its peers, with their sources: ``targets.json``."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from casvit_dense.errors import UserError

PUBLISHED = Path(__file__).with_name("targets.json")

#: Model and schedule -> the data set whose tolerance holds.
HEADS = {"retinanet_1x": "coco", "mask_rcnn_1x": "coco", "sem_fpn_40k": "ade20k"}
SIZES = ("", "_50", "_75", "_s", "_m", "_l")
METRICS = {
    "coco": {f"{kind}_mAP{size}" for kind in ("bbox", "segm") for size in SIZES},
    "ade20k": {"mIoU"},
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was published of one dense model.

    Attributes:
        head: one of `HEADS`.
        backbone: name as published.
        metrics: percent, by the names of our own metrics.
        source: where it was published.
        tolerance: points by which runs of one recipe differ.
        config: stem of our config of the same model, if there is one.
        params_m: trained parameters of the whole model, in millions.
        backbone_params_m: parameters of the backbone, mostly with its classifier, in millions.
        gflops_512: multiply-adds of the whole model at 512x512, in 1e9.
        also: other published values of mIoU, by where they are from.
    """

    head: str
    backbone: str
    metrics: Mapping[str, float]
    source: str
    tolerance: float
    config: str | None = None
    params_m: float | None = None
    backbone_params_m: float | None = None
    gflops_512: float | None = None
    also: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """What was published of one ImageNet classifier.

    Attributes:
        backbone: name as published.
        params_m: parameters in millions, classifier included.
        top1: percent, at 224x224.
        source: where it was published.
        also: other published values of top-1.
    """

    backbone: str
    params_m: float
    top1: float
    source: str
    also: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A row of the CAS-ViT paper's table of speeds, in the paper's units.

    Attributes:
        backbone: name as published.
        params_m: parameters, in millions.
        mflops: multiply-adds at 224x224, in 1e6.
        gpu: on a GPU.
        onnx: with ONNX.
        ane: on Apple's Neural Engine.
        top1: percent.
        source: where it was published.
    """

    backbone: str
    params_m: float
    mflops: float
    gpu: float
    top1: float
    source: str
    onnx: float | None = None
    ane: float | None = None


@dataclass(frozen=True)
class Targets:
    """All published figures."""

    dense: tuple[Target, ...]
    classifiers: tuple[Classifier, ...]
    throughput: tuple[Throughput, ...]

    def of_config(self, stem: str) -> Target | None:
        """What was published of the model of a config; None if nothing was."""
        return next((target for target in self.dense if target.config == stem), None)


def read_targets(path: Path = PUBLISHED) -> Targets:
    """Reads and checks a file of published figures.

    Args:
        path: the file; by default the one that comes with the package.

    Raises:
        UserError: the file cannot be read, or a row has an unknown or missing key, a value out of
            range, an unknown metric, no source, or a twin.
    """
    try:
        content = json.loads(path.read_text())
        rows = [content[key] for key in ("dense", "classifiers", "paper_throughput")]
        tolerance = {dataset: float(content["tolerance"][dataset]) for dataset in METRICS}
    except OSError as error:
        raise UserError(f"no published figures can be read at {path}: {error.strerror}") from error
    except KeyError as error:
        raise UserError(f"{path} is no file of published figures: it has no {error}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is no file of published figures: {error}") from error

    def dense(**row: Any) -> Target:
        dataset = HEADS.get(row.get("head", ""))
        if dataset is None:
            raise ValueError(f"head is none of {', '.join(HEADS)}")
        unknown = set(row.get("metrics", ())) - METRICS[dataset]
        if unknown or not row.get("metrics"):
            raise ValueError(f"metrics has {sorted(unknown) or 'nothing'}")
        return Target(**row, tolerance=tolerance[dataset])

    targets = Targets(
        tuple(_checked(path, "dense", rows[0], dense)),
        tuple(_checked(path, "classifiers", rows[1], Classifier)),
        tuple(_checked(path, "paper_throughput", rows[2], Throughput)),
    )
    _refuse_twins(path, [(target.head, target.backbone) for target in targets.dense])
    _refuse_twins(path, [target.config for target in targets.dense if target.config])
    _refuse_twins(path, [classifier.backbone for classifier in targets.classifiers])
    return targets


Row = TypeVar("Row", Target, Classifier, Throughput)


def _checked(path: Path, part: str, rows: list[Any], make: Callable[..., Row]) -> list[Row]:
    """Every row as an object.

    Raises:
        UserError: with the row that is wrong and why.
    """
    made = []
    for number, row in enumerate(rows, 1):
        try:
            made.append(make(**row))
            _check_values(made[-1])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: {part}, row {number}: {error}") from error
    return made


def _check_values(row: Target | Classifier | Throughput) -> None:
    for key in fields(row):
        value = getattr(row, key.name)
        if value is None and key.default is None:
            continue
        if key.name in ("head", "backbone", "source", "config"):
            if not (isinstance(value, str) and value):
                raise ValueError(f"{key.name} is {value!r}, not a text")
            continue
        percent = key.name in ("metrics", "also", "top1")
        for number in value.values() if isinstance(value, dict) else [value]:
            _check_number(key.name, number, 100 if percent else math.inf)


def _check_number(name: str, value: Any, limit: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < limit:
        raise ValueError(f"{name} has {value!r}")


def _refuse_twins(path: Path, names: list[Any]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: {name} is there twice")
