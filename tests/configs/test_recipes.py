"""The twelve recipes: every value of the official one, and that each config builds."""

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import recipe
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from casvit_dense.config.names import KNOWN_KEYS
from casvit_dense.config.read import register_scope
from casvit_dense.zoo import FAMILIES, casvit_configs

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = [
    pytest.param(CONFIGS / name.format(arch), arch, tables, id=Path(name.format(arch)).stem)
    for name, tables in recipe.FAMILIES.items()
    for arch in recipe.DIMS
]
#: Variables of config files: read while a file is loaded, by nothing afterwards.
VARIABLES = {
    *("dataset_type", "data_root", "backend_args", "vis_backends"),
    *("train_pipeline", "test_pipeline", "metainfo", "norm_cfg", "peer"),
}
#: Parameters in millions by digits as counted on the official code.
PARAMETERS = {
    "retinanet": {"xs": 12.19, "s": 14.8, "m": 21.5, "t": 31.0},
    "mask-rcnn": {"xs": 22.78, "s": 25.3, "m": 31.7, "t": 40.9},
    "fpn": {"xs": 6.88, "s": 9.4, "m": 15.8, "t": 25.0},
}


def test_every_family_of_the_zoo_has_its_official_recipe_here() -> None:
    shipped = {path for family in FAMILIES for path in casvit_configs(family)}
    assert shipped == {parameters.values[0] for parameters in RECIPES}


def value_at(node: Any, dotted: str) -> Any:
    """The value at a dotted key; None where the last part is not set."""
    for part in dotted.split("."):
        if node is None:
            return None
        node = node[int(part)] if isinstance(node, list) else node.get(part)
    return node


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "_scope_"}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def read(path: Path) -> Config:
    """A copy of the config: bases from mmdet take half a second to read."""
    return deepcopy(_read(path))


def strings_in(value: Any) -> Iterator[str]:
    """Every text of a config, keys included."""
    if isinstance(value, dict):
        yield from strings_in([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(("path", "arch", "tables"), RECIPES)
def test_every_value_is_the_official_one(path: Path, arch: str, tables: tuple) -> None:
    cfg = read(path)
    expected = {k: v for table in tables for k, v in table.items()}
    expected["model.backbone.arch"] = arch
    expected["model.backbone.drop_path_rate"] = recipe.DROP_PATH[arch]
    expected["model.backbone.init_cfg.checkpoint"] = f"pretrained/casvit-{arch}_in1k.pth"
    found = {key: plain(value_at(cfg, key)) for key in expected}
    assert found == plain(expected)
    assert len(cfg.param_scheduler) == len({k for k in expected if k.endswith(".by_epoch")})


@pytest.mark.parametrize(("path", "arch", "tables"), RECIPES)
def test_neck_reads_what_the_backbone_returns(path: Path, arch: str, tables: tuple) -> None:
    cfg = read(path)
    register_scope(cfg)
    backbone = MODELS.build({**cfg.model.backbone, "init_cfg": None})
    assert tuple(cfg.model.neck.in_channels) == backbone.out_channels
    assert backbone.out_channels == tuple(recipe.DIMS[arch][i] for i in backbone.out_indices)


@pytest.mark.parametrize(("path", "arch", "tables"), RECIPES)
def test_file_name_agrees_with_batch_and_schedule(path: Path, arch: str, tables: tuple) -> None:
    cfg = read(path)
    gpus, images, schedule = re.search(r"(\d+)xb(\d+)-(1x|40k)", path.stem).groups()
    assert cfg.train_dataloader.batch_size == int(images)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(images)
    length = {"1x": ("max_epochs", 12), "40k": ("max_iters", 40_000)}[schedule]
    assert cfg.train_cfg[length[0]] == length[1]
    assert cfg.param_scheduler[-1].end == length[1]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*_*.py")), ids=lambda p: p.stem)
def test_no_unknown_key_and_no_absolute_path(path: Path) -> None:
    cfg = read(path)
    assert set(cfg) - KNOWN_KEYS - VARIABLES == set()
    strings = list(strings_in(cfg.to_dict()))
    assert len(strings) > 50
    assert [s for s in strings if s.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", s)] == []


@pytest.mark.parametrize(("path", "arch", "tables"), RECIPES)
def test_model_builds(path: Path, arch: str, tables: tuple) -> None:
    model = build_model(read(path))
    family = path.stem.split("_")[0]
    total = sum(p.numel() for p in model.parameters()) / 1e6
    expected = PARAMETERS[family][arch]
    assert round(total, 2 if arch == "xs" else 1) == expected


def build_model(cfg: ConfigDict) -> Any:
    from importlib import import_module

    scope = register_scope(cfg)
    cfg.model.backbone.init_cfg = None
    return import_module(f"{scope}.registry").MODELS.build(cfg.model)
