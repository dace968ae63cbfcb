"""Weight file formats: recognises who wrote a file and brings its tensors to the official names.

In the result, the backbone's tensors carry the prefix ``backbone.`` and everything else stands
beside them: ``neck.*``, ``bbox_head.*``; a classifier's ``norm.*``, ``head.*``, ``dist_head.*``.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from casvit_dense.casvit import ARCHS, NUM_STAGES
from casvit_dense.checkpoint.reader import file_sha256, is_safetensors, read_checkpoint
from casvit_dense.errors import UserError

Kind = Literal["classification", "dense", "backbone"]

BACKBONE = "backbone."
WRAPPERS = ("model", "state_dict")
EMA_WRAPPER = "model_ema"
#: What data-parallel training, torch.compile and Lightning put before every name.
PREFIXES = ("module.", "_orig_mod.", "model.")
OUTPUT_NORM = re.compile(r"backbone\.norm[0246]\.")
BLOCK_NORM = re.compile(r"backbone\.network\.(\d)\.(\d+)\.norm1\.weight")
CLASSIFIER_PARTS = ("norm", "head", "dist_head")
NO_STAGES = "no CAS-ViT stages"

#: Key of ``meta`` under which a training keeps what its model is.
MODEL_RECORD = "model"
#: Key of ``meta`` under which ``convert`` records where a file came from.
PROVENANCE_KEY = "casvit_dense"
SIZE_KEY = "image_size"


@dataclass(frozen=True)
class Weights:
    """The tensors of a weight file under the official names, and what is known about the file.

    Attributes:
        path: the file.
        sha256: of its bytes.
        format: who wrote it and what it holds, in words.
        kind: what it holds: a classifier, a dense model, or a backbone alone.
        state: tensors by name.
        meta: the file's ``meta``, or empty.
        extras: other top-level keys, such as ``optimizer``.
        image_size: side of the images, in pixels, that an official classifier was trained for;
            None where the file does not say.
    """

    path: Path
    sha256: str
    format: str
    kind: Kind
    state: dict[str, Tensor]
    meta: Mapping[str, Any]
    extras: tuple[str, ...]
    image_size: int | None = None


def read_weights(path: str | os.PathLike[str], ema: bool = False, casvit: bool = True) -> Weights:
    """Reads a file of any known format.

    Args:
        path: the file.
        ema: take the averaged weights (``model_ema``).
        casvit: rename tensors to the official names; otherwise they keep their names, as other
            networks need.

    Raises:
        UserError: unreadable file, no weights in it, or no averaged ones.
    """
    file = Path(path).expanduser()
    content = read_checkpoint(file)
    wrapper = find_wrapper(content, file, ema)
    tensors = checked_tensors(content[wrapper] if wrapper else content, file)
    port = casvit and is_port(tensors)
    state = with_official_names(tensors, file) if casvit else tensors
    kind = kind_of(state, wrapper)
    meta = content.get("meta") if wrapper else None
    meta = meta if isinstance(meta, Mapping) else {}
    origin = [f"{'mmpretrain port' if port else origin_of(content, wrapper, meta)} {kind}"]
    if ema:
        origin.append("EMA")
    if is_safetensors(file):
        origin.append("safetensors")
    return Weights(
        path=file,
        sha256=file_sha256(file),
        format=", ".join(origin),
        kind=kind,
        state=state,
        meta=meta,
        extras=tuple(sorted(set(content) - {wrapper, "meta"})) if wrapper else (),
        image_size=image_size_of(content, meta),
    )


def image_size_of(content: Mapping[str, Any], meta: Mapping[str, Any]) -> int | None:
    """As the official training script's options say, or what `convert` kept of them."""
    provenance = meta.get(PROVENANCE_KEY)
    kept = provenance.get(SIZE_KEY) if isinstance(provenance, Mapping) else None
    size = getattr(content.get("args"), "input_size", kept)
    return size if isinstance(size, int) else None


