"""Options of a training or an evaluation, for the command line and for Python alike.

Nothing here imports torch, so that ``--help`` stays fast.
"""

import argparse
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from casvit_dense.data.description import Task

#: Packages that evaluate boxes and masks, by their distributions' names; the first is the default.
COCO_BACKENDS: Final = ("faster-coco-eval", "pycocotools")

#: Libraries that decode images, by mmcv's names; the first is the default.
IMAGE_DECODERS: Final = ("cv2", "turbojpeg")

#: Values of ``--amp`` -> torch's names; the first is the default.
AMP_DTYPES: Final = {"fp16": "float16", "bf16": "bfloat16"}
#: The value that takes it out of a config.
NO_AMP: Final = "off"


def flag(default: Any = None, *, commands: str, exported: str = "", **arguments: Any) -> Any:
    """A field of `LayoutOptions` or `RunOptions` and the flag of the command line that sets it.

    Args:
        default: value without the flag.
        commands: names of the commands that have the flag.
        exported: why an exported file cannot be evaluated with it: what such a file is or has.
        **arguments: of argparse.
    """
    about = {"commands": commands.split(), "exported": exported, "arguments": arguments}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def allowed_skips(text: str) -> int:
    """How many steps ``--on-nan`` lets a training leave out."""
    found = re.fullmatch(r"stop|skip:(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: give stop, or skip:N with N steps at most")
    return int(found[1] or 0)


@dataclass
class LayoutOptions:
    """What a person may say about a data set that cannot be found in it."""

    classes: str | None = flag(
        commands="train test check describe show subset",
        metavar="NAMES",
        help="class names, a,b,c or a file with one a line; of a COCO file: those to be used",
    )
    ignore_label: int | None = flag(
        commands="train test check describe show subset",
        type=int,
        metavar="N",
        help="label of pixels that do not count (default 255); 0: classes count from 1",
    )
    split: float | None = flag(
        commands="train test describe subset",
        type=float,
        metavar="SHARE",
        help="share of the images for training, where the data are not divided, e.g. 0.8",
    )
    group_by: str | None = flag(
        commands="train test describe subset",
        metavar="TEXT",
        help="with --split: images with equal names before TEXT stay together",
    )
    images: Path | None = flag(
        commands="train test check describe show",
        type=Path,
        metavar="DIR",
        help="images of an annotation file",
    )
    task: "Task | None" = flag(
        commands="check describe show subset",
        choices=("detection", "segmentation"),
        help="where a folder holds both",
    )
    seed: int | None = flag(
        commands="train test describe subset", type=int, help="seed of every random choice"
    )


#: Fields that speak of the data alone.
ABOUT_DATA: Final = tuple(about.name for about in fields(LayoutOptions) if about.name != "seed")


