"""The steps of an exported graph, each against mmdet's own or a plain second implementation."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from casvit_dense import CASViT
from casvit_dense.errors import UserError
from casvit_dense.export.check import compare_detections, compare_maps, compare_segments
from casvit_dense.export.model import paste_masks
from casvit_dense.export.ops import (
    BoxDecoder,
    MultiLevelRoIAlign,
    anchors_at,
    nms,
    onnx_translations,
    roi_align,
)
from casvit_dense.export.runtime import open_runtime
from casvit_dense.export.writers import to_onnx

TINY = dict(depths=[1, 1, 1, 1], dims=[8, 12, 16, 24])


def random_boxes(count: int, size: float = 64.0) -> Tensor:
    corners = torch.rand(count, 2, 2) * size
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


def greedy(boxes: np.ndarray, scores: np.ndarray, iou: float, score: float, most: int) -> list[int]:
    """Suppression by the textbook, one pair at a time."""
    kept: list[int] = []
    for i in np.argsort(-scores):
        if scores[i] <= score or len(kept) == most:
            break
        overlaps = [overlap(boxes[i], boxes[j]) for j in kept]
        if all(value <= iou for value in overlaps):
            kept.append(int(i))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


# ---- operators, in torch and in a file


class Operators(nn.Module):
    """Boxes from the first row of an image, suppressed; RoIAlign of two levels on the boxes."""

    def __init__(self) -> None:
        super().__init__()
        layer = dict(type="RoIAlign", output_size=(3, 2), sampling_ratio=0)
        self.pooling = MultiLevelRoIAlign(SingleRoIExtractor(layer, 4, [2, 4], finest_scale=14))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        rows = image[0, 0, :, :5]
        kept = nms(rows[:, :4], rows[:, 4], 0.4, 0.3, 6)
        return kept, self.pooling([image, F.avg_pool2d(image, 2)], rows[kept, :4])


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("ops") / "ops.onnx"
    example = operator_input(0)
    names = ["kept", "pooled"]
    to_onnx(Operators().eval(), path, example, "image", names, False, onnx_translations())
    return path


def operator_input(seed: int) -> Tensor:
    torch.manual_seed(seed)
    image = torch.rand(1, 4, 40, 48)
    image[0, 0, :, :4] = random_boxes(40, 60.0)
    return image


@pytest.mark.parametrize("seed", [0, 1])
def test_suppression_is_greedy(seed: int) -> None:
    rows = operator_input(seed)[0, 0, :, :5]
    kept = nms(rows[:, :4], rows[:, 4], 0.4, 0.3, 6)
    expected = greedy(rows[:, :4].numpy(), rows[:, 4].numpy(), 0.4, 0.3, 6)
    assert kept.tolist() == expected
    assert len(expected) > 2


def test_nothing_above_the_score_gives_nothing() -> None:
    boxes = random_boxes(5)
    assert nms(boxes, torch.full((5,), 0.2), 0.5, 0.2, 10).shape == (0,)
    assert roi_align(torch.rand(1, 4, 8, 8), boxes[:0], 3, 2, 0.5, 0).shape == (0, 4, 3, 2)


def test_pooling_minds_the_memory_layout() -> None:
    image, boxes = torch.rand(1, 4, 40, 48), random_boxes(5)
    other = image.contiguous(memory_format=torch.channels_last)
    assert torch.equal(roi_align(other, boxes, 3, 2, 0.5, 0), roi_align(image, boxes, 3, 2, 0.5, 0))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_operators_in_a_file(operators: Path, backend: str, scale: float) -> None:
    pytest.importorskip(backend)
    image = operator_input(1) * scale  # all zero: no box, so no features either
    kept, pooled = open_runtime(operators, backend, threads=1)(image.numpy())
    expected_kept, expected_pooled = Operators()(image)
    assert kept.tolist() == expected_kept.tolist()
    np.testing.assert_allclose(pooled, expected_pooled, atol=1e-5)


# ---- steps of the heads


def test_boxes_decode_as_in_mmdet() -> None:
    coder = DeltaXYWHBBoxCoder(target_means=(0.1, 0, 0, 0), target_stds=(0.1, 0.1, 0.2, 0.2))
    anchors, deltas = random_boxes(50), torch.randn(50, 4) * 20  # beyond the clamp too
    expected = coder.decode(anchors, deltas, max_shape=(50, 40))
    torch.testing.assert_close(BoxDecoder(coder)(anchors, deltas, (50, 40)), expected)


def test_another_coder_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be exported"):
        BoxDecoder(DeltaXYWHBBoxCoder(add_ctr_clamp=True))


def test_anchors_are_those_of_mmdet() -> None:
    generator = AnchorGenerator(strides=[8, 16], ratios=[0.5, 1.0], scales=[4, 8])
    for level, (height, width) in enumerate([(5, 7), (3, 4)]):
        grid = generator.grid_priors([(5, 7), (3, 4)], device="cpu")[level]
        index = torch.randperm(height * width * 4)
        assert torch.equal(anchors_at(generator, level, index, width), grid[index])


def test_pooling_chooses_levels_as_in_mmdet() -> None:
    extractor = SingleRoIExtractor(
        roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
        out_channels=4,
        featmap_strides=[4, 8, 16],
        finest_scale=14,
    )
    maps = [torch.rand(1, 4, 64 // stride, 64 // stride) for stride in (4, 8, 16)]
    sides = torch.tensor([3.0, 10, 27.9, 28.1, 40, 55.9, 56.1, 60])
    boxes = torch.stack([sides * 0, sides * 0 + 1, sides, sides + 1], dim=1)
    expected = extractor(maps, torch.cat([boxes.new_zeros(8, 1), boxes], dim=1))
    torch.testing.assert_close(MultiLevelRoIAlign(extractor)(maps, boxes), expected)


def test_masks_are_pasted_as_in_mmdet() -> None:
    edges = torch.tensor([[0.0, 0, 64, 48], [-3, 20.5, 9, 60], [5, 5, 5, 9], [7.2, 7.4, 7.6, 7.5]])
    boxes = torch.cat([random_boxes(20, 45.0), edges])  # some without extent
    grids = torch.rand(len(boxes), 28, 28)
    expected = torch.zeros(len(boxes), 48, 64, dtype=torch.bool)
    for i in range(len(boxes)):
        part, where = _do_paste_mask(grids[i : i + 1, None], boxes[i : i + 1], 48, 64)
        expected[(slice(i, i + 1), *where)] = part >= 0.5
    found = paste_masks(grids, boxes, (48, 64), 0.5)
    assert torch.equal(found, expected)
    assert expected[:20].any(dim=(1, 2)).all()


# ---- files of plain modules


def test_backbone_takes_any_size_and_batch(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    backbone = CASViT(TINY, out_indices=(0,)).eval()  # one stage: tracing takes most of the time
    names = ["c2"]
    to_onnx(backbone, tmp_path / "b.onnx", torch.rand(2, 3, 64, 96), "image", names, dynamic=True)
    run = open_runtime(tmp_path / "b.onnx", threads=1)
    for shape in ((1, 3, 64, 96), (3, 3, 45, 77), (1, 3, 110, 33)):
        image = torch.rand(shape)
        with torch.no_grad():
            expected = [x.numpy() for x in backbone(image)]
        outcome = compare_maps(expected, run(image.numpy()))
        assert outcome.good, outcome.text


def test_runtime_refuses_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "damaged.onnx"
    with pytest.raises(UserError, match="no exported file"):
        open_runtime(file)
    file.write_bytes(b"no onnx")
    with pytest.raises(UserError, match="cannot be loaded by onnxruntime"):
        open_runtime(file)
    with pytest.raises(UserError, match="torch does not run"):
        open_runtime(file, "torch")
    with pytest.raises(UserError, match="expected .onnx or .xml"):
        open_runtime(tmp_path / "model.pth")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'pip install "casvit-dense\[export\]"'):
        open_runtime(file)


# ---- what counts as equal


def instances(**changes: Tensor) -> SimpleNamespace:
    values = dict(
        bboxes=torch.tensor([[0.0, 0, 50, 50], [10, 10, 90, 60], [70, 5, 80, 20]]),
        scores=torch.tensor([0.9, 0.5, 0.3]),
        labels=torch.tensor([0, 1, 1]),
        masks=torch.ones(3, 40, 100, dtype=torch.bool),
    )
    return SimpleNamespace(pred_instances=InstanceData(**{**values, **changes}))


def test_equal_detections_in_another_order_agree() -> None:
    order = torch.tensor([2, 0, 1])
    other = instances()
    other.pred_instances = other.pred_instances[order]
    outcome = compare_detections(instances(), other, 0.05, 100)
    assert outcome.good and outcome.compared == 3


@pytest.mark.parametrize(
    "changes",
    [
        dict(labels=torch.tensor([0, 1, 0])),
        dict(scores=torch.tensor([0.9, 0.51, 0.3])),
        dict(bboxes=torch.tensor([[0.0, 0, 50, 50], [10, 10, 90, 60], [70, 5, 81, 20]])),
        dict(masks=torch.arange(12000).view(3, 40, 100) >= 300),
    ],
    ids=["label", "score", "box", "mask"],
)
def test_a_changed_detection_does_not_agree(changes: dict[str, Tensor]) -> None:
    assert not compare_detections(instances(), instances(**changes), 0.05, 100).good


def test_rounding_decides_at_the_threshold_only() -> None:
    first, other = instances(), instances()
    other.pred_instances = other.pred_instances[:2]
    assert compare_detections(first, other, 0.2995, 100).good
    assert compare_detections(first, other, 0.05, 3).good  # the last of a full list
    assert not compare_detections(first, other, 0.05, 100).good


def test_maps_and_segments() -> None:
    maps = [np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5)]
    assert compare_maps(maps, [maps[0] + 5e-5]).good
    assert not compare_maps(maps, [maps[0] + 5e-4]).good
    assert not compare_maps(maps, [maps[0].reshape(4, 3, 5)]).good
    assert not compare_maps(maps, [np.full_like(maps[0], np.nan)]).good

    def sample(logits: Tensor) -> SimpleNamespace:
        classes = PixelData(data=logits.argmax(0, keepdim=True))
        return SimpleNamespace(seg_logits=PixelData(data=logits), pred_sem_seg=classes)

    logits = torch.randn(4, 20, 20)
    assert compare_segments(sample(logits), sample(logits + 1e-5)).good
    assert not compare_segments(sample(logits), sample(logits.flip(0))).good


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_loads_and_cannot_be_run_is_named(backend: str, tmp_path: Path) -> None:
    """A node adds what no broadcasting fits, which is known once there is an image."""
    pytest.importorskip(backend)
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    value = helper.make_tensor("value", kind, [1, 3, 5, 5], [0.0] * 75)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "value"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", kind, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("y", kind, None)],
        [value],
    )
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    run = open_runtime(path, backend)
    with pytest.raises(UserError, match=f"sum.onnx cannot be run by {backend}: ."):
        run(np.zeros((1, 3, 8, 8), np.float32))
