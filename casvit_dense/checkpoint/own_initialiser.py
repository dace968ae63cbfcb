"""Strictness for backbones that load a weight file by code of their own.

The hosts' ways (mmengine's ``Pretrained``, the converters of mmdet's PVT and Swin) translate names
and shapes, take over what fits and log the rest. All of them end in the backbone's own loading of a
table of tensors, and there it is compared, after every translation and before anything is taken.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from casvit_dense.checkpoint.dialects import Weights, read_weights
from casvit_dense.checkpoint.matching import LoadReport, capped, compare
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.errors import UserError

OUTSIDE = "parts the backbone does not have, such as a classifier"
COMPUTED = "tables and counters that follow from the architecture"
#: Buffers that files have or lack at will: constants of window attention, BatchNorm's counter.
COMPUTED_NAMES = re.compile(r"(^|\.)(attn_mask|relative_position_index|num_batches_tracked)$")
#: Norms of the feature maps; an ImageNet classifier need not have them, Swin's has none.
OUTPUT_NORM = re.compile(r"norm\d+\.")
#: What the hosts' converters raise on names or shapes that they do not expect.
UNCONVERTIBLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def init_strictly(backbone: nn.Module, path: str | os.PathLike[str]) -> LoadReport:
    """Runs a backbone's ``init_weights`` and fails unless the file filled it.

    Every tensor must be loaded with its shape. Absent may be ``COMPUTED_NAMES``, and output norms
    where the file has none; left over may be these buffers, and parts of other names than the
    backbone's.

    Args:
        backbone: whose configuration names the file.
        path: the file.

    Returns:
        What was matched and what was left out, by which rule.

    Raises:
        UserError: the file cannot be read safely or does not fit, with counts and first names, or
            ``init_weights`` does not load it into the backbone as a whole.
    """
    file = Path(path).expanduser()
    name = type(backbone).__name__
    reports: list[LoadReport] = []

    def check(module: nn.Module, state: Mapping[str, Any], *_: Any) -> None:
        weights = Weights(
            path=file,
            sha256=file_sha256(file),
            dialect=f"as {name} reads it",
            kind="backbone",
            state=tensors_of(state, file, name),
            meta={},
            extras=(),
        )
        reports.append(compare_converted(module, weights))

    handle = backbone.register_load_state_dict_pre_hook(check)
    try:
        initialise: Callable[[], None] | None = getattr(backbone, "init_weights", None)
        if initialise is not None:
            initialise()
    except UNCONVERTIBLE as error:
        raise unconvertible(backbone, file, error) from error
    finally:
        handle.remove()
    if not reports:
        raise UserError(
            f"weight file {file} is named for {name}, but its init_weights does not load it; "
            "derive the class from mmengine's BaseModule and hand it init_cfg"
        )
    return reports[-1]


def tensors_of(state: Mapping[str, Any], file: Path, reader: str) -> dict[str, Tensor]:
    """The table, found to hold nothing but tensors."""
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise UserError(
            f"weight file {file}: {reader} looks for tensors under `state_dict` or at the top and "
            f"finds {', '.join(map(repr, strange[:4]))}; save the table of tensors alone"
        )
    return dict(state)


def compare_converted(backbone: nn.Module, weights: Weights) -> LoadReport:
    """Holds a backbone against the tensors that its own code made of a file.

    Raises:
        UserError: as `compare`.
    """
    own = backbone.state_dict()
    parts = {name.split(".")[0] for name in own}
    has_norms = any(map(OUTPUT_NORM.match, weights.state))

    def may_be_absent(name: str) -> bool:
        is_norm = OUTPUT_NORM.match(name) is not None
        return COMPUTED_NAMES.search(name) is not None or (is_norm and not has_norms)

    # Where something is missing, all that is left over may show why.
    complete = all(may_be_absent(name) for name in own.keys() - weights.state.keys())

    def leave_out(name: str) -> str | None:
        if COMPUTED_NAMES.search(name):
            return COMPUTED
        return OUTSIDE if complete and name.split(".")[0] not in parts else None

    return compare(own, weights, leave_out, may_be_absent)


def unconvertible(backbone: nn.Module, file: Path, error: Exception) -> UserError:
    """The error for a file on which the backbone's own code breaks off."""
    name = type(backbone).__name__
    return UserError(
        f"weight file {file} does not fit: {name} cannot read it ({type(error).__name__}: {error});"
        " nothing was loaded\n"
        + capped("in the file", list(read_weights(file, casvit=False).state))
        + "\n"
        + capped("in the backbone", list(backbone.state_dict()))
    )
