"""Evaluation of all three tasks: what it leaves, in which folder, by how many processes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from demo_runs import SMALL, TASKS, Runs, config_of, log_of, options_of, save_lively, take_as_truth
from exported_models import Models
from processes import run_together
from torch.nn.modules.batchnorm import _BatchNorm

from casvit_dense import evaluations
from casvit_dense.cli import main
from casvit_dense.deploy import fuse
from casvit_dense.engine import runner
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation, finish_evaluation, new_evaluation
from casvit_dense.options import RunOptions
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.lines import row_id

Copied = Callable[[str], Path]


def slow(*tasks: str) -> list[Any]:
    return [pytest.param(task, marks=pytest.mark.slow) for task in tasks]


@pytest.mark.parametrize("task", ["retinanet", "fpn", *slow("mask-rcnn")])
def test_evaluation_leaves_metrics_conditions_and_predictions(
    task: str, runs: Runs, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = options_of(task, shapes, tmp_path / "work")
    options.classwise = True
    checkpoint = runs[task]
    capsys.readouterr()
    metrics = evaluate(config_of(task), checkpoint, options)
    folder = find_evaluation(tmp_path / "work")
    left = json.loads((folder / "metrics.json").read_text())
    assert left["metrics"] == pytest.approx(metrics)
    assert TASKS[task][2] in metrics
    conditions = left["conditions"]
    assert conditions["images"] == 5
    assert conditions["batch_size"] == (1 if task == "fpn" else 4)
    assert conditions["dataset"]["data_root"] == options.data_root
    assert conditions["dataset"]["pipeline"][1]["scale"] == list(SMALL)
    assert conditions["device"]
    assert conditions["coco_backend"] == (None if task == "fpn" else "faster-coco-eval")
    assert conditions["versions"]["torch"] == torch.__version__
    assert len(conditions["weights_sha256"]) == 64
    kinds = {"retinanet": ["bbox"], "mask-rcnn": ["bbox", "segm"], "fpn": ["IoU", "Acc"]}[task]
    assert list(left["per_class"]) == kinds
    if task == "fpn":
        assert len(list((folder / "maps").glob("*.png"))) == 5
    else:
        assert len(metrics) == 12 * len(kinds)
        for kind in kinds:
            assert isinstance(json.loads((folder / f"predictions.{kind}.json").read_text()), list)

    shown = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith("evaluation batch 1 of"))
    facts = [line[:13].strip() for line in shown[:first]]
    assert facts == ["config", "model", "weights", "device", "data", "log file"]
    count = 1 if task == "fpn" else 2 * len(kinds)
    assert sum(line.endswith("(percent)") for line in shown) == count
    assert sum(line.endswith(" by class, percent:") for line in shown) == len(kinds)
    assert shown[-2].startswith("evaluated in ")
    assert shown[-2].endswith(f" s: {folder / 'metrics.json'}")
    assert shown[-1] == f"row {left['row']} added to {tmp_path / 'results.jsonl'}"
    log = log_of(folder)
    assert all(line in log for line in shown)
    assert "System environment:" in log


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_evaluations_leave_the_training_and_each_other_alone(
    copied: Copied, shapes: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint twice, then an exported file; after it, the training's own config predicts.

    All of them within the second by which mmengine names runs.
    """
    clock = SimpleNamespace(
        time=time.time, localtime=time.localtime, strftime=lambda *args: "20261128_101530"
    )
    monkeypatch.setattr("mmengine.runner.runner.time", clock)
    checkpoint = copied("fpn")
    work_dir = checkpoint.parent
    before = contents(work_dir)
    options = options_of("fpn", shapes, work_dir)
    folders = []
    exported = replace(options, cfg_options={"experiment_name": "exported"})
    for config, file, how in (
        (config_of("fpn"), checkpoint, options),
        (config_of("fpn"), checkpoint, options),
        (models["fpn"].config, models["fpn"].exported, exported),
    ):
        evaluate(config, file, how)
        folders.append(find_evaluation(work_dir))
        now = contents(work_dir)
        assert {path: now[path] for path in before} == before
        before = now
        left = [path.name for path in folders[-1].iterdir()]
        assert {config.name, "metrics.json", "maps"} < set(left)
        assert list(folders[-1].glob("*/*.log"))
    assert folders == sorted(set(folders))
    rows, _ = read_ledger(work_dir.parent / "results.jsonl")
    assert [work_dir.parent / row.folder for row in rows] == folders

    written = work_dir / config_of("fpn").name
    image = next((shapes / "coco/val2017").iterdir())
    assert main(["predict", str(written), str(checkpoint), str(image), "--out", str(work_dir)]) == 0


