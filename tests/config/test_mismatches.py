"""Data that are not those of the config or the checkpoint, and images without truth."""

import json
import re
from pathlib import Path

import pytest
from demo_runs import CONFIGS, Runs, config_of, options_of, save_lively
from mmengine.config import Config

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.formats import known_classes
from casvit_dense.cli import main
from casvit_dense.config.mismatches import compare_classes, foreign_data, same_as_training
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.options import RunOptions
from casvit_dense.results.ledger import read_ledger


def test_other_class_names_are_said_everywhere(
    runs: Runs, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = options_of("fpn", shapes, tmp_path / "names")
    names = ("background", "ball", "square", "triangle")
    options.cfg_options["test_dataloader.dataset.metainfo.classes"] = names
    evaluate(config_of("fpn"), runs["fpn"], options)
    expected = "1 of 4 classes have other names .* by number: circle / ball"
    assert re.search(f"^note: {expected}", capsys.readouterr().out, re.MULTILINE)
    content = json.loads((find_evaluation(tmp_path / "names") / "metrics.json").read_text())
    (row,), _ = read_ledger(tmp_path / "results.jsonl")
    assert re.search(expected, content["remarks"][0])
    assert row.remarks[0] == content["remarks"][0]


def test_classes_are_compared() -> None:
    assert compare_classes(None, ["a"], "x") == compare_classes(["a"], ("a",), "x") == []
    (line,) = compare_classes(["b", "a"], ["a", "b"], "x")
    assert "in another order" in line
    with pytest.raises(UserError, match=r"x knows 1 classes \(a\), config and data have 2"):
        compare_classes(["a"], ["a", "b"], "x")


def test_checkpoints_from_elsewhere_know_their_classes(runs: Runs) -> None:
    content = read_checkpoint(runs["fpn"])
    del content["meta"]["model"]
    classes = ["background", "circle", "square", "triangle"]
    assert known_classes(content) == classes  # as mmengine writes them
    assert known_classes({"meta": {"CLASSES": ("a", "b")}}) == ["a", "b"]  # mmcv 1
    assert known_classes({"meta": None}) is known_classes({}) is None


def test_testing_on_the_training_data_is_said(shapes: Path) -> None:
    cfg = resolve(config_of("fpn"), RunOptions(data_root=str(shapes / "ade"))).config
    assert same_as_training(cfg) == []
    cfg.test_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
    assert "are the training data" in same_as_training(cfg)[0]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py", "ADE20K"),
        ("retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py", "COCO"),
    ],
)
def test_recipes_on_other_data_are_named(config: str, name: str) -> None:
    cfg: Config = read_config(CONFIGS / config)
    whole = {"ADE20K": (20_210, 2_000), "COCO": (117_266, 5_000)}[name]
    for loader, count in zip(("train_dataloader", "test_dataloader"), whole, strict=True):
        assert foreign_data(cfg, loader, range(count)) == []
        (line,) = foreign_data(cfg, loader, range(367))
        assert f"the config is for {name}" in line and "--data PATH" in line
        cfg[loader].dataset.metainfo = dict(classes=("a",))
        assert foreign_data(cfg, loader, range(367)) == []


@pytest.mark.parametrize("task", ["retinanet", "mask-rcnn"])
def test_predictions_of_images_without_truth(
    task: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As COCO's test-dev: a file with images and categories alone."""
    content = json.loads((shapes / "coco/annotations/instances_val2017.json").read_text())
    del content["annotations"]
    file = tmp_path / "image_info.json"
    file.write_text(json.dumps(content))
    checkpoint = save_lively(task, tmp_path / "lively.pth")
    options = options_of(task, shapes, tmp_path / f"{task}-format")
    options.cfg_options |= {
        "test_dataloader.dataset.ann_file": str(file),
        "test_evaluator.ann_file": str(file),
    }
    with pytest.raises(UserError):
        evaluate(config_of(task), checkpoint, options)
    options.format_only = True
    assert evaluate(config_of(task), checkpoint, options) == {}
    (folder,) = (tmp_path / f"{task}-format/test").iterdir()
    kinds = ["bbox"] if task == "retinanet" else ["bbox", "segm"]
    assert sorted(p.name for p in folder.glob("*.json")) == [
        f"predictions.{kind}.json" for kind in kinds
    ]
    for kind in kinds:
        found = json.loads((folder / f"predictions.{kind}.json").read_text())
        assert {r["image_id"] for r in found} <= {i["id"] for i in content["images"]}
        assert found and {"image_id", "category_id", "score"} <= found[0].keys()
    assert not (tmp_path / "results.jsonl").exists()
    assert "predicted in" in capsys.readouterr().out


def test_maps_have_no_results_format(
    runs: Runs, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["test", config_of("fpn"), runs["fpn"], "--data-root", shapes / "ade"]
    more = ["--format-only", "--work-dir", tmp_path / "work"]
    assert main([str(word) for word in [*words, *more]]) == 2
    assert "casvit-dense predict writes maps" in capsys.readouterr().err
