"""Flags of a run that mean nothing, or contradict an override or each other."""

import math
import re
from typing import Final

from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

_POSITIVE: Final = (lambda value: value > 0, "more")

#: Flag -> which values it has, in code and in words.
RANGES: Final = {
    **dict.fromkeys(("epochs", "iters", "batch_size", "lr"), _POSITIVE),
    "workers": (lambda value: value >= 0, "0 or more"),
    "seed": (lambda value: 0 <= value < 2**32, "a number from 0 to 2**32 - 1"),
    "hang_timeout": (lambda value: 0 <= value < math.inf, "seconds, or 0 to wait forever"),
    "max_bad_images": (lambda value: 0 <= value <= 1, "a share from 0 to 1"),
    # As of a shell's variable that is not set.
    **dict.fromkeys(("resume", "init", "pretrained", "data_root"), (bool, "a name, or no value")),
}

_LENGTH: Final = r"(train_cfg|param_scheduler)(\..+)?"
_OF_DATA: Final = (
    "dataset|data_root|ann_file|data_prefix|metainfo|classes|num_classes|img|img_path|seg_map_path"
    "|img_suffix|seg_map_suffix|reduce_zero_label"
)
#: Flag -> the overrides that it would undo.
UNDONE: Final = {
    "data": rf"\w*(_dataloader|_evaluator|model)(\.(.+\.)?({_OF_DATA}))?",
    "data_root": r"(.+\.)?data_root",
    "work_dir": r"(.+\.)?work_dir",
    "epochs": _LENGTH,
    "iters": _LENGTH,
    "batch_size": r"train_dataloader(\.batch_size)?",
    "lr": r"optim_wrapper(\.optimizer(\.lr)?)?",
    "workers": r"\w+_dataloader(\.num_workers)?",
    "image_size": r"model(\.data_preprocessor(\.size)?)?"
    r"|.+\.pipeline\.(.+\.)?(scale|scales|crop_size|img_scale|size)",
}

#: Flags of which a run has one, and why.
EXCLUSIVE: Final = {
    ("epochs", "iters"): "are two lengths of one training",
    ("lr", "auto_scale_lr"): "both set the learning rate",
    ("data", "data_root"): "both say where the data are",
    **{
        ("init", other): "are two beginnings of one training"
        for other in ("pretrained", "from_scratch", "resume")
    },
}


def check_flags(options: RunOptions) -> None:
    """Checks the flags of a run by themselves.

    Raises:
        UserError: a value means nothing, or a flag contradicts another one or an override.
    """
    for name, (fits, words) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not fits(value):
            raise UserError(f"{flag_of(name)} {value!r}: give {words}")
    for name, places in UNDONE.items():
        for dotted in options.cfg_options if getattr(options, name) is not None else ():
            if re.fullmatch(places, dotted):
                raise UserError(
                    f"--cfg-options {dotted} and {flag_of(name)} contradict each other; give one "
                    "of them"
                )
    for (one, other), reason in EXCLUSIVE.items():
        if getattr(options, one) and getattr(options, other):
            raise UserError(f"{flag_of(one)} and {flag_of(other)} {reason}; give one of them")


def flag_of(name: str) -> str:
    """The flag of an option."""
    return f"--{name.replace('_', '-')}"