def test_the_newest_finished_evaluation_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(evaluations.datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            return cls(2026, 11, 27, 14, 15, 30)

    monkeypatch.setattr(evaluations, "datetime", Clock)
    assert find_evaluation(tmp_path) == tmp_path
    names = ["20261127T141530Z", "20261127T141530Z-02", "20261127T141530Z-03"]
    begun = [new_evaluation(tmp_path) for _ in names]
    assert begun == [tmp_path / "test" / f".{name}" for name in names]
    (begun[2] / "metrics.json").touch()
    assert find_evaluation(tmp_path / "test") == tmp_path / "test"  # none has finished
    (begun[0] / "config.py").write_text(f"work_dir = '{begun[0]}'")
    folders = [finish_evaluation(folder) for folder in begun]
    assert folders == [tmp_path / "test" / name for name in names]
    assert (folders[0] / "config.py").read_text() == f"work_dir = '{folders[0]}'"
    (folders[2] / "metrics.json").unlink()
    assert new_evaluation(tmp_path).name == ".20261127T141530Z-04"
    (tmp_path / "test/metrics.json").touch()  # by an earlier version
    assert find_evaluation(tmp_path) == find_evaluation(tmp_path / "test") == tmp_path / "test"
    for folder in folders[:2]:
        (folder / "metrics.json").touch()
        assert find_evaluation(tmp_path) == find_evaluation(tmp_path / "test") == folder
    assert find_evaluation(folders[0]) == folders[0]


def test_an_evaluation_that_fails_leaves_no_folder(
    runs: Runs, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        assert list((tmp_path / "work/test").glob(".2*/maps"))  # where it is all written
        raise UserError("no more")

    options = options_of("fpn", shapes, tmp_path / "work")
    monkeypatch.setattr(runner.DenseRunner, "test", broken)
    with pytest.raises(UserError, match="no more"):
        evaluate(config_of("fpn"), runs["fpn"], options)
    assert list((tmp_path / "work/test").iterdir()) == []


@pytest.fixture(scope="module")
def detecting(
    request: pytest.FixtureRequest, shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """A task, a checkpoint that detects something, and data on which its AP is well above 0."""
    task, folder = request.param, tmp_path_factory.mktemp("detecting")
    checkpoint = save_lively(task, folder / "lively.pth")
    if task == "fpn":
        return task, checkpoint, shapes / "ade"
    evaluate(config_of(task), checkpoint, options_of(task, shapes, folder / f"{task}-truth"))
    kind = "segm" if task == "mask-rcnn" else "bbox"
    predictions = find_evaluation(folder / f"{task}-truth") / f"predictions.{kind}.json"
    return task, checkpoint, take_as_truth(predictions, shapes, folder / "truth")


def check_not_trivial(task: str, metrics: dict[str, float]) -> None:
    assert metrics[TASKS[task][2]] > (10 if task == "fpn" else 0.15), metrics


# Deploy's tests compare the forms of every head; here the option is looked at.
@pytest.mark.parametrize("detecting", ["fpn", *slow("retinanet", "mask-rcnn")], indirect=True)
def test_fused_form_gives_the_same_metrics(
    detecting: tuple[str, Path, Path],
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, checkpoint, data_root = detecting
    fused = []
    monkeypatch.setattr(runner, "fuse", lambda model: fused.append(fuse(model)) or fused[0])
    found = {}
    for form in ("reference", "fused"):
        options = options_of(task, shapes, tmp_path / f"{task}-{form}")
        options.data_root, options.fuse = str(data_root), form == "fused"
        found[form] = evaluate(config_of(task), checkpoint, options)
        folder = find_evaluation(tmp_path / f"{task}-{form}")
        left = json.loads((folder / "metrics.json").read_text())
        assert left["conditions"]["form"] == form
    check_not_trivial(task, found["reference"])
    assert found["fused"] == pytest.approx(found["reference"], abs=2e-3)
    assert not any(isinstance(m, _BatchNorm) for m in fused[0].backbone.network.modules())


# Boxes and maps prove it; masks take as long as both.
@pytest.mark.parametrize("detecting", ["retinanet", "fpn", *slow("mask-rcnn")], indirect=True)
def test_two_processes_evaluate_as_one(
    detecting: tuple[str, Path, Path], shapes: Path, tmp_path: Path
) -> None:
    """Five images over two processes: the sixth place is filled up and must not count."""
    task, checkpoint, data_root = detecting
    options = options_of(task, shapes, tmp_path / f"{task}-processes")
    options.data_root, options.command = str(data_root), "casvit-dense test …"
    alone = evaluate(config_of(task), checkpoint, options)
    check_not_trivial(task, alone)
    options.launcher = "pytorch"

    def work() -> int:
        evaluate(config_of(task), checkpoint, options)
        return 0

    codes = run_together(work, 2, tmp_path)
    speaking, silent = ((tmp_path / f"rank{rank}.log").read_text() for rank in range(2))
    assert codes == [0, 0], speaking[-2000:]
    assert len(re.findall(r"^config ", speaking, re.MULTILINE)) == 1
    assert "config " not in silent and "evaluated in" not in silent
    spoken = [line for line in speaking.splitlines() if not line.startswith("[")]  # gloo's own
    assert 5 <= len(spoken) <= 18, speaking  # four of them notes on figures of one class
    rows, rejected = read_ledger(tmp_path / "results.jsonl")
    assert rejected == []
    one, two = (json.loads((tmp_path / row.folder / "metrics.json").read_text()) for row in rows)
    # One row and one folder of each run, whatever its processes.
    assert len(list((tmp_path / f"{task}-processes/test").iterdir())) == 2
    assert [row.processes for row in rows] == [1, 2]
    assert [row_id(row) for row in rows] == [one["row"], two["row"]]
    assert one["conditions"]["images"] == two["conditions"]["images"] == 5
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-9)
    assert rows[1].command == "torchrun --nproc_per_node 2 -m casvit_dense test …"
    assert rows[0].dataset == rows[1].dataset


def test_what_the_first_process_cannot_write_stops_both(
    runs: Runs, shapes: Path, tmp_path: Path
) -> None:
    """The other one would wait for it for half an hour."""
    flags = ["--data-root", shapes / "ade", "--work-dir", tmp_path / "work", "--ledger", tmp_path]
    arguments = ["test", config_of("fpn"), runs["fpn"], "--launcher", "pytorch", *flags]
    codes = run_together(lambda: main([str(a) for a in arguments]), 2, tmp_path)
    assert codes == [2, 2]
    assert "is a folder; give a file" in (tmp_path / "rank0.log").read_text()
    assert not (tmp_path / "work").exists()


@pytest.mark.slow  # processes of torchrun import everything again
def test_torchrun_evaluates(shapes: Path, tmp_path: Path) -> None:
    checkpoint = save_lively("fpn", tmp_path / "lively.pth")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", "2", "-m", "casvit_dense", "test"),
        *(config_of("fpn"), checkpoint, "--launcher", "pytorch", "--work-dir", tmp_path / "work"),
        *("--data-root", shapes / "ade"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [str(c) for c in command], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,), _ = read_ledger(tmp_path / "results.jsonl")
    assert row.processes == 2
    assert row.command.startswith("torchrun --nproc_per_node 2 -m casvit_dense test ")


def test_checkpoint_of_another_model_is_refused(
    runs: Runs, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    flags = ["--data-root", shapes / "ade", "--work-dir", tmp_path / "refused"]
    arguments = ["test", config_of("fpn"), runs["retinanet"], *flags]
    assert main([str(argument) for argument in arguments]) == 2
    assert runs["retinanet"].name in capsys.readouterr().err
    assert not list(tmp_path.glob("results.jsonl*"))  # neither an empty ledger nor its lock


def test_a_work_dir_that_cannot_be_made_is_a_user_error(
    runs: Runs, shapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    options = options_of("fpn", shapes, tmp_path / "file" / "below")
    options.ledger = tmp_path / "results.jsonl"
    with pytest.raises(UserError, match="work directory .* cannot be written"):
        evaluate(config_of("fpn"), runs["fpn"], options)


def test_a_config_without_test_data_is_refused(tmp_path: Path, runs: Runs) -> None:
    config = tmp_path / "trained.py"
    config.write_text(f"_base_ = {str(config_of('fpn'))!r}\ntest_dataloader = None\n")
    with pytest.raises(UserError, match="cannot be evaluated: it has no test_dataloader"):
        evaluate(config, runs["fpn"], RunOptions(work_dir=tmp_path))
