"""Misspelt config keys are refused with the key that is meant."""

from pathlib import Path

import pytest
from mmengine.config import Config

from casvit_dense.config.names import Fault, check_override, did_you_mean, top_level_faults
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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optim_wraper", "optim_wrapper"),
        ("custom_hook", "custom_hooks"),
        ("lr_config", "param_scheduler"),
        ("batchsize", "train_dataloader.batch_size"),
    ],
)
def test_a_name_that_nothing_reads_is_refused_if_it_was_meant_to_be(name: str, meant: str) -> None:
    (fault,) = top_level_faults(config(custom_hooks=[], **{name: {"a": 1}}))
    assert fault == Fault(name, f"nothing reads '{name}'; did you mean '{meant}'?")
    # A variable: its value stands in a section.
    assert not list(top_level_faults(config(custom_hooks=[{"b": {"a": 1}}], **{name: {"a": 1}})))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("score_threshold", "score_thr"),
        ("max_per_image", "max_per_img"),
        ("nms_threshold", "iou_threshold"),
    ],
)
def test_how_a_name_begins_counts(name: str, meant: str) -> None:
    known = ("iou_threshold", "score_thr", "nms_thr", "nms_pre", "nms", "max_per_img")
    assert did_you_mean(name, known) == f"; did you mean '{meant}'?"


def test_names_of_no_key_are_the_files_own() -> None:
    assert not list(top_level_faults(config(num_classes=3, train_cfg={})))


def test_a_variable_that_its_base_has_used_before_is_refused(tmp_path: Path) -> None:
    base = 'steps = ["a"]\nroot = "x"\nwork_dir = root\nval_dataloader = dict(pipeline=steps)\n'
    (tmp_path / "base.py").write_text(base)

    def faults(text: str) -> list[str]:
        file = tmp_path / "config.py"
        file.write_text(f'_base_ = "base.py"\n{text}')
        return [fault.place for fault in top_level_faults(Config.fromfile(file))]

    assert faults('steps = ["b"]') == ["steps"]
    assert faults('steps = ["b"]\nval_dataloader = dict(pipeline=steps)') == []
    assert faults('steps = ["b"]\nval_dataloader = dict(pipeline=["b"])') == []
    assert faults('val_dataloader = dict(pipeline=["c"])') == []  # the base's name, left alone
    assert faults('root = "y"\nwork_dir = _base_.root + "/z"') == []
