"""The export command: what it writes and reports, what it refuses, other formats."""

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from exported_models import DEMO, Model, export
from torch import nn

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.export import exporter
from casvit_dense.export.description import read_description
from casvit_dense.export.model import ExportedModel
from casvit_dense.export.writers import OPSET
from casvit_dense.predictor import Predictor

FLOAT, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


# ---- description


def test_a_file_describes_itself(models: dict[str, Model]) -> None:
    model = models["mask-rcnn"]
    description = read_description(model.exported)
    assert description.config == "tiny-mask-rcnn"
    assert description.classes == ["circle", "square", "triangle"] and description.category_ids == [
        1,
        2,
        3,
    ]
    assert (description.part, description.kind, description.dynamic, description.fused) == (
        "model",
        "detector",
        True,
        True,
    )
    assert (
        description.mean == pytest.approx([123.675, 116.28, 103.53])
        and description.channel_order == "RGB"
    )
    assert (description.pad_divisor, description.score_thr, description.mask_thr) == (32, 0.05, 0.5)
    assert description.resize == (160, 160)
    assert (
        description.weights_sha256
        == Predictor(model.config, model.checkpoint, "cpu").weights_sha256
    )
    written = onnx.load(model.exported)
    assert [x.name for x in written.graph.output] == list(description.outputs)
    assert [x.name for x in written.graph.input] == [description.input_name]
    assert {x.domain: x.version for x in written.opset_import}[""] == OPSET


def test_the_command_reports_what_it_compared(models: dict[str, Model]) -> None:
    messages = models["mask-rcnn"].messages
    assert re.search(r"compared with torch at 96x128: \d+ detections, 0 unmatched", messages)
    assert "compared with torch at 73x81" in messages  # no multiple of 32


# ---- what is refused


def test_a_gap_fails_the_command_and_leaves_nothing(
    models: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = models["fpn"]

    def write_another(graph: nn.Module, path: Path, *rest: object) -> None:
        tampered = onnx.load(model.exported)
        kernel = next(x for x in tampered.graph.initializer if len(x.dims) == 4 and x.dims[1] > 1)
        values = onnx.numpy_helper.to_array(kernel) * 1.05
        kernel.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), kernel.name))
        onnx.save(tampered, path)

    monkeypatch.setitem(exporter.WRITERS, "onnx", write_another)
    assert export(model, "--out", tmp_path / "out" / "fpn.onnx") == 2
    assert "differs from torch at 160x160" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", 2], "one image at a time"),
        (["--batch", 0, "--part", "backbone"], "--batch 0: give 1 or more"),
        (["--input", "16x64"], "both sides must be 32 or more"),
        (["--calibration", "."], "is for --int8 static"),
        (["--int8", "static", "--format", "openvino"], "--int8 is for --format onnx"),
        (["--out", "model.xml"], "ends in .onnx"),
    ],
)
def test_contradictions_are_refused(
    models: dict[str, Model],
    capsys: pytest.CaptureFixture[str],
    more: list[object],
    message: str,
) -> None:
    assert export(models["fpn"], *more) == 2
    assert message in capsys.readouterr().err


def test_coreml_is_refused_in_the_order_in_which_it_can_be_mended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(name: str, *more: str) -> str:
        config = DEMO / f"{name}_shapes.py"  # no weights there, and none looked for
        assert main(["export", str(config), "none.pth", "--format", "coreml", *more]) == 2
        return capsys.readouterr().err

    monkeypatch.setitem(sys.modules, "coremltools", None)
    assert "detectors cannot be written; export --part backbone" in refusal(
        "retinanet_casvit-mini_fpn"
    )
    for arguments in (("fpn_casvit-mini",), ("retinanet_casvit-mini_fpn", "--part", "backbone")):
        assert 'pip install "casvit-dense[coreml]"' in refusal(*arguments)
    monkeypatch.setitem(sys.modules, "coremltools", ModuleType("coremltools"))
    assert "add --dynamic none --input HxW" in refusal("fpn_casvit-mini")
    assert "none.pth" in refusal("fpn_casvit-mini", "--dynamic", "none")


