"""Checkpoints and exported files that know their config, and what of it is believed."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_runs import Runs, config_of, options_of
from exported_models import Models
from hostile_files import STATES

from casvit_dense.checkpoint import convert, read_checkpoint
from casvit_dense.cli import main
from casvit_dense.cli.arguments import config_and_checkpoint
from casvit_dense.cli.parser import parse
from casvit_dense.config.kept import from_plain, kept_config, to_plain
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.options import RunOptions
from casvit_dense.predictor import Predictor
from casvit_dense.results.ledger import read_ledger

Copied = Callable[[str], Path]
DETECTORS = ("retinanet", "mask-rcnn")


@pytest.mark.parametrize(
    "task", ["fpn", *(pytest.param(task, marks=pytest.mark.slow) for task in DETECTORS)]
)
def test_a_checkpoint_alone_is_evaluated_as_with_its_config(
    task: str, copied: Copied, shapes: Path, tmp_path: Path
) -> None:
    checkpoint = copied(task)
    options = options_of(task, shapes, checkpoint.parent)
    expected = evaluate(config_of(task), checkpoint, options)
    alone = RunOptions(cfg_options={"experiment_name": f"{task}-alone"})
    assert evaluate(None, checkpoint, alone) == expected
    rows, _ = read_ledger(tmp_path / "results.jsonl")
    given, kept = rows
    assert kept.recipe_sha256 == given.recipe_sha256 == given.training.recipe_sha256
    for name in ("config", "config_sha256", "pipeline_sha256", "dataset", "metrics"):
        assert getattr(kept, name) == getattr(given, name)
    # In the work directory of the training, though the file does not say where that is.
    assert len(list((checkpoint.parent / "test").iterdir())) == 2


def test_the_kept_config_has_the_tuples_and_lists_of_the_resolved_one(
    runs: Runs, shapes: Path
) -> None:
    kept = kept_config(runs["retinanet"])
    given = resolve(config_of("retinanet"), options_of("retinanet", shapes, Path("x"))).recipe
    for name in ("model", "test_dataloader", "param_scheduler", "test_evaluator"):
        found, expected = kept.to_dict()[name], given[name]
        assert found == expected
    assert isinstance(kept.test_dataloader.dataset.pipeline[1].scale, tuple)
    assert isinstance(kept.model.neck.in_channels, list)
    value = {"a": (1, [2.5, (None, True)]), "b": "text"}
    assert from_plain(json.loads(json.dumps(to_plain(value)))) == value
    with pytest.raises(TypeError):
        to_plain({"a": [object()]})


def test_it_says_its_classes(runs: Runs) -> None:
    record = read_checkpoint(runs["fpn"])["meta"]["model"]
    assert record["classes"] == ["background", "circle", "square", "triangle"]
    assert record["name"] == config_of("fpn").stem
    (best,) = runs["fpn"].parent.glob("best_*.pth")
    assert read_checkpoint(best)["meta"]["model"] == record


def test_converted_files_keep_it(runs: Runs, shapes: Path, tmp_path: Path) -> None:
    image = next((shapes / "coco/val2017").iterdir())
    scale = {"test_dataloader.dataset.pipeline.1.scale": (64, 64)}
    given = Predictor(config_of("retinanet"), runs["retinanet"], "cpu", scale).predict(image)
    for name in ("converted.pth", "converted.safetensors"):
        convert(runs["retinanet"], tmp_path / name)
        found = Predictor(None, tmp_path / name, "cpu").predict(image)
        assert torch.equal(found.pred_instances.scores, given.pred_instances.scores)


@pytest.mark.slow  # the export
def test_predict_and_export_take_it_alone(
    copied: Copied, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = copied("fpn")
    image = next((shapes / "coco/val2017").iterdir())
    assert main(["predict", str(checkpoint), "--out", str(tmp_path / "out"), str(image)]) == 0
    exported = tmp_path / "model.onnx"
    flags = ["--out", str(exported), "--input", "64x64"]
    assert main(["export", str(checkpoint), *flags]) == 0
    assert main(["test", str(exported), "--work-dir", str(tmp_path / "exported")]) == 0
    assert main(["test", str(checkpoint), "--work-dir", str(tmp_path / "checkpoint")]) == 0
    files, weights = (
        json.loads((find_evaluation(tmp_path / name) / "metrics.json").read_text())["metrics"]
        for name in ("exported", "checkpoint")
    )
    assert files == pytest.approx(weights, abs=0.05)
    assert files["mIoU"] > 0


@pytest.mark.slow  # the export
def test_an_exported_file_of_a_config_without_training_is_tested_alone(
    models: Models, tmp_path: Path
) -> None:
    model = models["mask-rcnn"]
    assert main(["test", str(model.exported), "--work-dir", str(tmp_path / "work")]) == 0
    assert find_evaluation(tmp_path / "work").name != "work"


def test_a_config_of_another_model_is_said(
    runs: Runs, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    image = next((shapes / "coco/val2017").iterdir())
    words = ["predict", str(config_of("retinanet")), str(runs["fpn"]), str(image)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "keeps the config that it fits: give it alone" in capsys.readouterr().err
    content = torch.load(runs["fpn"], weights_only=False)
    next(iter(content["state_dict"].values())).fill_(torch.nan)
    torch.save(content, tmp_path / "diverged.pth")
    words = ["predict", str(config_of("fpn")), str(tmp_path / "diverged.pth"), str(image)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "not finite, as a diverged" in said and "keeps the config" not in said


def test_a_file_without_a_config_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "plain.pth")
    assert main(["test", str(tmp_path / "plain.pth")]) == 2
    error = capsys.readouterr().err
    assert "does not know its config" in error and f"CONFIG {tmp_path / 'plain.pth'}" in error


@pytest.fixture(scope="module")
def record(runs: Runs) -> dict[str, Any]:
    """What a checkpoint keeps of its model. Not to be changed."""
    return read_checkpoint(runs["fpn"])["meta"]["model"]


def keeping(record: dict[str, Any], file: Path) -> Path:
    """A checkpoint that keeps this, with as many numbers as its model has or more."""
    weights = {f"{layer}.weight": torch.zeros(100_000) for layer in range(20)}
    torch.save({"state_dict": weights, "meta": {"model": record}}, file)
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["model"].update(type="os.system"), "'os.system'"),
        (lambda config: config["model"].update(type="antigravity"), "'antigravity'"),
        (lambda config: config["model"].update(type="mmcv.convert_video"), "convert_video"),
        (
            lambda config: config["model"].update(plugins=[dict(type="CameraMotionCompensation")]),
            "CameraMotionCompensation",
        ),
        (lambda config: config["model"].update(nms=dict(type="exit()")), "'exit()'"),
        (
            lambda config: config["test_dataloader"]["dataset"].update(ann_file="/tmp/x.pkl"),
            "file '/tmp/x.pkl'",
        ),
        (lambda config: config.update(custom_imports=dict(imports=["antigravity"])), "antigravity"),
        (lambda config: config.update(custom_imports=dict(imports="casvit_dense/../x")), "needs"),
        (
            lambda config: config.update(custom_imports=dict(imports="casvit_dense.__main__")),
            "needs casvit_dense.__main__",
        ),
        (lambda config: config["model"].update(_scope_="os"), "_scope_ 'os'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_in_a_kept_config_is_run(
    change: Callable, message: str, record: dict[str, Any], tmp_path: Path
) -> None:
    file = keeping(record, tmp_path / "x.pth")
    assert kept_config(file)
    spoilt = deepcopy(record)
    change(spoilt["config"])
    keeping(spoilt, file)
    with pytest.raises(UserError, match="give CONFIG") as caught:
        kept_config(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("wrong", [{}, {"name": "../x"}, {"name": "x", "config": "import os"}])
def test_a_damaged_record_is_a_user_error(wrong: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give CONFIG"):
        kept_config(keeping(wrong, tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("test a.py b.pth", ("a.py", "b.pth", [])),
        ("test b.pth", (None, "b.pth", [])),
        ("test a.py --work-dir x b.onnx", ("a.py", "b.onnx", [])),
        ("test --work-dir x b.onnx", (None, "b.onnx", [])),
        ("predict a.yaml b.pth c.jpg d", ("a.yaml", "b.pth", ["c.jpg", "d"])),
        ("predict b.pth c.jpg d", (None, "b.pth", ["c.jpg", "d"])),
        ("predict b.pth c.jpg", (None, "b.pth", ["c.jpg"])),
        ("predict a.py b.pth --out x c.jpg", ("a.py", "b.pth", ["c.jpg"])),
        ("export b.pth --input 64", (None, "b.pth", [])),
    ],
)
def test_config_and_checkpoint_are_told_apart(words: str, expected: tuple) -> None:
    assert config_and_checkpoint(parse(words.split())) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("test a.py", "a.py is a config; give the checkpoint after it"),
        ("test b.pth a.py", "a.py: one checkpoint is expected, b.pth is taken for it"),
        ("test a.py b.pth c.pth", "c.pth: one checkpoint is expected"),
        ("predict a.py b.pth", "no images are given after a.py b.pth"),
    ],
)
def test_what_does_not_fit_is_said(words: str, message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_words_that_no_command_knows_are_refused(capsys: pytest.CaptureFixture) -> None:
    for words in (["doctor", "x", "y"], ["test", "a.pth", "--unknown"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kept imports a number", "is damaged"),
        ("kept config without a model", "is damaged"),
        ("kept loader a number", "is damaged"),
        ("kept data set a text", "is damaged"),
        ("kept channels below zero", "is damaged"),
        ("kept model of a terabyte", "larger than its weights"),
        ("kept depth of a billion", "larger than its weights"),
    ],
)
def test_a_kept_config_that_is_damaged_or_huge_is_refused(
    name: str, message: str, runs: Runs, tmp_path: Path
) -> None:
    content = torch.load(runs["fpn"], weights_only=False)
    STATES[name](tmp_path / "file.pth", content, tmp_path / "marker")
    with pytest.raises(UserError, match=message):
        kept_config(tmp_path / "file.pth")
