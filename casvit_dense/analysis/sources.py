"""Where predictions and their truth lie, found through what an evaluation wrote down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from casvit_dense.analysis.columns import KINDS
from casvit_dense.analysis.evaluation import METRICS, EvaluatedData, read_evaluation
from casvit_dense.errors import UserError

#: Data sets of mmseg whose files number the classes from 1 unless they are told otherwise
#: (mmseg/datasets/{ade,isprs,loveda,pascal_context,potsdam}.py).
COUNT_FROM_ONE = frozenset(
    {"ADE20KDataset", "ISPRSDataset", "LoveDADataset", "PascalContextDataset59", "PotsdamDataset"}
)

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
        classes: those that were evaluated; None for all of the truth.
        indices: images that were evaluated, see `columns.read_truth`.
        images: folder of the images.
        stated: metrics that the evaluation wrote down.
        traits: how it was evaluated, see `evaluation.WrittenDown.traits`.
    """

    name: str
    kind: str
    truth: Path
    predictions: Path
    classes: tuple[str, ...] | None = None
    indices: int | Sequence[int] | None = None
    images: Path | None = None
    stated: Mapping[str, float | None] = field(default_factory=dict)
    traits: tuple[str, ...] = ()


@dataclass(frozen=True)
class MapSource:
    """Index maps.

    Attributes:
        name: of the system.
        truth: folder of maps, searched in depth.
        predictions: folder of ``.png`` maps of the same names and numbering.
        classes: names.
        reduce_zero_label: 0 means unlabelled and classes count from 1; else they count from 0.
            255 is unlabelled in any case.
        truth_suffix: ending of the truth's names.
        image_suffix: ending of image names.
        images: folder of the images.
        count: of images that were evaluated; None: those of the truth.
        hint: what to do when the truth is not there.
        stated: metrics that the evaluation wrote down.
        traits: as those of `CocoSource`.
    """

    name: str
    truth: Path
    predictions: Path
    classes: tuple[str, ...]
    reduce_zero_label: bool
    truth_suffix: str = ".png"
    image_suffix: str = ".png"
    images: Path | None = None
    count: int | None = None
    hint: str = ""
    stated: Mapping[str, float | None] = field(default_factory=dict)
    traits: tuple[str, ...] = ()

    def image_of(self, truth: Path) -> str:
        """The image that belongs to a map of the truth, relative to the images' folder."""
        map_file = str(truth.relative_to(self.truth))
        return map_file.removesuffix(self.truth_suffix) + self.image_suffix


Source = CocoSource | MapSource


def find_sources(
    folder: Path, data_root: str | Path | None = None, moved: str = MOVED
) -> list[Source]:
    """What a ``test`` folder holds: boxes, masks, or maps.

    Args:
        folder: that of ``metrics.json``, or the work directory above it.
        data_root: folder of the data set, if it is not where the evaluation found it.
        moved: ends the message that the truth is not there: what to do.

    Raises:
        UserError: no evaluation or no predictions there, a key of ``metrics.json`` is not as it
            should be, or the truth is not where it was.
    """
    folder = folder if (folder / METRICS).is_file() else folder / "test"
    if not (folder / METRICS).is_file():
        raise UserError(
            f"{folder.parent}: no evaluation; `casvit-dense test` writes test/{METRICS} and the "
            "predictions"
        )
    written = read_evaluation(folder)
    dataset, per_class = written.conditions.dataset, written.per_class
    root = Path(data_root if data_root is not None else dataset.data_root or "")
    # A folder may still hold what an earlier evaluation of another kind left there.
    kinds = [
        kind
        for kind in KINDS
        if written.names(kind, f"coco/{kind}_mAP") and _predictions(folder, kind).is_file()
    ]
    if kinds:
        return [
            CocoSource(
                name=written.config,
                kind=kind,
                truth=_truth_file(root, dataset, folder, moved),
                predictions=_predictions(folder, kind),
                classes=tuple(per_class[kind]) if per_class.get(kind) else None,
                indices=dataset.indices,
                images=root / dataset.prefix("img"),
                stated=written.metrics,
                traits=written.traits(),
            )
            for kind in kinds
        ]
    if not (written.names("IoU", "mIoU") and (folder / "maps").is_dir()):
        raise UserError(
            f"{folder}: holds no predictions.bbox.json, predictions.segm.json or maps of what "
            f"its {METRICS} names"
        )
    if not per_class.get("IoU"):
        raise UserError(f"{folder / METRICS}: names no classes (per_class.IoU); evaluate again")
    return [
        MapSource(
            name=written.config,
            truth=root / dataset.prefix("seg_map_path"),
            predictions=folder / "maps",
            classes=tuple(per_class["IoU"]),
            reduce_zero_label=_reduces_zero_label(dataset),
            truth_suffix=dataset.seg_map_suffix,
            image_suffix=dataset.img_suffix,
            images=root / dataset.prefix("img_path"),
            count=written.conditions.images,
            hint=f" ({folder / METRICS} names it{moved})",
            stated=written.metrics,
            traits=written.traits(),
        )
    ]


def _predictions(folder: Path, kind: str) -> Path:
    return folder / f"predictions.{kind}.json"


def _truth_file(root: Path, dataset: EvaluatedData, folder: Path, moved: str) -> Path:
    if not dataset.ann_file:
        raise UserError(
            f"{folder / METRICS}: names no annotation file of one data set; `casvit-dense analyze` "
            "takes the files themselves (--truth and --predictions)"
        )
    path = root / dataset.ann_file
    if not path.is_file():
        raise UserError(f"{folder / METRICS}: its truth {path} is not there{moved}")
    return path


def _reduces_zero_label(dataset: EvaluatedData) -> bool:
    """Whether label 0 means unlabelled: said by the pipeline, the data set or its type."""
    steps = [step for step in dataset.pipeline if step.get("type") == "LoadAnnotations"]
    said = [step.get("reduce_zero_label") for step in steps] + [dataset.reduce_zero_label]
    known = [flag for flag in said if flag is not None]
    return bool(known[0]) if known else dataset.type in COUNT_FROM_ONE


def map_source(
    truth: Path, predictions: Path, classes: str, reduce_zero_label: bool = False
) -> MapSource:
    """Maps in two folders.

    Args:
        truth, predictions: the folders.
        classes: their number, or a file with one name a line.
        reduce_zero_label: see `MapSource`.

    Raises:
        UserError: the classes cannot be read.
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
        raise UserError(f"--classes {classes}: holds no name")
    return names
