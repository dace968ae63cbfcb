"""What is said of weight files, and of the order of channels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from weight_files import CLASSES, TINY, classifier_state, dense_state, save_official_classification

from casvit_dense.classification import inspect
from casvit_dense.classification.inspect import Order, compare_orders, conclusion, inspect_file
from casvit_dense.cli import main

HEADS = f"head ({CLASSES} classes), dist_head ({CLASSES} classes)"


def without(state: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("tables", "facts"),
    [
        ({"model": classifier_state("xs")}, {"variant": "xs", "heads": HEADS, "averaged": "no"}),
        (
            {"model": without(classifier_state("xs"), "dist_head")},
            {"heads": f"head ({CLASSES} classes)"},
        ),
        (
            {"model": classifier_state("xs"), "model_ema": classifier_state("xs", 1)},
            {"averaged": "yes: --ema takes them"},
        ),
        ({"model_ema": classifier_state("xs")}, {"averaged": "alone: --ema takes them"}),
        (
            {
                "model": {
                    n: t.half() if t.is_floating_point() else t
                    for n, t in classifier_state("xs").items()
                }
            },
            {"numbers": "468 tensors of float16, 56 tensors of int64", "finite": "all"},
        ),
        (
            {
                "model": {
                    **classifier_state("xs"),
                    "head.bias": torch.full((CLASSES,), float("nan")),
                }
            },
            {"finite": "no: head.bias"},
        ),
        ({"state_dict": dense_state()}, {"format": "official dense"}),
    ],
)
def test_facts_about_files(
    tables: dict[str, object], facts: dict[str, str], tmp_path: Path
) -> None:
    path = save_official_classification(tmp_path / "x.pth", **tables)
    found = dict(inspect_file(path))
    assert {label: found[label] for label in facts} == facts


class Reddish(nn.Module):
    """Sure of class 1 the more red it sees in the first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = x[:, 0].mean((1, 2)) * self.scale
        return torch.stack([-red, red], 1)


def test_the_surer_order_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red images, and a classifier that looks for red where RGB has it."""
    monkeypatch.setattr(inspect, "read_classifier", lambda *args: None)
    monkeypatch.setattr(inspect, "classifier_of", lambda *args: Reddish().eval())
    files = []
    for number in range(3):
        pixels = np.zeros((40, 40, 3), np.uint8) + np.array([255 - number, 60, 100], np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    orders = compare_orders("x.pth", files, labels=[1, 1, 1], size=224)
    # By hand, with the means and deviations of the first channel.
    shown = {"RGB": (255, 254, 253), "BGR": (100, 100, 100)}
    for order in orders:
        logits = [(value - 123.675) / 58.395 for value in shown[order.name]]
        sureness = np.mean([1 / (1 + np.exp(-2 * abs(logit))) for logit in logits])
        assert order.sureness == pytest.approx(sureness, abs=1e-5)
    assert [(order.name, order.top1) for order in orders] == [("RGB", 100.0), ("BGR", 0.0)]
    assert conclusion(orders) == "trained on RGB: more images are classified rightly"


@pytest.mark.parametrize(
    ("sureness", "text"),
    [((0.6, 0.5), "BGR seems to be the order"), ((0.60, 0.595), "do not tell the orders apart")],
)
def test_without_labels_only_sureness_speaks(sureness: tuple[float, float], text: str) -> None:
    first, second = sureness
    assert text in conclusion([Order("BGR", first, None), Order("RGB", second, None)])


def test_the_command_says_it_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = save_official_classification(tmp_path / "x.pth", model=classifier_state(TINY))
    for name in ("a", "b"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (50, 40), "red").save(tmp_path / f"val/{name}/1.png")
    arguments = ["weights", "inspect", str(path), str(tmp_path / "val"), "--size", "64"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == f"heads      {HEADS}"
    assert lines[-1].endswith("(2 images)")
    assert sum("mean probability" in line and "% right" in line for line in lines) == 2
    assert main(["weights", "inspect", str(tmp_path / "none.pth")]) == 2
