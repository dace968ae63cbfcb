"""Whole models as files: beside torch, as a user runs them."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from torch import nn

from casvit_dense.cli import main
from casvit_dense.engine.registries import use_scope_of
from casvit_dense.errors import UserError
from casvit_dense.export import job
from casvit_dense.export.agreement import compare_detections, compare_segments
from casvit_dense.export.onnx_file import OPSET
from casvit_dense.exported.description import read_description
from casvit_dense.exported.model import ExportedModel
from casvit_dense.predictor import Predictor

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CONFIGS = Path(__file__).parents[1] / "configs" / "demo"
EXAMPLE = str(Path(__file__).parents[1] / "docs" / "examples" / "run_onnx.py")
STEMS = {
    "retinanet": "retinanet_casvit-mini_fpn_shapes",
    "mask-rcnn": "mask-rcnn_casvit-mini_fpn_shapes",
    "fpn": "fpn_casvit-mini_shapes",
}


@dataclass(frozen=True)
class Model:
    """A demo config with random weights, its data, and the file it was exported to."""

    config: Path
    checkpoint: Path
    data: Path
    exported: Path
    said: str

    def arguments(self, *more: object, file: Path | None = None) -> list[str]:
        return list(map(str, (self.config, file or self.checkpoint, *more)))


def lively(model: nn.Module) -> nn.Module:
    """Random weights whose scores spread, so that thresholds and suppression have work to do."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if re.search(r"(rpn_|fc_)cls\.weight", name):
            nn.init.normal_(parameter, std=0.5)
        if "retina_cls.weight" in name:  # its bias starts low
            nn.init.normal_(parameter, std=0.1)
        if re.search(r"(retina|rpn|fc)_reg\.weight", name):
            nn.init.normal_(parameter, std=0.05)
    for name, statistic in model.named_buffers():  # norms that do something
        if name.endswith("running_mean"):
            statistic.normal_(std=0.2)
        if name.endswith("running_var"):
            statistic.uniform_(0.5, 2.0)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> dict[str, Model]:
    """All three heads, exported once by the command with its defaults."""
    folder = tmp_path_factory.mktemp("models")
    return {name: exported_model(name, folder, shapes) for name in STEMS}


def exported_model(name: str, folder: Path, shapes: Path) -> Model:
    config = CONFIGS / f"{STEMS[name]}.py"
    cfg = Config.fromfile(config)
    registry = __import__(f"{use_scope_of(cfg)}.registry").registry
    checkpoint = folder / f"{name}.pth"
    torch.save({"state_dict": lively(registry.MODELS.build(cfg.model)).state_dict()}, checkpoint)
    data = shapes / ("ade" if name == "fpn" else "coco")
    said: list[str] = []
    options = job.ExportOptions(out=folder / f"{name}.onnx", data_root=str(data), size=(96, 128))
    job.export(config, checkpoint, options, say=said.append)
    return Model(config, checkpoint, data, folder / f"{name}.onnx", "\n".join(said))