def find_wrapper(content: Mapping[str, Any], file: Path, ema: bool) -> str:
    """Key of the table of tensors; empty where the file's top level is that table."""
    if ema:
        if not isinstance(content.get(EMA_WRAPPER), Mapping):
            raise UserError(f"weight file {file} has no averaged weights (`{EMA_WRAPPER}`)")
        return EMA_WRAPPER
    found = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), "")
    if not found and isinstance(content.get(EMA_WRAPPER), Mapping):
        raise UserError(
            f"weight file {file} holds averaged weights alone (`{EMA_WRAPPER}`); ask for them by "
            "--ema, or ema=True in configs and Python"
        )
    return found


def checked_tensors(table: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The table, checked to hold tensors only, without `PREFIXES`."""
    wrong = [
        key
        for key, value in table.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if wrong or not table:
        found = f"there is no tensor under {', '.join(map(repr, wrong[:4]))}" if wrong else ""
        raise UserError(
            f"weight file {file} holds no weights: expected a table of tensors under `model` or "
            f"`state_dict`, or at the top; {found or 'the table is empty'}"
        )
    prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in table)), None)
    if prefix is None:
        return dict(table)
    return checked_tensors({name.removeprefix(prefix): t for name, t in table.items()}, file)


def with_official_names(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The tensors under the official names, the backbone's with its prefix."""
    if is_port(tensors):
        tensors = renamed(tensors, {name: official_name(name) for name in tensors}, file)
    elif is_own_classifier(tensors):
        names = {name: re.sub(r"^backbone\.norm6\.", "norm.", name) for name in tensors}
        return renamed(tensors, names, file)
    if not any(name.startswith(BACKBONE) for name in tensors):
        tensors = {with_prefix(name): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def with_prefix(name: str) -> str:
    """The name of an official tensor, with ``backbone.`` if it belongs to the backbone."""
    is_backbone = name.startswith(("patch_embed.", "network.")) or OUTPUT_NORM.match(
        BACKBONE + name
    )
    return BACKBONE + name if is_backbone else name


def renamed(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], file: Path
) -> dict[str, Tensor]:
    """The tensors under new names."""
    if len(set(names.values())) < len(tensors):
        raise UserError(f"weight file {file} mixes two formats: several names mean one tensor")
    return {names[name]: tensor for name, tensor in tensors.items()}


def is_own_classifier(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of ``CASViTClassifier``, whose ``norm6`` is the final norm."""
    rest = {name.split(".")[0] for name in tensors if not name.startswith(BACKBONE)}
    return len(rest) < len(tensors) and rest in ({"head"}, {"head", "dist_head"})


def kind_of(state: Mapping[str, Tensor], wrapper: str) -> Kind:
    """Whether the tensors are of a classifier, a dense model or a backbone."""
    rest = {name.split(".")[0] for name in state if not name.startswith(BACKBONE)}
    if rest & set(CLASSIFIER_PARTS):
        return "classification"
    if rest:
        return "dense"
    # Only official classification files use these keys. Such a file is recognised without its
    # heads too, because it has no output norms.
    headless = wrapper in ("model", EMA_WRAPPER) and not any(map(OUTPUT_NORM.match, state))
    return "classification" if headless else "backbone"


def origin_of(content: Mapping[str, Any], wrapper: str, meta: Mapping[str, Any]) -> str:
    """Who wrote the file, in one word."""
    if PROVENANCE_KEY in meta:
        return "casvit-dense"
    if "message_hub" in content:
        return "mmengine"
    return "official" if wrapper else "plain"


def arch_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Depths and dims of the stages found.

    Args:
        state: tensors by name, the backbone's under ``backbone.``.

    Returns:
        ``dict(depths=..., dims=...)``, shorter than four where stages are absent.
    """
    widths: dict[int, list[int]] = {}
    for name, tensor in state.items():
        found = BLOCK_NORM.fullmatch(name)
        if found and tensor.ndim == 1:
            widths.setdefault(int(found[1]) // 2, []).append(len(tensor))
    stages = [widths[i] for i in range(NUM_STAGES) if i in widths]
    return {"depths": tuple(map(len, stages)), "dims": tuple(blocks[0] for blocks in stages)}


def describe_arch(state: Mapping[str, Tensor]) -> str:
    """``'xs'`` and so on, or the depths and dims of an unnamed variant."""
    arch = arch_of(state)
    for name, published in ARCHS.items():
        if arch == published:
            return name
    if not arch["depths"]:
        return NO_STAGES
    return f"depths={list(arch['depths'])}, dims={list(arch['dims'])}"


# ---- the mmpretrain port
#
# It numbers stages and downsampling layers apart, bundles each convolution with its norm and
# activation (so positions shift), and calls the final norm ``norm3``.

# (start of the port's name, start of the official one).
PARTS = (
    ("backbone.downsample_layers.0.conv1.conv.", "patch_embed.0."),
    ("backbone.downsample_layers.0.conv1.bn.", "patch_embed.1."),
    ("backbone.downsample_layers.0.conv2.conv.", "patch_embed.3."),
    ("backbone.downsample_layers.0.conv2.bn.", "patch_embed.4."),
    ("backbone.downsample_layers.1.", "network.1."),
    ("backbone.downsample_layers.2.", "network.3."),
    ("backbone.downsample_layers.3.", "network.5."),
    ("backbone.stages.0.", "network.0."),
    ("backbone.stages.1.", "network.2."),
    ("backbone.stages.2.", "network.4."),
    ("backbone.stages.3.", "network.6."),
    ("backbone.norm3.", "norm."),
    ("head.fc.", "head."),
    ("dist_head.", "dist_head."),
)

# Within a block: (module, the port's position in it, the official position).
POSITIONS = (
    (r"local_perception\.network", r"0\.conv", "0"),
    (r"local_perception\.network", r"0\.bn", "1"),
    (r"local_perception\.network", r"1\.conv", "2"),
    (r"local_perception\.network", r"2", "4"),
    (r"attn\.oper_[qk]\.0\.block", r"0\.conv", "0"),
    (r"attn\.oper_[qk]\.0\.block", r"0\.bn", "1"),
    (r"attn\.oper_[qk]\.0\.block", r"1\.conv", "3"),
    (r"attn\.oper_[qk]\.1\.block", r"1\.conv", "1"),
)
POSITION_RULES = tuple(
    (re.compile(rf"(\.{module}\.){port}\."), rf"\g<1>{official}.")
    for module, port, official in POSITIONS
)
PORT_ATTENTION = re.compile(r"backbone\.stages\.\d+\.\d+\.attn\.oper_q\.")


def is_port(names: Iterable[str]) -> bool:
    """Whether these are names of the port: both its stem and its attention are among them.

    ConvNeXt, Swin and others have names under ``backbone.downsample_layers.`` and
    ``backbone.stages.`` too.
    """
    names = list(names)
    stem = any(name.startswith("backbone.downsample_layers.0.conv1.conv.") for name in names)
    return stem and any(PORT_ATTENTION.match(name) for name in names)


def official_name(port_name: str) -> str:
    """The official name of a tensor of the port; a name without a rule is returned unchanged."""
    for start, official_start in PARTS:
        if port_name.startswith(start):
            name = official_start + port_name.removeprefix(start)
            for pattern, position in POSITION_RULES:
                name, count = pattern.subn(position, name)
                if count:
                    break
            return name
    return port_name


def known_classes(content: Mapping[str, Any]) -> list[str] | None:
    """The class names that a checkpoint knows, also one from elsewhere; None where it has none.

    Args:
        content: as `read_checkpoint` gives it.
    """
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    for place in (meta.get(MODEL_RECORD), meta.get("dataset_meta"), meta):
        for key in ("classes", "CLASSES"):
            found = place.get(key) if isinstance(place, Mapping) else None
            if not isinstance(found, (list, tuple)) or not found:
                continue
            if all(isinstance(name, str) for name in found):
                return list(found)
    return None
