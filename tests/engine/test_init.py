"""Training from the weights of a whole model of other classes."""

import re
from pathlib import Path

import pytest
import torch
from demo_runs import Runs, config_of, options_of, save_lively
from mmengine.hooks import Hook

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine import train as training
from casvit_dense.engine.checks import class_layers
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

#: Layers whose outputs are classes, by reading mmdet's and mmseg's heads.
LAYERS = {
    "retinanet": {"bbox_head.retina_cls"},
    "mask-rcnn": {
        "roi_head.bbox_head.fc_cls",
        "roi_head.bbox_head.fc_reg",
        "roi_head.mask_head.conv_logits",
    },
    "fpn": {"decode_head.conv_seg"},
}


@pytest.mark.parametrize("task", LAYERS)
def test_class_layers_are_found_by_their_shapes(task: str) -> None:
    cfg = resolve(config_of(task), RunOptions()).config
    scope = register_scope(cfg)
    model = __import__(f"{scope}.registry", fromlist=["MODELS"]).MODELS.build(cfg.model)
    names = class_layers(model, cfg)
    assert {name.rpartition(".")[0] for name in names} == LAYERS[task]
    assert len(names) == 2 * len(LAYERS[task])  # weight and bias


class Begun(Exception):
    """Ends a training before its first step."""


class First(Hook):
    """Keeps the weights as the first step finds them, which is not taken."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        First.state = {k: v.clone() for k, v in runner.model.state_dict().items()}
        raise Begun


@pytest.mark.parametrize("task", ["retinanet", "fpn"])
def test_everything_but_the_class_layers_is_loaded(
    task: str,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    file = save_lively(task, tmp_path / "other.pth")
    build = training.build_runner

    def with_hook(*args):
        runner = build(*args)
        runner.register_hook(First())
        return runner

    monkeypatch.setattr(training, "build_runner", with_hook)
    options = options_of(task, shapes, tmp_path / f"{task}-init")
    options.init = str(file)
    with pytest.raises(Begun):
        train(config_of(task), options)
    given = read_checkpoint(file)["state_dict"]
    same = {name for name, tensor in given.items() if torch.equal(First.state[name], tensor)}
    changed = {name.rpartition(".")[0] for name in given.keys() - same}
    # A bias of zeros is a bias of zeros.
    assert changed == LAYERS[task]
    shown = capsys.readouterr().out
    layers = ", ".join(LAYERS[task])
    assert re.search(rf"^weights +\S+other.pth: \d+ tensors; .* new: {layers}$", shown, re.M)


def test_what_else_does_not_fit_is_refused(runs: Runs, shapes: Path, tmp_path: Path) -> None:
    options = options_of("retinanet", shapes, tmp_path / "work")
    options.init = str(save_lively("fpn", tmp_path / "other.pth"))
    with pytest.raises(UserError, match="does not fit"):
        train(config_of("retinanet"), options)
    state = read_checkpoint(save_lively("retinanet", tmp_path / "whole.pth"))["state_dict"]
    backbone = {k: v for k, v in state.items() if k.startswith("backbone.")}
    torch.save(backbone, tmp_path / "backbone.pth")
    options.init = str(tmp_path / "backbone.pth")
    with pytest.raises(UserError, match="holds a backbone .* give it by --pretrained"):
        train(config_of("retinanet"), options)


@pytest.mark.parametrize(
    "other", [{"pretrained": "x"}, {"from_scratch": True}, {"resume": "auto"}], ids=str
)
def test_there_is_one_beginning(other: dict) -> None:
    with pytest.raises(UserError, match="--init and --.* are two beginnings"):
        resolve(config_of("fpn"), RunOptions(init="x.pth", **other))