def picture(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


# ---- results


@pytest.mark.parametrize("name", STEMS)
def test_a_file_predicts_what_torch_predicts(models: dict[str, Model], name: str) -> None:
    # 160 pixels high or wide by the config's pipeline: sizes that nobody traced, and resizing.
    model = models[name]
    plain = Predictor(model.config, model.checkpoint, "cpu", data_root=str(model.data))
    exported = Predictor(model.config, model.exported, data_root=str(model.data))
    assert exported.labels == plain.labels
    for size in ((70, 90), (333, 111)):
        expected, found = (p.predict(picture(*size)) for p in (plain, exported))
        if name == "fpn":
            outcome = compare_segments(expected, found)
        else:
            outcome = compare_detections(expected, found, 0.05, 100)
            assert outcome.compared > 5
        assert outcome.good, outcome.text


@pytest.mark.parametrize(
    ("name", "suffix"), [*((name, ".onnx") for name in STEMS), ("fpn", ".xml")]
)
def test_a_file_evaluates_as_its_checkpoint(
    models: dict[str, Model], name: str, suffix: str, tmp_path: Path
) -> None:
    model = models[name]
    written = model.exported
    if suffix == ".xml":
        pytest.importorskip("openvino")
        written = tmp_path / "fpn.xml"
        assert export(model, "--format", "openvino", "--out", written, "--input", "96x128") == 0
    contents = []
    for file in (model.checkpoint, written):
        folder = tmp_path / f"run{file.suffix}"
        more = ("--data-root", model.data, "--work-dir", folder)
        assert main(["test", *model.arguments(*more, file=file)]) == 0
        contents.append(json.loads((folder / "test" / "metrics.json").read_text()))
    plain, exported = contents
    assert exported["metrics"] == pytest.approx(plain["metrics"], abs=1e-3)
    conditions = exported["conditions"]
    assert conditions["weights_sha256"] == plain["conditions"]["weights_sha256"]
    backend = {".onnx": "onnxruntime", ".xml": "openvino"}[suffix]
    assert (conditions["form"], conditions["backend"]) == ("exported", backend)
    assert conditions["fused"] is True


@pytest.mark.parametrize("name", ["mask-rcnn", "fpn"])
def test_openvino_reads_the_file(models: dict[str, Model], name: str) -> None:
    pytest.importorskip("openvino")
    model = models[name]
    data = Predictor(model.config, model.checkpoint, "cpu").pipeline(
        {"img": picture(70, 90), "img_id": 0}
    )
    batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
    (expected,) = ExportedModel(str(model.exported)).test_step(batch)
    expected = expected.clone()
    (found,) = ExportedModel(str(model.exported), "openvino", threads=1).test_step(batch)
    outcome = (
        compare_segments(expected, found)
        if name == "fpn"
        else compare_detections(expected, found, 0.05, 100)
    )
    assert outcome.good and outcome.compared > 5, outcome.text


def test_nothing_to_see_gives_no_masks(models: dict[str, Model]) -> None:
    model = models["mask-rcnn"]
    exported = Predictor(model.config, model.exported, data_root=str(model.data))
    exported.model.runtime = lambda array: [
        np.zeros((0, *rest), dtype)
        for rest, dtype in (((4,), "f4"), ((), "f4"), ((), "i8"), ((28, 28), "f4"))
    ]
    found = exported.predict(picture(70, 90)).pred_instances
    assert found.bboxes.shape == (0, 4) and found.masks.shape == (0, 70, 90)


@pytest.mark.parametrize("name", ["retinanet", "fpn"])
def test_the_example_needs_no_project(models: dict[str, Model], name: str, tmp_path: Path) -> None:
    model, image = models[name], tmp_path / "image.png"
    cv2.imwrite(str(image), picture(160, 160))  # the size that the pipeline resizes to
    block = "import sys; sys.modules.update(casvit_dense=None, torch=None); import runpy; "
    run = f"sys.argv = ['', {str(model.exported)!r}, {str(image)!r}]; runpy.run_path({EXAMPLE!r})"
    done = subprocess.run(
        [sys.executable, "-c", block + run], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    sample = Predictor(model.config, model.checkpoint, "cpu").predict(image)
    if name == "fpn":
        labels, counts = np.unique(sample.pred_sem_seg.data, return_counts=True)
        names = read_description(model.exported).classes
        share = {names[i]: f"{n / 160**2:.1%}" for i, n in zip(labels, counts, strict=True)}
        assert dict(re.findall(r"(\w+): ([\d.]+%)", done.stdout)) == share
    else:
        scores = [float(text) for text in re.findall(r"\w+ ([\d.]+) at", done.stdout)]
        assert scores == pytest.approx(sample.pred_instances.scores.tolist(), abs=6e-3)
        assert len(scores) > 5


# ---- description


def test_a_file_describes_itself(models: dict[str, Model]) -> None:
    model = models["mask-rcnn"]
    about = read_description(model.exported)
    assert about.config == STEMS["mask-rcnn"]
    assert about.classes == ["circle", "square", "triangle"] and about.category_ids == [1, 2, 3]
    assert (about.part, about.kind, about.dynamic, about.fused) == ("model", "detector", True, True)
    assert about.mean == pytest.approx([123.675, 116.28, 103.53]) and about.channel_order == "RGB"
    assert (about.pad_divisor, about.score_thr, about.mask_thr) == (32, 0.05, 0.5)
    assert about.resize == [160, 160]
    assert about.weights_sha256 == Predictor(model.config, model.checkpoint, "cpu").weights_sha256
    written = onnx.load(model.exported)
    assert [x.name for x in written.graph.output] == list(about.outputs)
    assert [x.name for x in written.graph.input] == [about.input_name]
    assert {x.domain: x.version for x in written.opset_import}[""] == OPSET


def test_the_command_says_what_it_compared(models: dict[str, Model]) -> None:
    said = models["retinanet"].said
    assert re.search(r"compared with torch at 96x128: \d+ detections, 0 without partner", said)
    assert "compared with torch at 73x81" in said  # no multiple of 32


# ---- what is refused


def export(model: Model, *more: object) -> int:
    return main(["export", *model.arguments("--data-root", model.data, *more)])


def test_a_gap_fails_the_command_and_leaves_nothing(
    models: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = models["fpn"]

    def write_another(graph: nn.Module, form: str, path: Path, *rest: object) -> None:
        tampered = onnx.load(model.exported)
        kernel = next(x for x in tampered.graph.initializer if len(x.dims) == 4 and x.dims[1] > 1)
        values = onnx.numpy_helper.to_array(kernel) * 1.05
        kernel.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), kernel.name))
        onnx.save(tampered, path)

    monkeypatch.setattr(job, "write_graph", write_another)
    assert export(model, "--out", tmp_path / "out" / "fpn.onnx") == 2
    assert "differs from torch at 160x160" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", 2], "one image at a time"),
        (["--input", "16x64"], "both sides must be 32 or more"),
        (["--format", "coreml"], "add --dynamic none"),
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


