"""Where predictions and their truth lie, found through what an evaluation wrote down."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from casvit_dense.analysis.coco_arrays import KINDS
from casvit_dense.data.description import IGNORE_LABEL
from casvit_dense.errors import UserError, validation_message
from casvit_dense.evaluations import MAPS_FOLDER, METRICS_FILE, PREDICTIONS, find_evaluation
from casvit_dense.zoo import COCO_PREFIX

#: Gets lines of progress.
Log = Callable[[str], None]

#: Least seconds between two lines of progress.
LOG_INTERVAL = 10.0


def no_log(line: str) -> None:
    """Shows nothing."""


#: The end of file names, used to search for files: no folders, no wildcards.
Suffix = Annotated[str, Field(pattern=r"^[\w.-]*$")]


class _StrictModel(BaseModel):
    """Types of known keys are checked; other keys are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class EvaluatedData(_StrictModel):
    """The data set's part of the config, as mmengine's data sets name it.

    ``pipeline`` matters for version 0.1 alone: since 0.2 ``reduce_zero_label`` is what holds.
    """

    data_root: str | None = None
    ann_file: str | None = None
    data_prefix: dict[str, str | None] | None = None
    indices: int | list[int] | None = None
    pipeline: list[dict[str, Any]] = []
    reduce_zero_label: bool | None = None
    ignore_label: int = IGNORE_LABEL
    seg_map_suffix: Suffix = ".png"
    img_suffix: Suffix = ".jpg"
    metainfo: dict[str, Any] | None = None

    def prefix(self, key: str) -> str:
        """The folder of a key, relative to the data root; ``""`` where none is given."""
        return (self.data_prefix or {}).get(key) or ""


class Conditions(_StrictModel):
    """The data set, the number of its images, and how the model ran."""

    dataset: EvaluatedData
    images: int | None = None
    form: str | None = None
    fused: bool | None = None
    backend: str | None = None
    precision: str | None = None
    seed: int | None = None


class MetricsFile(_StrictModel):
    """The content of ``metrics.json`` as far as the analysis uses it."""

    config: str
    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    conditions: Conditions
    checkpoint: str | None = None

    def traits(self) -> tuple[str, ...]:
        """Form, backend, precision, weights and seed, for `unique_labels`; ``""``: unknown."""
        how = self.conditions
        form = how.form
        if how.fused is not None:  # an exported file: what it was made of
            form = "fused" if how.fused else "reference"
        backend = how.backend or (form and "eager")
        weights = Path(self.checkpoint).name if self.checkpoint else ""
        seed = "" if how.seed is None else f"seed {how.seed}"
        return (form or "", backend or "", how.precision or "", weights, seed)

    def has(self, kind: str, metric: str) -> bool:
        """Whether a kind (``'bbox' | 'segm' | 'IoU'``) was evaluated."""
        return metric in self.metrics or kind in self.per_class


def read_metrics(folder: Path) -> MetricsFile:
    """Reads the ``metrics.json`` of a folder."""
    path = folder / METRICS_FILE
    try:
        return MetricsFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {validation_message(error)}; evaluate again") from error


MOVED = (
    "; if the data set was moved, or the evaluation ran in another folder, --data-root names the "
    "data set's folder"
)


@dataclass(frozen=True)
class CocoSource:
    """Boxes or masks.

    Attributes:
        name: of the system.
        kind: ``'bbox' | 'segm'``.
        truth: instances file.
        predictions: file in COCO's results format.
        classes: classes that were evaluated; None: all of the truth.
        indices: images that were evaluated, see `coco_arrays.read_truth`.
        images: folder of the images.
        reported: metrics that the evaluation reported.
        traits: how it was evaluated, see `MetricsFile.traits`.
    """

    name: str
    kind: str
    truth: Path
    predictions: Path
    classes: tuple[str, ...] | None = None
    indices: int | Sequence[int] | None = None
    images: Path | None = None
    reported: Mapping[str, float | None] = field(default_factory=dict)
    traits: tuple[str, ...] = ()


@dataclass(frozen=True)
class MapSource:
    """Index maps.

    Attributes:
        name: of the system.
        truth: folder of maps, searched in depth.
        predictions: folder of ``.png`` maps of the same names and numbering.
        classes: class names.
        reduce_zero_label: 0 is unlabelled and classes count from 1; otherwise they count from 0.
            255 is unlabelled in any case.
        ignore_label: another label of pixels that do not count.
        truth_suffix: end of the truth's file names.
        image_suffix: end of the images' file names.
        images: folder of the images.
        count: number of images that were evaluated; None: all of the truth.
        hint: what to do when the truth is not there, for messages.
        reported, traits: as in `CocoSource`.
    """

    name: str
    truth: Path
    predictions: Path
    classes: tuple[str, ...]
    reduce_zero_label: bool
    truth_suffix: str = ".png"
    image_suffix: str = ".png"
    ignore_label: int = IGNORE_LABEL
    images: Path | None = None
    count: int | None = None
    hint: str = ""
    reported: Mapping[str, float | None] = field(default_factory=dict)
    traits: tuple[str, ...] = ()

    def image_of(self, truth: Path) -> str:
        """The image of a map of the truth, relative to the folder of images."""
        map_file = str(truth.relative_to(self.truth))
        return map_file.removesuffix(self.truth_suffix) + self.image_suffix


Source = CocoSource | MapSource


