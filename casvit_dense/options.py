"""Options of a training or an evaluation, for the command line and for Python alike.

Nothing here imports torch, so that ``--help`` stays fast.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: Packages that evaluate boxes and masks, by their distributions' names; the first is the default.
COCO_BACKENDS: Final = ("faster-coco-eval", "pycocotools")

#: Libraries that decode images, by mmcv's names; the first is the default.
IMAGE_DECODERS: Final = ("cv2", "turbojpeg")

#: Values of ``--amp`` -> torch's names; the first is the default.
AMP_DTYPES: Final = {"fp16": "float16", "bf16": "bfloat16"}


@dataclass
class RunOptions:
    """Options shared by training and evaluation.

    Attributes:
        work_dir: where logs, checkpoints and results go; default ``work_dirs/<config stem>``.
        data_root: folder of the data set, in place of the config's.
        pretrained: weight file of the backbone, in place of the config's.
        from_scratch: no weights; BatchNorm is then trained, for frozen random statistics
            cannot learn.
        resume: ``'auto'`` for the newest readable checkpoint of ``work_dir``, or a path.
        amp: mixed precision (GPU only), a key of `AMP_DTYPES`. The published recipes do not use it.
        auto_scale_lr: scale the learning rate to the real global batch.
        fold: train the backbone's folded form: ``'time'`` for speed, ``'memory'`` to keep less for
            the backward pass; the same gradients.
        seed: seed of every random generator.
        deterministic: ask torch for deterministic algorithms.
        cfg_options: overrides by dotted key, e.g. ``{'train_cfg.max_epochs': 1}``.
        launcher: ``'none' | 'pytorch' | 'slurm' | 'mpi'``.
        classwise: print the result of every class.
        fuse: evaluate the fused form of the model.
        coco_backend: one of `COCO_BACKENDS`, in place of the config's.
        image_decoder: one of `IMAGE_DECODERS`, in place of the config's.
        ledger: file that gets the row of an evaluation; default ``results.jsonl`` beside the work
            directory.
        command: what a user types to repeat the run, for the row.
    """

    work_dir: Path | None = None
    data_root: str | None = None
    pretrained: str | None = None
    from_scratch: bool = False
    resume: str | None = None
    amp: str | None = None
    auto_scale_lr: bool = False
    fold: str | None = None
    seed: int | None = None
    deterministic: bool = False
    cfg_options: dict[str, Any] = field(default_factory=dict)
    launcher: str = "none"
    classwise: bool = False
    fuse: bool = False
    coco_backend: str | None = None
    image_decoder: str | None = None
    ledger: Path | None = None
    command: str | None = None