def test_a_missing_package_is_named(
    models: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = models["fpn"]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(model, "--out", tmp_path / "fpn.onnx") == 2
    assert 'pip install "casvit-dense[export]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(models: dict[str, Model]) -> None:
    model = models["fpn"]
    before = model.exported.read_bytes()
    assert export(model, "--out", model.exported) == 2
    assert model.exported.read_bytes() == before


def test_another_model_or_class_list_is_refused(
    models: dict[str, Model], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models["mask-rcnn"]
    foreign = models["fpn"].exported
    assert main(["predict", *model.arguments(model.data, file=foreign)]) == 2
    with pytest.raises(UserError, match="exported from the config tiny-fpn"):
        Predictor(model.config, foreign)
    options = {"test_dataloader.dataset.metainfo.classes": ("a", "b", "c")}
    with pytest.raises(UserError, match=r"knows 3 classes \(circle"):
        Predictor(model.config, model.exported, cfg_options=options)
    with pytest.raises(UserError, match="no effect on an exported file"):
        Predictor(model.config, model.exported, cfg_options={"model.test_cfg.score_thr": 0.5})
    with pytest.raises(UserError, match="an exported file runs on the CPU"):
        Predictor(model.config, model.exported, "meta")
    more = ("--data-root", model.data, "--work-dir", tmp_path)
    assert main(["test", *model.arguments(*more, file=foreign)]) == 2
    assert "exported from the config tiny-fpn" in capsys.readouterr().err


def test_a_foreign_onnx_file_is_refused(models: dict[str, Model], tmp_path: Path) -> None:
    bare = onnx.load(models["fpn"].exported)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(UserError, match="does not describe itself"):
        ExportedModel(str(tmp_path / "bare.onnx"))


# ---- the other forms


@pytest.mark.parametrize(
    ("form", "suffix", "refusal"),
    [
        pytest.param("openvino", ".xml", "holds a backbone", marks=pytest.mark.slow),  # two traces
        ("torch-export", ".pt2", "holds pickled objects"),
    ],
)
def test_backbone_in_other_formats(
    models: dict[str, Model], tmp_path: Path, form: str, suffix: str, refusal: str
) -> None:
    if form == "openvino":
        pytest.importorskip("openvino")
    file = tmp_path / f"b{suffix}"
    more = ("--part", "backbone", "--format", form, "--out", file, "--input", "64x96")
    assert export(models["fpn"], *more) == 0
    description = read_description(file)
    assert description.part == "backbone" and description.normalisation == "caller"
    assert list(description.outputs) == ["stride4", "stride8"]
    with pytest.raises(UserError, match=refusal):
        ExportedModel(str(file))


def test_static_int8_stores_8_bits_and_reports_its_cost(
    models: dict[str, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = models["fpn"], tmp_path / "int8.onnx"

    def write_again(graph: nn.Module, path: Path, *rest: object) -> None:
        shutil.copy(model.exported, path)

    monkeypatch.setitem(exporter.WRITERS, "onnx", write_again)
    messages: list[str] = []
    options = exporter.ExportOptions(
        out=file,
        data_root=str(model.data),
        int8="static",
        size=(96, 128),
        cfg_options={"model.test_cfg.mode": "whole"},  # for the export, not for evaluating it
    )
    exporter.export(model.config, model.checkpoint, options, log=messages.append)
    assert re.search(r"mIoU: [\d.]+ -> [\d.]+", "\n".join(messages))
    kernels = [x for x in onnx.load(file).graph.initializer if len(x.dims) == 4]
    stored = {name: sum(x.data_type == name for x in kernels) for name in (FLOAT, INT8)}
    assert stored[INT8] > 0.9 * len(kernels) > 10, stored
    assert read_description(file).precision == "int8 static"
    assert [path for path in tmp_path.iterdir() if path.suffix != ".sqlite"] == [file]
