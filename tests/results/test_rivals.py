"""The papers' rivals: the page shows what was published, and timm's models have that size."""

from collections.abc import Iterable

import pytest
import torch
from pages import table_of_page
from timm_models import timm_or_skip

from casvit_dense.benchmark.counts import Cost, count_backbone
from casvit_dense.deploy import fuse
from casvit_dense.deploy.timm_form import reparameterized
from casvit_dense.results import read_targets
from casvit_dense.results.targets import Classifier

RIVALS = {row.timm: row for row in read_targets().rivals}
#: Quick to build, one of them with branches to merge.
QUICK = ("mobilenetv4_conv_small", "repvit_m1_1")


def test_the_page_shows_the_published_sizes() -> None:
    page = table_of_page("Rivals from timm")
    assert list(page) == [f"timm:{name}" for name in RIVALS]
    for row, cells in zip(RIVALS.values(), page.values(), strict=True):
        published = [row.backbone, str(row.size), str(row.params_m), str(row.gmacs)]
        assert [*cells[:3], cells[4]] == published
        assert cells[6] == (row.note or "")


def slow_but(quick: Iterable[str]) -> list[object]:
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in RIVALS
    ]


def counted(row: Classifier) -> Cost:
    """Of timm's classifier in its inference form."""
    model = reparameterized(timm_or_skip().create_model(row.timm).eval()).to("meta")
    return count_backbone(model, torch.empty(1, 3, row.size, row.size, device="meta"))


@pytest.mark.parametrize("name", slow_but(QUICK))
def test_a_rival_has_the_published_size_or_a_note_says_why_not(name: str) -> None:
    row, cost = RIVALS[name], counted(RIVALS[name])
    params, gmacs = cost.params / 1e6, cost.macs / 1e9
    cells = table_of_page("Rivals from timm")[f"timm:{name}"]
    assert [cells[3], cells[5]] == [f"{params:.2f}", f"{gmacs:.2f}"]
    agree = abs(params - row.params_m) <= 0.1 and gmacs == pytest.approx(row.gmacs, rel=0.03)
    assert agree or row.note


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RIVALS if name.startswith("efficientformerv2")])
def test_efficientformerv2_was_counted_with_its_norms_folded(name: str) -> None:
    model = fuse(timm_or_skip().create_model(name))
    params = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(params, 1) == RIVALS[name].params_m
    assert f"{params:.2f} M counted so" in str(RIVALS[name].note)
