"""What a file will say of itself, gathered from config, model and graph."""

from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from casvit_dense.doctor import installed_versions
from casvit_dense.export.check import Size
from casvit_dense.export.graphs import BackboneGraph, Graph, normalisation, pad_divisor
from casvit_dense.exported.description import Description
from casvit_dense.predictor import Predictor
from casvit_dense.predictor.labels import test_dataset

#: Packages whose versions the file names.
WRITTEN_BY = (
    *("casvit-dense", "torch", "onnx", "onnxscript"),
    *("onnxruntime", "openvino", "coremltools"),
)


def describe(
    predictor: Predictor, graph: Graph, example: Tensor, dynamic: bool, fused: bool
) -> Description:
    """What the file will say of itself.

    Args:
        predictor: config, model and labels.
        graph: what goes into the file.
        example: the input that it is traced with.
        dynamic: whether height and width are left open.
        fused: whether norms were folded into convolutions.
    """
    whole = not isinstance(graph, BackboneGraph)
    preprocessor = predictor.model.data_preprocessor
    mean, std = normalisation(preprocessor)
    test_cfg = predictor.model.test_cfg
    test_cfg = test_cfg.get("rcnn", test_cfg)
    order = "RGB" if getattr(preprocessor, "_channel_conversion", False) else "BGR"
    values = "values from 0 to 255, as they are" if whole else "normalised by mean and std"
    kind = ("detector" if predictor.scope == "mmdet" else "segmenter") if whole else "backbone"
    return Description(
        config=Path(predictor.cfg.filename).stem,
        part="model" if whole else "backbone",
        kind=kind,
        classes=list(predictor.labels.names),
        category_ids=list(predictor.labels.ids),
        input=f"float32 (N, 3, H, W), {order}, {values}",
        input_name=graph.input_name,
        input_shape=list(example.shape),
        dynamic=dynamic,
        resize=test_resize(predictor.cfg),
        channel_order=order,
        mean=mean,
        std=std,
        normalisation="file" if whole else "caller",
        pad_divisor=pad_divisor(preprocessor),
        score_thr=test_cfg.get("score_thr", 0.0) if kind == "detector" else None,
        mask_thr=test_cfg.get("mask_thr_binary"),
        align_corners=getattr(predictor.model, "align_corners", None),
        outputs=dict(graph.outputs),
        weights_sha256=predictor.weights_sha256,
        fused=fused,
        precision="float32",
        versions=installed_versions(WRITTEN_BY),
    )


def test_resize(cfg: Config) -> list[int] | None:
    """Long and short side of the box that the test pipeline fits images into."""
    for step in test_dataset(cfg)["pipeline"]:
        scale = step.get("scale")
        if step["type"].rpartition(".")[2] == "Resize" and isinstance(scale, (tuple, list)):
            return sorted(scale, reverse=True) if step.get("keep_ratio") else None
    return None


def default_size(cfg: Config) -> Size:
    """The short side of the test pipeline's box, squared, up to a multiple of 32."""
    _, side = test_resize(cfg) or (512, 512)
    side = -(-side // 32) * 32
    return side, side
