"""Names of backbones: what ``--backbone`` takes, what it puts into a config, what tables show.

Imports without torch, since tables and ``--help`` need it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from casvit_dense.errors import UserError
from casvit_dense.zoo import family_of

#: The spellings, for messages and help.
SPELLINGS: Final = "timm:NAME or package.module:Class"

#: Packages whose classes configs name by a scope that is none of their modules.
SCOPES: Final = ("mmdet", "mmseg", "mmengine", "mmcv", "mmpretrain")

_CLASS: Final = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")


def backbone_config(name: str) -> dict[str, Any]:
    """What a name stands for in a config.

    Raises:
        UserError: it is spelt otherwise than `SPELLINGS` say.
    """
    library, _, rest = name.partition(":")
    if library == "timm" and rest:
        return dict(type="TimmBackbone", name=rest)
    found = _CLASS.fullmatch(name)
    if found is None:
        raise UserError(f"--backbone {name}: give {SPELLINGS}")
    return dict(type=f"{found['module']}.{found['name']}")


def label_of(backbone: Mapping[str, Any]) -> str:
    """The name of a config's backbone for tables: as ``--backbone`` has it where that can make it.

    ``timm:repvit_m1_1``, ``my_package.my_module:Class``, ``CAS-ViT-XS``; of others the class alone.
    """
    kind = str(backbone.get("type", ""))
    if kind == "TimmBackbone":
        return f"timm:{backbone.get('name')}"
    if kind == "CASViT":
        arch = backbone.get("arch")
        return f"CAS-ViT-{arch.upper()}" if isinstance(arch, str) else "CAS-ViT"
    module, _, name = kind.rpartition(".")
    return f"{module}:{name}" if module and module not in SCOPES else name


def file_part(label: str) -> str:
    """A label as a part of file names, where ``_`` stands between parts."""
    return re.sub(r"[^a-zA-Z0-9.]+", "-", label)


def stem_with(stem: str, label: str) -> str:
    """The stem of a config with another backbone: it names work directory, checkpoints and rows."""
    parts, part = stem.split("_"), file_part(label)
    if part not in parts:
        parts[1 : 2 if family_of(stem) else 1] = [part]
    return "_".join(parts)
