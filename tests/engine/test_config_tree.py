"""Misspelt config keys are refused with the key that is meant."""

import pytest
from mmengine.config import Config

from casvit_dense.engine.config_tree import check_override, check_top_level_keys
from casvit_dense.errors import UserError


def config(**more: object) -> Config:
    loader = dict(batch_size=4, dataset=dict(pipeline=[dict(type="A"), dict(type="B", scale=1)]))
    cfg = dict(model=dict(backbone=dict(arch="xs")), train_dataloader=loader, train_pipeline=[1])
    return Config({**cfg, **more})


@pytest.mark.parametrize(
    "dotted",
    [
        "train_dataloader.batch_size",
        "train_dataloader.dataset.pipeline.1.scale",
        "train_dataloader.dataset.pipeline.1",
        "model.backbone.with_cp",  # at its default, so not in the file
        "train_dataloader.dataset.metainfo.classes",
        "work_dir",
        "randomness",
    ],
)
def test_effective_overrides_pass(dotted: str) -> None:
    check_override(config(), dotted)


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("train_dataloader.batch_sise", "did you mean 'batch_size'"),
        ("train_datalodaer.batch_size", "did you mean 'train_dataloader'"),
        ("model.bakbone.arch", "did you mean 'backbone'"),
        ("train_dataloader.dataset.pipeline.2.scale", "list of 2; '2' is not an index"),
        ("train_dataloader.dataset.pipeline.x", "'x' is not an index"),
        ("train_pipeline.0", "a variable of the config file that nothing reads"),
        ("batch_size", "nothing reads 'batch_size'"),
        ("train_dataloader.batch_size.x", "is 4, not a dict"),
        ("custom_imports.imports", "modules are imported while a config file is read"),
    ],
)
def test_overrides_without_effect_are_refused(dotted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_override(config(), dotted)


def test_misspelt_top_level_key_is_refused() -> None:
    check_top_level_keys(config(num_classes=3, train_cfg={}))
    with pytest.raises(UserError, match="'optim_wraper'; did you mean 'optim_wrapper'"):
        check_top_level_keys(config(optim_wraper={}))
