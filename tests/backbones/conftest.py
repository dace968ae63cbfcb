"""A class of one's own in a folder on the path."""

from pathlib import Path

import pytest

OWN = """
import torch
from mmengine.model import BaseModule
from torch import nn


class Net(BaseModule):
    widths = (8, 12, 16, 20)

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        steps = zip((3, *self.widths), self.widths)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        maps = [x := self.stages[0](self.pool(x))]
        for stage in self.stages[1:]:
            maps.append(x := stage(x))
        return tuple(maps)


class Three(Net):
    def forward(self, x):
        return super().forward(x)[1:]


class One(Net):
    def forward(self, x):
        return super().forward(x)[0]


class Broken(Net):
    def forward(self, x):
        raise ValueError("no such luck")


class OneSize(Net):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.places = nn.Parameter(torch.zeros(1, 8, 16, 24))  # of 64 x 96 pixels

    def forward(self, x):
        first, *others = super().forward(x)
        return (first + self.places, *others)


class Half(Net):
    def forward(self, x):
        return tuple(m.half() for m in super().forward(x))


class Plain(nn.Module):
    pass


class Exits(Net):
    def __init__(self, init_cfg=None):
        raise SystemExit("two\\nlines")


class NoModule:
    def __init__(self, init_cfg=None):
        pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name; it lies in the folder one stands in."""
    (tmp_path / "own_backbones.py").write_text(OWN)
    (tmp_path / "exiting.py").write_text("import sys\nsys.exit(5)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # undone afterwards, as what the command appends is not
    return "own_backbones"