def find_sources(
    folder: Path, data_root: str | Path | None = None, moved: str = MOVED
) -> list[Source]:
    """Finds the predictions of an evaluation (boxes, masks or maps) and their truth.

    Args:
        folder: folder of an evaluation, or a work directory, whose newest evaluation is taken.
        data_root: folder of the data set, if it was moved since the evaluation.
        moved: end of the message that the truth is not there: what to do.

    Raises:
        UserError: no evaluation or no predictions there, ``metrics.json`` is invalid, or the truth
            is not where it was.
    """
    folder = find_evaluation(folder)
    if not (folder / METRICS_FILE).is_file():
        raise UserError(
            f"{folder}: no evaluation; `casvit-dense test` writes {METRICS_FILE} and the "
            "predictions"
        )
    metrics = read_metrics(folder)
    dataset, per_class = metrics.conditions.dataset, metrics.per_class
    root = Path(data_root if data_root is not None else dataset.data_root or "")
    # The folder may still hold files of an earlier evaluation of another kind.
    kinds = [
        kind
        for kind in KINDS
        if metrics.has(kind, f"{COCO_PREFIX}{kind}_mAP") and _predictions(folder, kind).is_file()
    ]
    if kinds:
        return [
            CocoSource(
                name=metrics.config,
                kind=kind,
                truth=_truth_file(root, dataset, folder, moved),
                predictions=_predictions(folder, kind),
                classes=tuple(per_class[kind]) if per_class.get(kind) else None,
                indices=dataset.indices,
                images=root / dataset.prefix("img"),
                reported=metrics.metrics,
                traits=metrics.traits(),
            )
            for kind in kinds
        ]
    if not (metrics.has("IoU", "mIoU") and (folder / MAPS_FOLDER).is_dir()):
        raise UserError(
            f"{folder}: holds no {PREDICTIONS}.bbox.json, {PREDICTIONS}.segm.json or "
            f"{MAPS_FOLDER} that belong to its {METRICS_FILE}"
        )
    if not per_class.get("IoU"):
        raise UserError(
            f"{folder / METRICS_FILE}: names no classes (per_class.IoU); evaluate again"
        )
    return [
        MapSource(
            name=metrics.config,
            truth=root / dataset.prefix("seg_map_path"),
            predictions=folder / MAPS_FOLDER,
            classes=tuple(per_class["IoU"]),
            reduce_zero_label=_reduces_zero_label(dataset, folder),
            truth_suffix=dataset.seg_map_suffix,
            image_suffix=dataset.img_suffix,
            ignore_label=dataset.ignore_label,
            images=root / dataset.prefix("img_path"),
            count=metrics.conditions.images,
            hint=f" ({folder / METRICS_FILE} names it{moved})",
            reported=metrics.metrics,
            traits=metrics.traits(),
        )
    ]


def _predictions(folder: Path, kind: str) -> Path:
    return folder / f"{PREDICTIONS}.{kind}.json"


def _truth_file(root: Path, dataset: EvaluatedData, folder: Path, moved: str) -> Path:
    if not dataset.ann_file:
        raise UserError(
            f"{folder / METRICS_FILE}: names no annotation file of one data set; "
            "`casvit-dense analyze` takes the files themselves (--truth and --predictions)"
        )
    path = root / dataset.ann_file
    if not path.is_file():
        raise UserError(f"{folder / METRICS_FILE}: its truth {path} is not there{moved}")
    return path


def _reduces_zero_label(dataset: EvaluatedData, folder: Path) -> bool:
    """Whether label 0 means unlabelled. Version 0.1 may have left that to the data set's type."""
    steps = [step.get("reduce_zero_label") for step in dataset.pipeline]
    known = [flag for flag in (dataset.reduce_zero_label, *steps) if flag is not None]
    if not known:
        raise UserError(
            f"{folder / METRICS_FILE}: reduce_zero_label is missing, as in files of version 0.1; "
            "evaluate again"
        )
    return bool(known[0])


def map_source(
    truth: Path, predictions: Path, classes: str, reduce_zero_label: bool = False
) -> MapSource:
    """Maps in two folders.

    Args:
        classes: their number, or a file with one class name per line.
    """
    names = tuple(_class_names(classes))
    return MapSource(str(predictions), truth, predictions, names, reduce_zero_label)


def _class_names(classes: str) -> list[str]:
    if classes.isdecimal() and int(classes):
        return [f"class {i}" for i in range(int(classes))]
    try:
        lines = Path(classes).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--classes {classes}: neither a number of classes nor a readable file of names "
            f"({error})"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"--classes {classes}: the file is empty")
    return names


#: Largest difference from the evaluation's own figure; mmseg counts pixels in single precision.
TOLERANCE = {"bbox": 1e-6, "segm": 1e-6, "maps": 0.01}


def check_reported_metric(source: Source, found: float | None) -> list[str]:
    """A note if AP or mIoU differs from what the evaluation reported.

    Args:
        found: AP as a fraction, or mIoU in percent; None if there is no truth to find.
    """
    kind = source.kind if isinstance(source, CocoSource) else "maps"
    metric = "mIoU" if kind == "maps" else f"{COCO_PREFIX}{kind}_mAP"
    reported = source.reported.get(metric)
    if reported is None or found is None:
        return []
    if math.isclose(reported, found, abs_tol=TOLERANCE[kind]):
        return []
    return [
        f"{metric} is {found:.6g} here and {reported:.6g} in the evaluation: the truth "
        f"({source.truth}) or the predictions are not those that were evaluated"
    ]