def test_a_missing_package_is_named(
    models: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(models["fpn"], "--out", tmp_path / "fpn.onnx") == 2
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
    model = models["retinanet"]
    foreign = models["mask-rcnn"].exported
    assert main(["predict", *model.arguments(CONFIGS, file=foreign)]) == 2
    with pytest.raises(UserError, match="exported from the config mask-rcnn"):
        Predictor(model.config, foreign)
    options = {"test_dataloader.dataset.metainfo.classes": ("a", "b", "c")}
    with pytest.raises(UserError, match=r"knows 3 classes \(circle"):
        Predictor(model.config, model.exported, cfg_options=options)
    with pytest.raises(UserError, match="no effect on an exported file"):
        Predictor(model.config, model.exported, cfg_options={"model.test_cfg.score_thr": 0.5})
    more = ("--data-root", model.data, "--work-dir", tmp_path)
    assert main(["test", *model.arguments(*more, file=foreign)]) == 2
    assert "exported from the config mask-rcnn" in capsys.readouterr().err


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
        ("openvino", ".xml", "holds a backbone"),
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
    about = read_description(file)
    assert about.part == "backbone" and about.normalisation == "caller"
    assert list(about.outputs) == ["stride4", "stride8", "stride16", "stride32"]
    with pytest.raises(UserError, match=refusal):
        ExportedModel(str(file))


def test_static_int8_is_smaller_and_says_what_it_costs(
    models: dict[str, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = models["fpn"], tmp_path / "int8.onnx"

    def write_again(graph: nn.Module, form: str, path: Path, *rest: object) -> None:
        shutil.copy(model.exported, path)

    monkeypatch.setattr(job, "write_graph", write_again)
    said: list[str] = []
    options = job.ExportOptions(
        out=file,
        data_root=str(model.data),
        int8="static",
        size=(96, 128),
        cfg_options={"model.test_cfg.mode": "whole"},  # for the export, not for evaluating it
    )
    job.export(model.config, model.checkpoint, options, say=said.append)
    assert re.search(r"mIoU: [\d.]+ -> [\d.]+", "\n".join(said))
    assert file.stat().st_size < 0.5 * model.exported.stat().st_size
    assert read_description(file).precision == "int8 static"
    assert list(tmp_path.iterdir()) == [file]
