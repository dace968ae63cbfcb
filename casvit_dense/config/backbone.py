"""Another backbone in one of our recipes: its place in the config, and the neck behind it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from sysconfig import get_path
from traceback import extract_tb
from typing import Any, Final

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from casvit_dense.backbones.names import backbone_config, label_of, stem_with
from casvit_dense.backbones.timm_backbone import STRIDES, TRIED, timm_maps
from casvit_dense.config.tree import dicts_in, heads_of
from casvit_dense.errors import UserError

#: Keys under which heads say the strides of the levels that they read.
_LEVELS: Final = ("strides", "feature_strides")
#: Folders of code that is not the user's.
LIBRARIES: Final = (get_path("stdlib"), get_path("purelib"))


def with_backbone(cfg: Config, name: str | None) -> Config:
    """The config with the backbone of ``--backbone`` in the place of its own, and a name for both.

    The neck is told what the backbone's maps are, also where a config names one of timm itself.
    Weights are looked for in ``pretrained/``, so that none begins at random unasked.

    Args:
        cfg: as it was read.
        name: see `backbone_config`; None: the config's own.

    Raises:
        UserError: the name is misspelt, there is no such backbone, or its maps are of no use.
    """
    if "model" not in cfg or "backbone" not in cfg.model:
        raise UserError(f"{cfg.filename}: not a config of a model with a backbone")
    if name is None or name == label_of(cfg.model.backbone):
        if cfg.model.backbone.get("type") == "TimmBackbone":
            fit_neck(cfg)
        return cfg
    backbone = ConfigDict(backbone_config(name))
    if backbone.type != "TimmBackbone":
        own_class(backbone.type)
    file = f"{name.removeprefix('timm:').replace(':', '.')}.safetensors"
    backbone.init_cfg = dict(type="Pretrained", checkpoint=f"pretrained/{file}")
    path = Path(cfg.filename)
    renamed = str(path.with_name(f"{stem_with(path.stem, name)}{path.suffix}"))
    cfg = Config(cfg.to_dict(), cfg_text=cfg.text, filename=renamed)
    cfg.model.backbone = backbone
    if not isinstance(cfg.model.get("neck"), dict) or "in_channels" not in cfg.model.neck:
        raise UserError(f"--backbone {name}: {path} has no neck with in_channels")
    fit_neck(cfg)
    return cfg


def fit_neck(cfg: Config) -> None:
    """Tells the neck the channels of the four maps, and at which of them it begins."""
    backbone, neck = cfg.model.backbone, cfg.model.get("neck")
    if not isinstance(neck, dict) or "in_channels" not in neck:
        return  # of a config that wires its parts itself
    if backbone.type == "TimmBackbone":
        size = backbone.get("img_size")
        channels = list(timm_maps(backbone.name, None if size is None else tuple(size)).channels)
    else:
        channels = own_channels(backbone)
    finest = min(_levels(part for _, part in all_heads(cfg)), default=STRIDES[0])
    neck.update(in_channels=channels, start_level=STRIDES.index(finest))


def all_heads(cfg: Config) -> Iterable[tuple[str, ConfigDict]]:
    """Every head of a model, that for proposals included."""
    yield from heads_of(cfg)
    if "rpn_head" in cfg.model:
        yield "model.rpn_head", cfg.model.rpn_head


def _levels(heads: Iterable[ConfigDict]) -> Iterable[int]:
    for part in (part for head in heads for part in dicts_in(head)):
        for key in _LEVELS:
            if isinstance(part.get(key), (list, tuple)):
                yield from (stride for stride in part[key] if stride in STRIDES)


# ---- a class of one's own


def own_class(dotted: str) -> Any:
    """Imports a class from ``PYTHONPATH``, what is installed, or the folder one stands in.

    Raises:
        UserError: there is none.
    """
    module, _, attribute = dotted.rpartition(".")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last: it hides nothing
    label = f"{module}:{attribute}"
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"--backbone {label}: {error}. The module must be installed, or in this folder or one "
            "of PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # importing runs code that may raise anything
        raise UserError(f"--backbone {label}: {_fault(error)}") from error
    if not hasattr(found, attribute):
        place = getattr(found, "__file__", None) or "Python itself"
        raise UserError(f"--backbone {label}: {module} ({place}) has no {attribute!r}")
    return getattr(found, attribute)


def _fault(error: BaseException) -> str:
    """What code that we do not know has raised, in one line, and the last line of it before."""
    frames = extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((*LIBRARIES, __file__, "<"))]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def imported(name: str | None) -> tuple[str, ...]:
    """The type in configs of a class of one's own, imported; none of what is no such class."""
    kind = "TimmBackbone" if name is None else backbone_config(name)["type"]
    if kind == "TimmBackbone":
        return ()
    own_class(kind)
    return (kind,)


def own_network(backbone: Mapping[str, Any]) -> nn.Module:
    """A network of one's own class with random weights.

    Raises:
        UserError: it cannot be built, or is no network.
    """
    label, arguments = label_of(backbone), dict(backbone)
    kind = own_class(arguments.pop("type"))
    try:
        network = kind(**arguments)
        if not isinstance(network, nn.Module):
            raise TypeError(f"gives a {type(network).__name__}, which is no torch.nn.Module")
    except (Exception, SystemExit) as error:  # of code that we do not know
        raise UserError(f"--backbone {label}: {_fault(error)}") from error
    return network


def own_channels(backbone: ConfigDict) -> list[int]:
    """The channels of a class's maps, from runs on small images of two sizes.

    Raises:
        UserError: it cannot be built, does not run, or returns other maps than those of `STRIDES`.
    """
    label = label_of(backbone)
    network = own_network({**backbone, "init_cfg": None})
    network.eval()  # not chained: of some this returns nothing
    for height, width in (TRIED, TRIED[::-1]):
        try:
            with torch.no_grad():
                maps = network(torch.zeros(1, 3, height, width))
        except (Exception, SystemExit) as error:  # of code that we do not know
            raise UserError(
                f"--backbone {label}: an image of {height}x{width}: {_fault(error)}"
            ) from error
        shapes = _shapes(maps)
        expected = [(height // stride, width // stride) for stride in STRIDES]
        if [shape[2:] for shape in shapes] != expected:
            given = " and ".join("x".join(map(str, shape)) for shape in shapes)
            raise UserError(
                f"--backbone {label}: an image of {height}x{width} gives "
                f"{given or f'a {type(maps).__name__}'}; a neck reads four maps (N, C, H, W) of "
                f"{', '.join(f'{h}x{w}' for h, w in expected)}"
            )
        if kinds := {str(m.dtype) for m in maps} - {"torch.float32"}:
            raise UserError(
                f"--backbone {label}: its maps are {' and '.join(sorted(kinds))}; a neck reads "
                "torch.float32"
            )
    return [shape[1] for shape in shapes]


def _shapes(maps: Any) -> list[tuple[int, ...]]:
    """The shapes of a sequence of maps; empty where it is something else."""
    if not isinstance(maps, Sequence) or not all(isinstance(m, Tensor) for m in maps):
        return []
    return [tuple(m.shape) for m in maps]
