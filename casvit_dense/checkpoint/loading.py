"""Strict loading: compares a file's tensors with a module's, and loads all of them or none."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint.formats import (
    BACKBONE,
    CLASSIFIER_PARTS,
    NO_STAGES,
    OUTPUT_NORM,
    Kind,
    Weights,
    describe_arch,
    read_weights,
)
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.errors import UserError, shortlist

UNREAD_NORMS = "output norms the backbone does not build"
LATER_STAGES = "stages after the last output"
STAGE = re.compile(r"backbone\.network\.([0-6])\.")

#: Name of a tensor the module lacks -> the rule by which it may be left out, if one allows it.
Rule = Callable[[str], str | None]


@dataclass(frozen=True)
class LoadReport:
    """What a strict load did.

    Attributes:
        path: the weight file.
        sha256: of the file's bytes.
        format: who wrote the file and what it holds, in words.
        variant: ``xs``, ``s``, ``m``, ``t``, or the depths and dims found.
        matched: number of tensors loaded.
        left_out: names of tensors not loaded, under the rule that allows it.
        initialised: names the file lacks, which keep the values they had.
    """

    path: Path
    sha256: str
    format: str
    variant: str
    matched: int
    left_out: dict[str, tuple[str, ...]]
    initialised: tuple[str, ...]

    def __str__(self) -> str:
        variant = f", {self.variant}" if self.variant != NO_STAGES else ""
        lines = [
            f"weights {self.path} (sha256 {self.sha256[:12]}): {self.format}{variant}",
            f"  {self.matched} tensors matched",
        ]
        lines += [f"  {len(names)} left out: {rule}" for rule, names in self.left_out.items()]
        if self.initialised:
            lines.append(f"  {len(self.initialised)} not in the file, kept as initialised")
        return "\n".join(lines)


class MisfitError(UserError):
    """A weight file of another model."""


def load_pretrained(
    backbone: CASViT, path: str | os.PathLike[str], ema: bool = False
) -> LoadReport:
    """Loads a weight file of any known format into a backbone, strictly.

    Every tensor of the backbone must be in the file with its shape; only output norms may be
    absent, all together, and only from a classification file. Left out may be a classifier's
    head, the neck and heads of a dense file, and norms and stages the backbone does not build.

    Args:
        backbone: receives the weights.
        path: the weight file.
        ema: take the averaged weights of an official classification file.

    Returns:
        What was matched and what was left out, by which rule; also logged.

    Raises:
        UserError: the file cannot be read safely, has no known format, or does not fit.
            Nothing is loaded then.
    """
    weights = read_weights(path, ema)
    return load_strictly(
        backbone,
        weights,
        leave_out=lambda name: other_part(weights.kind, name) or unbuilt_part(backbone, name),
        may_be_absent=lambda name: may_lack_norm(weights, name),
        prefix=BACKBONE,
    )


def load_model(model: nn.Module, path: str | os.PathLike[str]) -> LoadReport:
    """Loads an official dense file or one of ours into a whole detector or segmenter, strictly.

    Left out may be only output norms that a CAS-ViT does not build (official RetinaNet files
    hold four, the neck reads three). A model of another backbone takes exactly its own tensors,
    by the names in the file.

    Args:
        model: the model, its backbone under ``backbone``.
        path: the weight file.

    Raises:
        UserError: as ``load_pretrained``, or the file holds no dense model of a CAS-ViT.
    """
    load_file: Callable[[str | os.PathLike[str]], LoadReport] | None
    load_file = getattr(model, "load_file", None)
    if load_file is not None:  # a classifier, whose files have other names
        return load_file(path)
    if not isinstance(getattr(model, "backbone", None), CASViT):
        weights = read_weights(path, casvit=False)
        return load_strictly(model, weights, leave_out=lambda name: None)
    weights = read_weights(path)
    if weights.kind != "dense":
        raise UserError(
            f"weight file {weights.path} holds a {weights.kind} ({weights.format}), not a whole "
            "dense model; use it as pretrained backbone weights"
        )
    return load_strictly(
        model, weights, leave_out=lambda name: UNREAD_NORMS if OUTPUT_NORM.match(name) else None
    )


@WEIGHT_INITIALIZERS.register_module()
class CASViTWeights:
    """Initialiser of a CAS-ViT backbone: ``init_cfg=dict(type='CASViTWeights', checkpoint=path)``.

    Unlike mmengine's ``Pretrained`` it knows every format and raises where a file does not fit.

    Args:
        checkpoint: the weight file.
        ema: take the averaged weights.
    """

    def __init__(self, checkpoint: str, ema: bool = False) -> None:
        self.checkpoint = checkpoint
        self.ema = ema

    def __call__(self, module: CASViT) -> None:
        report = load_pretrained(module, self.checkpoint, self.ema)
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"CASViTWeights: {report.path}")


def other_part(kind: Kind, name: str) -> str | None:
    """The rule for tensors outside the backbone, by the kind of file."""
    part = name.split(".")[0]
    if kind == "classification" and part in CLASSIFIER_PARTS:
        return "classifier norm and heads"
    if kind == "dense" and (part == "neck" or part.endswith("_head")):
        return "neck and heads"
    return None


def unbuilt_part(backbone: CASViT, name: str) -> str | None:
    """The rule for backbone tensors that this backbone does not build."""
    if OUTPUT_NORM.match(name):
        return UNREAD_NORMS
    stage = STAGE.match(name)
    return LATER_STAGES if stage and int(stage[1]) >= len(backbone.network) else None


def may_lack_norm(weights: Weights, name: str) -> bool:
    """Whether a file may lack this tensor: an output norm, where the file never had any."""
    return (
        weights.kind == "classification"
        and OUTPUT_NORM.match(name) is not None
        and not any(map(OUTPUT_NORM.match, weights.state))
    )


def load_strictly(
    module: nn.Module,
    weights: Weights,
    leave_out: Rule,
    may_be_absent: Callable[[str], bool] = lambda name: False,
    prefix: str = "",
) -> LoadReport:
    """Loads a file into a module whose tensors it names with ``prefix``, all or nothing."""
    own = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    report = compare(own, weights, leave_out, may_be_absent)
    loaded = {
        name.removeprefix(prefix): weights.state.get(name, tensor) for name, tensor in own.items()
    }
    module.load_state_dict(loaded)
    print_log(str(report), logger="current")
    return report


def compare(
    own: Mapping[str, Tensor],
    weights: Weights,
    leave_out: Rule,
    may_be_absent: Callable[[str], bool] = lambda name: False,
) -> LoadReport:
    """Compares a module's tensors with a file's.

    Args:
        own: the module's tensors, named as in ``weights.state``.
        may_be_absent: whether the file may lack a tensor of the module.

    Raises:
        UserError: anything missing, unexpected, of another shape or not finite, with lists.
    """
    state = weights.state
    left_out: dict[str, list[str]] = {}
    unexpected = []
    for name in state.keys() - own.keys():
        rule = leave_out(name)
        if rule is None:
            unexpected.append(name)
        else:
            left_out.setdefault(rule, []).append(name)
    absent = own.keys() - state.keys()
    missing = [name for name in absent if not may_be_absent(name)]
    reshaped = [
        f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    check_finite(weights)
    if missing or unexpected or reshaped:
        theirs, ours = describe_arch(state), describe_arch(own)
        variants = f": it seems to hold {theirs}, the model has {ours}" if theirs != ours else ""
        lines = [
            f"weight file {weights.path} ({weights.format}) does not fit{variants}; "
            "nothing was loaded"
        ]
        lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        lines += [first_names(title, sorted(names)) for title, names in lists if names]
        raise MisfitError("\n".join(lines))
    return LoadReport(
        path=weights.path,
        sha256=weights.sha256,
        format=weights.format,
        variant=describe_arch(state),
        matched=len(own) - len(absent),
        left_out={rule: tuple(sorted(left_out[rule])) for rule in sorted(left_out)},
        initialised=tuple(sorted(absent)),
    )


def check_finite(weights: Weights) -> None:
    """Refuses a file that a diverged training left behind."""
    broken = sorted(name for name, t in weights.state.items() if not torch.isfinite(t).all())
    if broken:
        raise UserError(
            f"weight file {weights.path} holds numbers that are not finite, as a diverged "
            "training leaves them; nothing was loaded. Give an earlier checkpoint\n"
            + first_names("not finite", broken)
        )


def first_names(title: str, names: list[str]) -> str:
    """One line with the count and the first names."""
    return f"  {title} ({len(names)}): {shortlist(names, 8)}"


# ---- other backbones
#
# mmengine's ``Pretrained`` and the converters of mmdet's PVT and Swin translate names and shapes,
# load what fits and only log the rest. All of them end in the backbone's ``load_state_dict``; a
# hook compares there, after every translation and before anything is loaded.

OUTSIDE = "parts the backbone does not have, such as a classifier"
COMPUTED = "tables and counters that follow from the architecture"
#: Buffers that files may have or lack: constants of window attention, BatchNorm's counter.
COMPUTED_NAMES = re.compile(r"(^|\.)(attn_mask|relative_position_index|num_batches_tracked)$")
#: Norms of the feature maps; an ImageNet classifier need not have them, Swin's has none.
FEATURE_NORM = re.compile(r"norm\d+\.")
#: What the converters raise on names or shapes that they do not expect.
UNCONVERTIBLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def init_strictly(backbone: nn.Module, path: str | os.PathLike[str]) -> LoadReport:
    """Runs a backbone's ``init_weights`` and fails unless the file filled it.

    Every tensor must be loaded with its shape. Absent may be ``COMPUTED_NAMES``, and output norms
    where the file has none; left out may be these buffers, and parts that the backbone lacks.

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
            format=f"as {name} reads it",
            kind="backbone",
            state=only_tensors(state, file, name),
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
        in_file, in_backbone = read_weights(file, casvit=False).state, backbone.state_dict()
        raise UserError(
            f"weight file {file} does not fit: {name} cannot read it "
            f"({type(error).__name__}: {error}); nothing was loaded\n"
            f"{first_names('in the file', list(in_file))}\n"
            f"{first_names('in the backbone', list(in_backbone))}"
        ) from error
    finally:
        handle.remove()
    if not reports:
        raise UserError(
            f"weight file {file} is named for {name}, but its init_weights does not load it; "
            "derive the class from mmengine's BaseModule and hand it init_cfg"
        )
    return reports[-1]


def only_tensors(state: Mapping[str, Any], file: Path, reader: str) -> dict[str, Tensor]:
    """The table, checked to hold nothing but tensors."""
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise UserError(
            f"weight file {file}: {reader} looks for tensors under `state_dict` or at the top and "
            f"finds {', '.join(map(repr, wrong[:4]))}; save the table of tensors alone"
        )
    return dict(state)


def compare_converted(backbone: nn.Module, weights: Weights) -> LoadReport:
    """Compares a backbone with the tensors that its own code made of a file."""
    own = backbone.state_dict()
    parts = {name.split(".")[0] for name in own}
    has_norms = any(map(FEATURE_NORM.match, weights.state))

    def may_be_absent(name: str) -> bool:
        is_norm = FEATURE_NORM.match(name) is not None
        return COMPUTED_NAMES.search(name) is not None or (is_norm and not has_norms)

    # Where something is missing, everything left over is shown: it may explain why.
    complete = all(may_be_absent(name) for name in own.keys() - weights.state.keys())

    def leave_out(name: str) -> str | None:
        if COMPUTED_NAMES.search(name):
            return COMPUTED
        return OUTSIDE if complete and name.split(".")[0] not in parts else None

    return compare(own, weights, leave_out, may_be_absent)
