"""What casvit-dense publishes: its model families, their data sets and their metrics.

The one place for these facts. A new head is a config folder and an entry in `FAMILIES`; tables,
reproduction plan, metafiles, demo and report follow from it (docs/architecture.md has an example).
"""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casvit_dense.errors import UserError
from casvit_dense.files import config_folder

#: The variants of CAS-ViT, the smallest first.
VARIANTS: Final = ("xs", "s", "m", "t")

#: How mmdet's evaluator begins the names of COCO's metrics.
COCO_PREFIX: Final = "coco/"


@dataclass(frozen=True)
class Metric:
    """A figure that an evaluation reports.

    Attributes:
        title: as tables and plots show it.
        task: the task that OpenMMLab's metafiles list it under.
        listed: has a column where models without published figures are listed.
        main: papers compare models by it, and it is known by how much runs of one recipe differ in
            it (AP at one size or one overlap varies more). `verify` compares main metrics, and
            overviews and plots show them.
    """

    title: str
    task: str
    listed: bool = False
    main: bool = False


BOXES, MASKS, PIXELS = "Object Detection", "Instance Segmentation", "Semantic Segmentation"
IMAGES = "Image Classification"

#: By the names of our evaluators, in the order of tables.
METRICS: Final = {
    "bbox_mAP": Metric("box AP", BOXES, listed=True, main=True),
    "bbox_mAP_50": Metric("box AP50", BOXES, listed=True),
    "bbox_mAP_75": Metric("box AP75", BOXES),
    "bbox_mAP_s": Metric("box AP, small", BOXES),
    "bbox_mAP_m": Metric("box AP, medium", BOXES),
    "bbox_mAP_l": Metric("box AP, large", BOXES),
    "segm_mAP": Metric("mask AP", MASKS, listed=True, main=True),
    "segm_mAP_50": Metric("mask AP50", MASKS, listed=True),
    "segm_mAP_75": Metric("mask AP75", MASKS),
    "segm_mAP_s": Metric("mask AP, small", MASKS),
    "segm_mAP_m": Metric("mask AP, medium", MASKS),
    "segm_mAP_l": Metric("mask AP, large", MASKS),
    "mIoU": Metric("mIoU", PIXELS, listed=True, main=True),
    "mAcc": Metric("mAcc", PIXELS, listed=True),
    "aAcc": Metric("aAcc", PIXELS),
    "top1": Metric("top-1", IMAGES, listed=True, main=True),
    "top5": Metric("top-5", IMAGES, listed=True),
}
MAIN_METRICS: Final = tuple(name for name, metric in METRICS.items() if metric.main)
LISTED_METRICS: Final = tuple(name for name, metric in METRICS.items() if metric.listed)


@dataclass(frozen=True)
class DatasetSpec:
    """A public data set, as published figures were measured on it.

    Attributes:
        name: of the data set.
        split: its validation set, as people call it.
        type: class of the data set in configs.
        images: in the validation set.
        classes: that are evaluated.
        objects: annotations of the validation set; None for segmentation maps and for images.
        training_images: least and largest number in the training set: filters may leave out images
            without annotations.
        training_source: where these numbers were published.
        training_path: annotation file or image folder by which configs name the whole training set.
    """

    name: str
    split: str
    type: str
    images: int
    classes: int
    objects: int | None
    training_images: tuple[int, int]
    training_source: str
    training_path: str


#: By the names that `results/targets.json` gives them.
DATASETS: Final = {
    "coco": DatasetSpec(
        name="COCO",
        split="COCO val2017",
        type="CocoDataset",
        images=5_000,
        classes=80,
        objects=36_781,
        training_images=(117_266, 118_287),  # 1,021 images have no annotation
        training_source="https://github.com/cocodataset/cocoapi/issues/76",
        training_path="annotations/instances_train2017.json",
    ),
    "ade20k": DatasetSpec(
        name="ADE20K",
        split="ADE20K val",
        type="ADE20KDataset",
        images=2_000,
        classes=150,
        objects=None,
        training_images=(20_210, 20_210),
        training_source="https://github.com/CSAILVision/sceneparsing",
        training_path="images/training",
    ),
    "imagenet": DatasetSpec(
        name="ImageNet-1K",
        split="ImageNet-1K val",
        type="ImageNetFolder",
        images=50_000,
        classes=1_000,
        objects=None,
        training_images=(1_281_167, 1_281_167),
        training_source="https://arxiv.org/abs/1409.0575",
        training_path="train",
    ),
}


@dataclass(frozen=True)
class DemoModel:
    """The small model of a family that learns the generated shapes.

    Attributes:
        config: stem of its config under ``configs/demo``.
        layout: folder of its data below the data root.
        metric: the figure that counts, by its name in the evaluation's metrics.
        minimum: what it must reach, in the metric's own unit.
    """

    config: str
    layout: str
    metric: str
    minimum: float


