"""Recognises how a weight file names its tensors and brings them into one form.

The one form: the official names, the backbone's under ``backbone.``, everything else beside it
(``neck.*``, ``bbox_head.*``; a classifier's ``norm.*``, ``head.*``, ``dist_head.*``).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from casvit_dense.checkpoint.port_names import is_port, official_name
from casvit_dense.checkpoint.reader import file_sha256, is_safetensors, read_checkpoint
from casvit_dense.errors import UserError

Kind = Literal["classification", "dense", "backbone"]

BACKBONE = "backbone."
WRAPPERS = ("model", "state_dict")
EMA_WRAPPER = "model_ema"
OUTPUT_NORM = re.compile(r"backbone\.norm[0246]\.")
CLASSIFIER_PARTS = ("norm", "head", "dist_head")

#: Key of ``meta`` under which ``convert`` leaves where a file came from.
PROVENANCE_KEY = "casvit_dense"


@dataclass(frozen=True)
class Weights:
    """The tensors of a weight file in the one form, and what is known about the file.

    Attributes:
        path: the file.
        sha256: of its bytes.
        dialect: how it was written, in words.
        kind: what it holds: a classifier, a dense model, or a backbone alone.
        state: tensors by name.
        meta: the file's ``meta``, or empty.
        extras: other top-level keys, such as ``optimizer``.
    """

    path: Path
    sha256: str
    dialect: str
    kind: Kind
    state: dict[str, Tensor]
    meta: Mapping[str, Any]
    extras: tuple[str, ...]


def read_weights(path: str | os.PathLike[str], ema: bool = False, casvit: bool = True) -> Weights:
    """Reads a file of any known dialect.

    Args:
        path: the file.
        ema: take the averaged weights (``model_ema``).
        casvit: bring the names into the one form; else they stay, as other networks need.

    Raises:
        UserError: unreadable file, no weights in it, or no averaged ones.
    """
    file = Path(path).expanduser()
    content = read_checkpoint(file)
    wrapper = find_wrapper(content, file, ema)
    tensors = checked_tensors(content[wrapper] if wrapper else content, file)
    state, port = to_one_form(tensors, file) if casvit else (tensors, False)
    kind = kind_of(state, wrapper)
    meta = content.get("meta") if wrapper else None
    meta = meta if isinstance(meta, Mapping) else {}
    origin = "mmpretrain port" if port else origin_of(content, wrapper, meta)
    notes = ["EMA"] * ema + ["safetensors"] * is_safetensors(file)
    return Weights(
        path=file,
        sha256=file_sha256(file),
        dialect=", ".join([f"{origin} {kind}", *notes]),
        kind=kind,
        state=state,
        meta=meta,
        extras=tuple(sorted(set(content) - {wrapper, "meta"})) if wrapper else (),
    )


def find_wrapper(content: Mapping[str, Any], file: Path, ema: bool) -> str:
    """Key under which the tensors stand; empty where they stand at the top."""
    if ema:
        if not isinstance(content.get(EMA_WRAPPER), Mapping):
            raise UserError(f"weight file {file} has no averaged weights (`{EMA_WRAPPER}`)")
        return EMA_WRAPPER
    return next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), "")


def checked_tensors(table: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The table with every value a tensor, DataParallel's ``module.`` prefix taken off."""
    strange = [
        key
        for key, value in table.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if strange or not table:
        found = f"there is no tensor under {', '.join(map(repr, strange[:4]))}" if strange else ""
        raise UserError(
            f"weight file {file} holds no weights: expected a table of tensors under `model` or "
            f"`state_dict`, or at the top; {found or 'the table is empty'}"
        )
    wrapped = all(name.startswith("module.") for name in table)
    return {name.removeprefix("module.") if wrapped else name: t for name, t in table.items()}


def to_one_form(tensors: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], bool]:
    """Tensors under the names of the one form, and whether they came from the port."""
    port = is_port(tensors)
    if port:
        tensors = renamed(tensors, {name: official_name(name) for name in tensors}, file)
    elif is_own_classifier(tensors):
        names = {name: re.sub(r"^backbone\.norm6\.", "norm.", name) for name in tensors}
        return renamed(tensors, names, file), False
    if not any(name.startswith(BACKBONE) for name in tensors):
        tensors = {with_prefix(name): tensor for name, tensor in tensors.items()}
    return dict(tensors), port


def with_prefix(name: str) -> str:
    """The name of a bare official tensor in the one form."""
    is_backbone = name.startswith(("patch_embed.", "network.")) or OUTPUT_NORM.match(
        BACKBONE + name
    )
    return BACKBONE + name if is_backbone else name


def renamed(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], file: Path
) -> dict[str, Tensor]:
    """The tensors under new names, none lost."""
    if len(set(names.values())) < len(tensors):
        raise UserError(f"weight file {file} mixes two dialects: several names mean one tensor")
    return {names[name]: tensor for name, tensor in tensors.items()}


def is_own_classifier(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of ``CASViTClassifier``, whose ``norm6`` is the final norm."""
    rest = {name.split(".")[0] for name in tensors if not name.startswith(BACKBONE)}
    return len(rest) < len(tensors) and rest == {"head", "dist_head"}


def kind_of(state: Mapping[str, Tensor], wrapper: str) -> Kind:
    """What the tensors make up."""
    rest = {name.split(".")[0] for name in state if not name.startswith(BACKBONE)}
    if rest & set(CLASSIFIER_PARTS):
        return "classification"
    if rest:
        return "dense"
    # Only official classification files use these keys; with its heads cut off, one still
    # has no output norms.
    headless = wrapper in ("model", EMA_WRAPPER) and not any(map(OUTPUT_NORM.match, state))
    return "classification" if headless else "backbone"


def origin_of(content: Mapping[str, Any], wrapper: str, meta: Mapping[str, Any]) -> str:
    """Who wrote the file, in one word."""
    if PROVENANCE_KEY in meta:
        return "casvit-dense"
    if "message_hub" in content:
        return "mmengine"
    return "official" if wrapper else "plain"
