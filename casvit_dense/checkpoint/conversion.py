"""Converts any known format to ours: official names, no training state, provenance in ``meta``."""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from casvit_dense.casvit import NUM_STAGES, CASViT
from casvit_dense.checkpoint.formats import (
    BACKBONE,
    CLASSIFIER_PARTS,
    MODEL_RECORD,
    PROVENANCE_KEY,
    SIZE_KEY,
    Weights,
    arch_of,
    describe_arch,
    read_weights,
)
from casvit_dense.checkpoint.loading import (
    LATER_STAGES,
    STAGE,
    UNREAD_NORMS,
    LoadReport,
    compare,
    may_lack_norm,
    other_part,
    unbuilt_part,
)
from casvit_dense.checkpoint.reader import META_KEY, file_sha256
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole

SUFFIXES = (".pth", ".safetensors")
#: Kept of a training run's ``meta``: class names and colours, recipe, iteration and model.
KEPT_META = ("dataset_meta", "CLASSES", "PALETTE", "training", "iter", MODEL_RECORD)


@dataclass(frozen=True)
class ConversionReport:
    """What ``convert`` read and wrote.

    Attributes:
        source: the report on the file read; ``left_out`` is what the new file lacks.
        path: the file written.
        sha256: of its bytes.
        tensors: number of tensors in it.
    """

    source: LoadReport
    path: Path
    sha256: str
    tensors: int

    def __str__(self) -> str:
        written = f"wrote {self.path} (sha256 {self.sha256[:12]}): {self.tensors} tensors"
        return f"{self.source}\n{written}"


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    ema: bool = False,
    force: bool = False,
) -> ConversionReport:
    """Writes a weight file of any known format in ours.

    A dense file becomes the ``state_dict`` of the model our config builds, without output norms
    that the neck does not read. A classification file keeps its final norm and heads under
    the official names. The optimizer and other training state are dropped.

    Args:
        src: file to read.
        dst: file to write, ``.pth`` or ``.safetensors``; it appears whole or not at all.
        ema: take the averaged weights.
        force: replace ``dst`` if it exists.

    Raises:
        UserError: ``src`` cannot be read safely or is not a complete CAS-ViT; ``dst`` exists, has
            another suffix, or cannot be written.
    """
    target = checked_target(Path(dst).expanduser(), Path(src).expanduser(), force)
    weights = read_weights(src, ema)
    check_heads(weights)
    backbone = backbone_for(weights)
    own = {BACKBONE + name: tensor for name, tensor in backbone.state_dict().items()}
    report = compare(
        own,
        weights,
        leave_out=lambda name: other_part(weights.kind, name) or unbuilt_part(backbone, name),
        may_be_absent=lambda name: may_lack_norm(weights, name),
    )
    unbuilt = (UNREAD_NORMS, LATER_STAGES)
    dropped = {rule: report.left_out[rule] for rule in unbuilt if rule in report.left_out}
    state = clean_state(weights, {name for names in dropped.values() for name in names})
    if weights.extras:
        dropped["training state"] = weights.extras
    write_whole(target, serialized(target.suffix, state, clean_meta(weights)))
    return ConversionReport(
        source=replace(report, left_out=dropped, initialised=()),
        path=target,
        sha256=file_sha256(target),
        tensors=len(state),
    )


def checked_target(target: Path, source: Path, force: bool) -> Path:
    """The path to write to, checked before the work begins."""
    if target.suffix not in SUFFIXES:
        raise UserError(f"{target}: unknown suffix; write to {' or '.join(SUFFIXES)}")
    if target.exists() and not force:
        raise UserError(f"{target} exists already; remove it, or replace it with --force")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target} is the source itself; write to another file")
    return target


def check_heads(weights: Weights) -> None:
    """Refuses a classifier without its heads: it would be written as a backbone without norms."""
    needed = [f"{part}.weight" for part in CLASSIFIER_PARTS]
    missing = [name for name in needed if name not in weights.state]
    if weights.kind == "classification" and missing:
        raise UserError(
            f"weight file {weights.path} ({weights.format}) is not a whole classifier: "
            f"it lacks {', '.join(missing)}"
        )


def backbone_for(weights: Weights) -> CASViT:
    """A backbone of the file's variant and outputs on the meta device; the file must fill it."""
    arch = arch_of(weights.state)
    found = len(arch["depths"])
    stages = {int(match[1]) // 2 for match in map(STAGE.match, weights.state) if match}
    if not found or found <= max(stages):
        raise UserError(
            f"weight file {weights.path} ({weights.format}) holds no complete CAS-ViT stages: "
            f"found {describe_arch(weights.state)}"
        )
    # Stages a file lacks are never built; the repeated numbers are placeholders.
    padded = {key: (*v, *[v[-1]] * (NUM_STAGES - found)) for key, v in arch.items()}
    with torch.device("meta"):
        return CASViT(padded, out_indices=outputs_read(weights, arch["dims"]))


def outputs_read(weights: Weights, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Stages whose maps are used: those the neck reads, else those that have an output norm."""
    if weights.kind == "classification":
        return tuple(range(NUM_STAGES))
    widths = lateral_widths(weights.state)
    if not widths:
        stages = range(len(dims))
        with_norm = [i for i in stages if f"{BACKBONE}norm{2 * i}.weight" in weights.state]
        return tuple(with_norm or stages)
    # From the last stage backwards, as a neck reads the deepest ones.
    stages_read: list[int] = []
    last = len(dims)
    for width in reversed(widths):
        last = max((i for i in range(last) if dims[i] == width), default=-1)
        stages_read.insert(0, last)
    if -1 in stages_read:
        raise UserError(
            f"weight file {weights.path}: the neck reads maps of {widths} channels, the backbone "
            f"({describe_arch(weights.state)}) has {list(dims)}"
        )
    return tuple(stages_read)


def lateral_widths(state: Mapping[str, Tensor]) -> list[int]:
    """Input channels of the FPN's lateral convolutions, shallowest first."""
    widths: list[int] = []
    while (weight := state.get(f"neck.lateral_convs.{len(widths)}.conv.weight")) is not None:
        widths.append(weight.shape[1])
    return widths


def clean_state(weights: Weights, dropped: set[str]) -> dict[str, Tensor]:
    """The tensors to write, in their own storage; only a dense model keeps the prefix."""
    prefix = "" if weights.kind == "dense" else BACKBONE
    return {
        name.removeprefix(prefix): tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.state.items()
        if name not in dropped
    }


def clean_meta(weights: Weights) -> dict[str, Any]:
    """Where the tensors come from, and the class names if the file holds them."""
    provenance = {
        "source": weights.path.name,
        "source_sha256": weights.sha256,
        "format": weights.format,
        "variant": describe_arch(weights.state),
        SIZE_KEY: weights.image_size,
    }
    kept = {key: weights.meta[key] for key in KEPT_META if key in weights.meta}
    return {PROVENANCE_KEY: provenance, **kept}


def serialized(suffix: str, state: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """The file's bytes, in the format of its suffix."""
    if suffix == ".safetensors":
        # Not at the top: the backbone must import where there is only torch and mmengine.
        from safetensors.torch import save

        return save(state, {META_KEY: json.dumps(meta, default=lambda array: array.tolist())})
    buffer = io.BytesIO()
    torch.save({"state_dict": state, "meta": meta}, buffer)
    return buffer.getvalue()