@dataclass(frozen=True)
class Family:
    """The models that share a head, a data set and a schedule.

    Attributes:
        head: method and schedule, as `results/targets.json` names them.
        title: as tables show it.
        folder: of its configs.
        prefix: how the names of its configs, and of its peers' configs, begin.
        dataset: key of `DATASETS`.
        metrics: keys of `METRICS` that may be published for it.
        counting_size: height and width in pixels at which papers count its multiply-adds.
        paper: title and address of the head's paper.
        architecture: what follows the backbone, in the words of OpenMMLab's metafiles.
        demo: its model in ``casvit-dense demo``.
    """

    head: str
    title: str
    folder: str
    prefix: str
    dataset: str
    metrics: tuple[str, ...]
    counting_size: tuple[int, int]
    paper: tuple[str, str]
    architecture: tuple[str, ...] = ("FPN",)
    demo: DemoModel | None = None


BOX_METRICS: Final = tuple(name for name, metric in METRICS.items() if metric.task == BOXES)
MASK_METRICS: Final = tuple(name for name, metric in METRICS.items() if metric.task == MASKS)

FAMILIES: Final = (
    Family(
        head="retinanet_1x",
        title="RetinaNet",
        folder="retinanet",
        prefix="retinanet",
        dataset="coco",
        metrics=BOX_METRICS,
        counting_size=(800, 1280),
        paper=("Focal Loss for Dense Object Detection", "https://arxiv.org/abs/1708.02002"),
        demo=DemoModel("retinanet_casvit-mini_fpn_shapes", "coco", "coco/bbox_mAP", 0.55),
    ),
    Family(
        head="mask_rcnn_1x",
        title="Mask R-CNN",
        folder="mask_rcnn",
        prefix="mask-rcnn",
        dataset="coco",
        metrics=(*BOX_METRICS, *MASK_METRICS),
        counting_size=(800, 1280),
        paper=("Mask R-CNN", "https://arxiv.org/abs/1703.06870"),
        demo=DemoModel("mask-rcnn_casvit-mini_fpn_shapes", "coco", "coco/segm_mAP_50", 0.60),
    ),
    Family(
        head="sem_fpn_40k",
        title="Semantic FPN",
        folder="sem_fpn",
        prefix="fpn",
        dataset="ade20k",
        metrics=("mIoU",),
        counting_size=(512, 512),
        paper=("Panoptic Feature Pyramid Networks", "https://arxiv.org/abs/1901.02446"),
        demo=DemoModel("fpn_casvit-mini_shapes", "ade", "mIoU", 80.0),
    ),
)

#: Those of detection and segmentation.
DENSE_DATASETS: Final = {family.dataset: DATASETS[family.dataset] for family in FAMILIES}

#: The classifiers: their own tables, outside of those of heads.
CLASSIFIERS: Final = Family(
    head="classifier",
    title="Classifier",
    folder="imagenet",
    prefix="casvit",
    dataset="imagenet",
    metrics=("top1", "top5"),
    counting_size=(224, 224),
    paper=(
        "CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile "
        "Applications",
        "https://arxiv.org/abs/2408.03703",
    ),
    architecture=(),
)

#: The models of ``casvit-dense demo`` by the names that ``--only`` takes.
DEMO_MODELS: Final = {family.prefix: family.demo for family in FAMILIES if family.demo}

#: Folder of the configs that put other backbones under the same heads.
PEERS_FOLDER: Final = "peers"


def family_of(name: str) -> Family | None:
    """The family of a `Family.head` or of a config's stem; None if it is of none."""
    for family in FAMILIES:
        if name == family.head or name.startswith(f"{family.prefix}_"):
            return family
    return None


def backbone_of(stem: str) -> str:
    """The backbone in a config's stem, between method and neck or schedule; else the whole name."""
    return stem.split("_")[1] if "_" in stem and ":" not in stem else stem


def is_casvit(backbone: str) -> bool:
    """Whether a backbone is CAS-ViT, by its name in papers or in stems of configs."""
    return backbone.lower().replace("-", "").startswith("casvit")


def match_stems(stems: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The stems that one of some names or patterns matches; all of them without a pattern.

    Raises:
        UserError: a pattern matches none of them.
    """
    stems = list(dict.fromkeys(stems))
    for pattern in patterns:
        if not fnmatch.filter(stems, pattern):
            near = [stem for stem in stems if pattern.strip("*") in stem]
            near = near or difflib.get_close_matches(pattern, stems, n=3, cutoff=0.4)
            title = "did you mean" if near else "there are"
            names = "".join(f"\n  {stem}" for stem in near or stems)
            raise UserError(f"--only {pattern} matches no config; {title}{names}")
    return [s for s in stems if not patterns or any(fnmatch.fnmatchcase(s, p) for p in patterns)]


def tasks_of(family: Family) -> dict[str, list[str]]:
    """The metrics of a family by the task that they belong to."""
    tasks: dict[str, list[str]] = {}
    for name in family.metrics:
        tasks.setdefault(METRICS[name].task, []).append(name)
    return tasks


def config_file(stem: str) -> Path | None:
    """The config of that name, in the repository or where a wheel puts it; None if none is."""
    return next((path for path in config_folder().glob("*/*.py") if path.stem == stem), None)


def casvit_configs(family: Family) -> list[Path]:
    """A family's configs of CAS-ViT, the smallest variant first."""
    folder = config_folder() / family.folder
    return [path for arch in VARIANTS for path in sorted(folder.glob(f"*_casvit-{arch}_*.py"))]


def peer_configs(family: Family) -> list[Path]:
    """A family's configs of other backbones, by name."""
    return sorted((config_folder() / PEERS_FOLDER).glob(f"{family.prefix}_*.py"))
