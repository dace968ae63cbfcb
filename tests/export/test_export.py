"""Whole models as files: beside torch, as a user runs them."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from exported_models import TRACED, Model, data_of, export, picture, write_model
from mmengine.config import Config
from onnx_files import write_identity

from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.cli import main
from casvit_dense.deploy import fuse
from casvit_dense.evaluations import find_evaluation
from casvit_dense.export import writers
from casvit_dense.export.check import compare_detections, compare_segments, sample_of
from casvit_dense.export.description import read_description
from casvit_dense.export.exporter import describe
from casvit_dense.export.graphs import graph_of
from casvit_dense.export.model import ExportedModel, predict_image
from casvit_dense.export.runtime import open_runtime
from casvit_dense.predictor import Predictor
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.lines import row_id

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

EXAMPLE = str(Path(__file__).parents[2] / "docs" / "examples" / "run_onnx.py")


@pytest.mark.parametrize("name", TRACED)
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


def test_the_graph_of_retinanet_computes_what_torch_predicts(shapes: Path, tmp_path: Path) -> None:
    """The module that would be traced, in torch: one second instead of the half minute."""
    config, checkpoint = write_model("retinanet", tmp_path)
    data = str(data_of("retinanet", shapes))
    predictor = Predictor(config, checkpoint, "cpu", data_root=data)
    graph = graph_of(fuse(predictor.model))
    description = describe(predictor, graph, torch.rand(1, 3, 96, 128), dynamic=True, fused=True)

    def run(array: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in graph(torch.from_numpy(array))]

    for size in ((96, 128), (73, 81)):
        torchs, own = (sample_of("detector", picture(*size)) for _ in range(2))
        with torch.no_grad():
            (expected,) = predictor.model.test_step(torchs)
            found = predict_image(run, own["inputs"][0], own["data_samples"][0], description)
        outcome = compare_detections(expected, found, 0.05, 100)
        assert outcome.good and outcome.compared > 5, outcome.text


@pytest.mark.parametrize("name", TRACED)
def test_a_file_evaluates_as_its_checkpoint(
    models: dict[str, Model], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models[name]
    files = {"torch": model.checkpoint, "onnxruntime": model.exported}
    if name == "fpn" and find_spec("openvino"):
        # Made of the ONNX file that is there already: tracing again would give the same.
        monkeypatch.setattr(
            writers, "write_onnx", lambda graph, path, *rest: shutil.copy(model.exported, path)
        )
        files["openvino"] = tmp_path / "fpn.xml"
        more = ("--format", "openvino", "--out", files["openvino"], "--input", "96x128")
        assert export(model, *more) == 0
    contents, predictions = {}, {}
    for backend, file in files.items():
        work_dir = tmp_path / backend
        more = ("--data-root", model.data, "--work-dir", work_dir)
        assert main(["test", *model.arguments(*more, file=file)]) == 0
        folder = find_evaluation(work_dir)
        contents[backend] = json.loads((folder / "metrics.json").read_text())
        predictions[backend] = written_predictions(folder)
    of_checkpoint, *of_files = read_ledger(tmp_path / "results.jsonl")[0]
    for row, backend in zip(of_files, list(files)[1:], strict=True):
        content = contents[backend]
        assert predictions[backend] == pytest.approx(predictions["torch"], abs=2e-3)
        assert content["metrics"] == pytest.approx(contents["torch"]["metrics"], abs=1e-3)
        conditions = content["conditions"]
        assert conditions["weights_sha256"] == contents["torch"]["conditions"]["weights_sha256"]
        assert (conditions["form"], conditions["backend"]) == ("exported", backend)
        assert conditions["fused"] is True
        assert (row.form, row.backend, row.precision) == ("fused", backend, "fp32")
        assert row.weights.sha256 == file_sha256(files[backend])
        assert row.weights.source_sha256 == of_checkpoint.weights.sha256
        assert row.config_sha256 == of_checkpoint.config_sha256
        assert row_id(row) == content["row"]


def written_predictions(folder: Path) -> list[float]:
    """Scores of the detections in order, or the share of each class: never nothing."""
    maps = sorted(folder.glob("maps/*.png"))
    if maps:
        pixels = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in maps])
        return (np.bincount(pixels.ravel(), minlength=8) / pixels.size).tolist()
    scores = [row["score"] for row in json.loads((folder / "predictions.bbox.json").read_text())]
    assert len(scores) > 20
    return sorted(scores)


def test_predict_works_from_a_work_directory_after_test(
    models: dict[str, Model], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An evaluation must not replace the config that training wrote there."""
    model, work_dir = models["fpn"], tmp_path / "work"
    work_dir.mkdir()
    config = work_dir / model.config.name
    Config.fromfile(model.config).dump(config)
    before = config.read_bytes()
    arguments = [str(config), str(model.exported)]
    more = ["--data-root", str(model.data), "--work-dir", str(work_dir)]
    assert main(["test", *arguments, *more]) == 0
    assert config.read_bytes() == before
    images = str(model.data / "images" / "validation")
    capsys.readouterr()
    assert main(["predict", *arguments, images, "--out", str(tmp_path / "out")]) == 0
    assert "predicted 5 images (0 skipped)" in capsys.readouterr().out


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
    exported = ExportedModel(str(model.exported))
    exported.runtime = open_runtime(model.exported, "openvino", threads=1)
    (found,) = exported.test_step(batch)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "run_onnx.py MODEL.onnx IMAGE"),
        (("backbone.onnx", "image.png"), "backbone.onnx is not a whole model"),
        (("model.onnx", "text.png"), "text.png is not an image"),
    ],
)
def test_the_example_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    for part in ("backbone", "model"):
        write_identity(tmp_path / f"{part}.onnx", {"part": json.dumps(part)})
    (tmp_path / "text.png").write_text("no image")
    done = subprocess.run(
        [sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["mask-rcnn", "fpn"])
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
