"""ImageNet's recipes: every value of the official one, and what the configs build of it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imagenet_recipe as recipe
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from mmengine.structures import BaseDataElement
from torch import nn

from casvit_dense.casvit import ARCHS, DropPath

FOLDER = Path(__file__).parents[2] / "configs" / "imagenet"
NAMES = [(name, arch) for name in recipe.RECIPES for arch in ARCHS]
TRAINING, FINE_TUNING = (name.format("xs") for name in recipe.RECIPES)


def config(name: str) -> Config:
    return Config.fromfile(FOLDER / name)


def value_at(node: Any, dotted: str) -> Any:
    """The value at a dotted key; None where it is not set."""
    for part in dotted.split("."):
        if isinstance(node, list):
            node = node[int(part)] if int(part) < len(node) else None
        elif node is not None:
            node = node.get(part)
    return node


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("name", "arch"), NAMES)
def test_every_value_is_the_official_one(name: str, arch: str) -> None:
    cfg = config(name.format(arch))
    expected = {key: plain(value) for key, (value, _) in recipe.RECIPES[name].items()}
    found = {key: plain(value_at(cfg, key)) for key in expected}
    assert found == {**expected, "custom_hooks.3.momentum": pytest.approx(0.0005)}
    assert cfg.model.backbone.arch == arch
    assert cfg.test_dataloader == cfg.val_dataloader


def test_the_tables_hold_twenty_values_and_each_config_has_one() -> None:
    assert len(recipe.TRAINING) >= 20
    assert {name.format(arch) for name, arch in NAMES} == {
        path.name for path in FOLDER.glob("*.py")
    }


@pytest.mark.parametrize("name", [TRAINING, FINE_TUNING])
def test_sizes_are_those_of_the_official_rule(name: str) -> None:
    sampler = config(name).train_dataloader.batch_sampler
    spaced = np.linspace(recipe.SMALLEST, recipe.LARGEST, recipe.SCALES)
    rounded = {int(x / recipe.MULTIPLE + 0.5) * recipe.MULTIPLE for x in spaced}
    assert set(sampler.sizes) == rounded | {sampler.size} and len(sampler.sizes) == 6


def official_rates(cfg: Config, warmup: int, epoch_length: int) -> np.ndarray:
    """By the official formula (``utils.cosine_scheduler``): each rate of a training."""
    rate, total = cfg.optim_wrapper.optimizer.lr, cfg.train_cfg.max_epochs * epoch_length
    rising, falling = warmup * epoch_length, total - warmup * epoch_length
    least = 1e-6 if len(cfg.param_scheduler) == 2 else rate
    cosine = [
        least + (rate - least) * (1 + math.cos(math.pi * i / falling)) / 2 for i in range(falling)
    ]
    return np.concatenate([np.linspace(0, rate, rising), cosine])


@pytest.mark.parametrize("name", [TRAINING, FINE_TUNING])
def test_rates_of_every_iteration_are_the_official_ones(name: str) -> None:
    cfg, epoch_length = config(name), 3
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(content), default_args={"optimizer": optimizer, "epoch_length": epoch_length}
        )
        for content in cfg.param_scheduler
    ]
    expected = official_rates(cfg, 20, epoch_length)
    found = []
    for _ in expected:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)  # begins at 6e-9, not at 0
    assert found[20 * epoch_length - 1] == pytest.approx(cfg.optim_wrapper.optimizer.lr)


@pytest.fixture(scope="module")
def model() -> Any:
    built = MODELS.build(config(TRAINING).model)
    built.init_weights()
    return built


def test_decay_spares_what_has_one_dimension(model: Any) -> None:
    content = config(TRAINING).optim_wrapper
    for key in ("dtype", "loss_scale"):  # of a GPU
        content.pop(key)
    wrapper = build_optim_wrapper(model, {**content, "type": "OptimWrapper"})
    decays = {id(g["params"][0]): g["weight_decay"] for g in wrapper.optimizer.param_groups}
    assert all(len(group["params"]) == 1 for group in wrapper.optimizer.param_groups)
    for name, parameter in model.named_parameters():
        spared = parameter.ndim == 1 or name.endswith(".bias")
        assert decays.pop(id(parameter)) == (0 if spared else 0.05), name
    assert not decays
    for group in wrapper.optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (6e-3, (0.9, 0.999), 1e-8)
    assert wrapper._accumulative_counts == 2 and wrapper.clip_grad_kwargs is None


def test_the_model_begins_and_drops_paths_as_the_official_one(model: Any) -> None:
    """Linear layers truncated normal, 0.02, without bias; paths 0 to 0.1 over ten blocks."""
    weight = model.head.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02) and not model.head.bias.any()
    rates = [part.drop_prob for part in model.modules() if isinstance(part, DropPath)]
    assert rates == pytest.approx([0.1 * block / 9 for block in range(10)])
    conv = model.backbone.network[0][0].mlp.fc1.weight  # torch's own: uniform up to 1/sqrt(inputs)
    assert conv.abs().max().item() == pytest.approx(1 / math.sqrt(48), rel=0.01)


def test_labels_are_smoothed(model: Any) -> None:
    """By hand: nine tenths of the loss of the label, a tenth of the mean over all classes."""
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    samples = [BaseDataElement(gt_label=label) for label in (3, 700)]
    with torch.no_grad():
        loss = model(images, samples, mode="loss")["loss_ce"]
        logs = model(images).log_softmax(1)
    by_hand = -0.9 * (logs[0, 3] + logs[1, 700]) / 2 - 0.1 * logs.mean()
    torch.testing.assert_close(loss, by_hand)


def test_the_average_follows_each_step_once() -> None:
    """A step is made after the second of two batches; the average has it a batch later."""
    source = nn.BatchNorm2d(1)
    hook = HOOKS.build(dict(config(TRAINING).custom_hooks[3]))
    runner: Any = SimpleNamespace(model=source, iter=0)
    hook.before_run(runner)
    expected, steps = 1.0, 0
    for iteration in range(9):
        if iteration % 2 == 1:
            steps += 1
            source.weight.data.fill_(1.0 + steps)
            source.running_mean.fill_(1.0 + steps)
        hook.after_train_iter(runner, iteration)
        if iteration % 2 == 0 and iteration > 0:
            expected = 0.9995 * expected + 0.0005 * (1.0 + steps)
        assert hook.ema_model.module.weight.item() == pytest.approx(expected)
    assert steps == 4 and expected > 1
    assert hook.ema_model.module.running_mean.item() == pytest.approx(expected - 0.9995**4)