@dataclass
class RunOptions(LayoutOptions):
    """Options of training and evaluation. Spelling is mmdetection's; the help of each flag says
    what it does.
    """

    work_dir: Path | None = flag(
        commands="train test", type=Path, metavar="DIR", help="default: work_dirs/<config stem>"
    )
    data: Path | None = flag(
        commands="train test show",
        type=Path,
        metavar="PATH",
        help="your own data: folder, COCO file, data.yaml or description; classes, heads, loaders "
        "and evaluators follow",
    )
    data_root: str | None = flag(
        commands="train test replay doctor check show",
        metavar="DIR",
        help="folder of the data set, in place of the config's",
    )
    epochs: int | None = flag(
        commands="train",
        type=int,
        metavar="N",
        help="length of the training; warm-up, decay, validations and checkpoints follow",
    )
    iters: int | None = flag(
        commands="train", type=int, metavar="N", help="the same, counted in steps"
    )
    batch_size: int | None = flag(
        commands="train", type=int, metavar="N", help="images a process and step"
    )
    lr: float | None = flag(commands="train", type=float, metavar="RATE", help="learning rate")
    image_size: int | None = flag(
        commands="train",
        type=int,
        metavar="SIDE",
        help="side of the square that images are fitted into, or of a segmenter's crops",
    )
    workers: int | None = flag(
        commands="train", type=int, metavar="N", help="processes that load images"
    )
    backbone: str | None = flag(
        commands="train test predict export doctor",
        exported="has the backbone that it was exported with",
        metavar="NAME",
        help="another backbone in the config's place: timm:NAME, or package.module:Class of yours",
    )
    pretrained: str | None = flag(
        commands="train doctor",
        metavar="FILE",
        help="weights of the backbone, in place of the config's",
    )
    # BatchNorm then trains, since frozen random statistics cannot learn.
    from_scratch: bool = flag(
        False,
        commands="train doctor",
        action="store_true",
        help="no weights; BatchNorm of the backbone trains",
    )
    init: str | None = flag(
        commands="train",
        metavar="FILE",
        help="weights of a whole model of other classes: all but its class layers",
    )
    resume: str | None = flag(
        commands="train",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from the newest readable checkpoint of the work directory (auto), or from the "
        "one named",
    )
    allow_changed_resume: bool = flag(
        False,
        commands="train",
        action="store_true",
        help="with --resume: go on though recipe, data, batch or processes have changed; the row "
        "of the result says so",
    )
    max_bad_images: float = flag(
        0.001,
        commands="train",
        type=float,
        metavar="SHARE",
        help="share of the training images that others may stand in for where their files break "
        "while it runs (%(default)s); above it the run stops",
    )
    on_nan: int = flag(
        0,
        commands="train",
        type=allowed_skips,
        metavar="stop|skip:N",
        help="a step whose loss or gradients are not finite ends the run (stop, the default), or "
        "up to N such steps are left out",
    )
    amp: str | None = flag(
        commands="train",
        nargs="?",
        const="fp16",
        choices=(*AMP_DTYPES, NO_AMP),
        help="mixed precision (GPU), fp16 without a value; off: fp32. Of the published recipes, "
        "ImageNet's alone use it",
    )
    auto_scale_lr: bool = flag(
        False,
        commands="train",
        action="store_true",
        help="scale the learning rate to the real global batch",
    )
    fold: str | None = flag(
        commands="train",
        choices=("time", "memory"),
        help="fold the backbone's fixed BatchNorm at each step: same gradients, for less time, or "
        "for less memory",
    )
    deterministic: bool = flag(
        False, commands="train test", action="store_true", help="deterministic algorithms"
    )
    # By dotted key, e.g. ``{'train_cfg.max_epochs': 1}``.
    cfg_options: dict[str, Any] = flag(
        {},
        commands="train test predict export replay",
        nargs="+",
        metavar="KEY=VALUE",
        help="override config values, e.g. train_cfg.max_epochs=1",
    )
    trusted_configs_only: bool = flag(
        False,
        commands="train test predict export",
        action="store_true",
        help="refuse a config from outside the project: reading it runs its code",
    )
    launcher: str = flag(
        "none",
        commands="train test",
        exported="is evaluated by one process",
        choices=("none", "pytorch", "slurm", "mpi"),
        help="what started the processes (%(default)s)",
    )
    hang_timeout: float | None = flag(
        commands="train test",
        exported="is evaluated by one process",
        type=float,
        metavar="SECONDS",
        help="end a run of several processes when it makes no step for so long (600; 0: never); an "
        "evaluation's last part, computing the figures, must fit in",
    )
    format_only: bool = flag(
        False,
        commands="test",
        action="store_true",
        help="write predictions in COCO's results format, for images without annotations; no "
        "metrics, no row",
    )
    classwise: bool = flag(False, commands="test", action="store_true", help="print every class")
    fuse: bool = flag(
        False,
        commands="test predict",
        exported="has the form that it was exported in",
        action="store_true",
        help="run the fused form: same results, faster",
    )
    coco_backend: str | None = flag(
        commands="train test",
        choices=COCO_BACKENDS,
        help=f"package that evaluates boxes and masks, same numbers (default {COCO_BACKENDS[0]})",
    )
    image_decoder: str | None = flag(
        commands="train test",
        choices=IMAGE_DECODERS,
        help=f"library that decodes images (default {IMAGE_DECODERS[0]})",
    )
    ledger: Path | None = flag(
        commands="test",
        type=Path,
        metavar="FILE",
        help="file of result rows (default: results.jsonl beside the work directory)",
    )
    command: str | None = None  #: what a user types to repeat the run, for the row
