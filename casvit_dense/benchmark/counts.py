"""What the networks of a benchmark cost, and their share of the machine's rates."""

from collections.abc import Mapping
from typing import Any

import torch

from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.machine import Rates
from casvit_dense.benchmark.networks import build, example
from casvit_dense.counts import Cost, count_backbone, count_parts, count_training, rois_of

PARTS = ("backbone", "neck", "head")


def costs_of(case: BenchmarkCase) -> tuple[dict[str, Cost], tuple[int, int]]:
    """Costs of one call by part, and the boxes and masks of an image in a second stage.

    Counted on meta tensors in the reference form, whatever form is measured: the work is the same.
    """
    # Others' code may compute with numbers while it builds, which meta tensors do not have.
    with torch.device("meta" if case.model.startswith("timm:") else "cpu"):
        network = build(case).to("meta")
    images = example(case).to("meta")
    if case.part == "model":
        return count_parts(network, images), rois_of(network)
    count = count_training if case.mode == "train" else count_backbone
    return {"backbone": count(network, images)}, (0, 0)


def cost_columns(
    costs: Mapping[str, Cost], rois: tuple[int, int], case: BenchmarkCase
) -> dict[str, Any]:
    """Millions of parameters and billions of multiply-adds of an image: in all, and by part."""
    whole = sum(costs.values(), Cost())
    columns: dict[str, Any] = {
        "params_m": whole.params / 1e6,
        "gmacs": whole.macs / case.batch / 1e9,
    }
    for part in PARTS:
        cost = costs.get(part)
        columns[f"{part}_params_m"] = cost and cost.params / 1e6
        columns[f"{part}_gmacs"] = cost and cost.macs / case.batch / 1e9
    columns["rois"] = "{} boxes, {} masks".format(*rois) if any(rois) else None
    return columns


def share_columns(cost: Cost, seconds: float, rates: Rates, halved: bool) -> dict[str, Any]:
    """The machine's best rates, and the share of them that a call reached.

    ``matmul_share`` compares with the matrix product; ``copy_share`` with the least that must be
    moved, every operand of a convolution or matrix product once; ``roofline_share`` with the time
    in which each of these operators could both compute and move. The copy rate is that of memory:
    where caches serve, shares of it exceed 1.

    The cost is counted in fp32; ``halved`` activations and weights have two bytes instead of four.
    """
    copy = rates.copy * (2 if halved else 1)  # in bytes as they were counted
    return {
        "matmul_gflops": rates.matmul / 1e9,
        "matmul_by": rates.library,
        "copy_gbs": rates.copy / 1e9,
        "matmul_share": 2 * cost.macs / seconds / rates.matmul,
        "copy_share": cost.moved / seconds / copy,
        "roofline_share": cost.floor(rates.matmul, copy) / seconds,
    }
