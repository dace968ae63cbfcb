"""What `reproduce` does with what it finds; the steps leave their products at once."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from reproduce_bench import FPN, RETINANET, Bench, planned, row_of, save

from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.cli import main
from casvit_dense.config.resolve import resolve
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.reproduce import run as running
from casvit_dense.reproduce import state as states
from casvit_dense.reproduce.formatting import subsets, summary
from casvit_dense.reproduce.plan import PlannedModel, Settings, zoo_plan
from casvit_dense.reproduce.recipe import (
    Known,
    Recipe,
    count_images,
    count_parameters,
    read_truth,
    recipe_of,
)
from casvit_dense.reproduce.run import Job, show
from casvit_dense.reproduce.state import State
from casvit_dense.results.ledger import append_rows, read_ledger
from casvit_dense.results.row import Dataset, Weights

READ: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _files_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a config with bases from mmdet takes half a second, building anything a quarter."""

    def recipe(model: PlannedModel, settings: Settings) -> Recipe:
        key = repr((model, settings.gpus, settings.data_roots, settings.pretrained))
        if key not in READ:
            READ[key] = recipe_of(model, settings)
        return READ[key]

    def once(read: Callable[[Config], Any], part: str) -> Callable[[Config], Any]:
        def kept(cfg: Config) -> Any:
            key = repr((read.__name__, cfg[part]))
            if key not in READ:
                READ[key] = read(cfg)
            return READ[key]

        return kept

    monkeypatch.setattr(states, "recipe_of", recipe)
    monkeypatch.setattr(states, "read_truth", once(read_truth, "test_dataloader"))
    monkeypatch.setattr(states, "count_images", once(count_images, "train_dataloader"))
    monkeypatch.setattr(running, "count_parameters", once(count_parameters, "model"))


@pytest.fixture
def bench(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(planned(shapes, FPN), tmp_path / "w", monkeypatch)


def test_all_steps_run_in_order_and_never_again(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(planned(shapes, FPN, RETINANET, seeds=(0, 4)), tmp_path / "w", monkeypatch)
    assert bench.reproduce() == 0
    pairs = [(stem, seed) for seed in (0, 4) for stem in (FPN, RETINANET)]
    assert bench.steps.started == [(kind, *p) for p in pairs for kind in ("train", "test")]
    assert "[1 of 8] train fpn_casvit-mini_shapes, seed 0" in bench.text
    assert "reproduce: 4 of 4 runs have their row" in bench.text
    # 50 and 58: mean 54, sample deviation sqrt(2 * 4^2) = 5.657.
    (line,) = (line for line in bench.text.splitlines() if FPN in line and "mIoU" in line)
    assert line.split() == [FPN, "mIoU", "2", "54.00", "5.66", "-", "-"]
    assert bench.reproduce() == 0
    assert bench.steps.started == []
    assert len(read_ledger(bench.settings.rows)[0]) == 4


def test_a_dry_run_writes_nothing_and_says_what_is_there(bench: Bench, tmp_path: Path) -> None:
    (state,) = bench.look()
    save(state, 2)
    (state.run.work_dir / "iter_3.pth").write_bytes(b"half")
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    show(bench.plan, bench.settings, bench.lines.append)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    assert bench.steps.started == []
    assert "step 2 of 6, 1 damaged" in bench.text
    assert "1 train fpn_casvit-mini_shapes, seed 0: 1,198 steps of 1 x 8 images" in bench.text
    assert "no time of a step is known for 1 run" in bench.text


def test_a_dry_run_reckons_with_what_was_measured(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(planned(shapes, FPN, RETINANET), tmp_path / "w", monkeypatch)
    fpn, retinanet = bench.look()
    append_rows(bench.settings.rows, [row_of(fpn, save(fpn, 6), form="fused", duration_s=36.0)])
    log = retinanet.run.work_dir / "20260101_000000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"lr": 1, "time": 9}\n{"lr": 1, "time": 1.8}\n')
    show(bench.plan, bench.settings, bench.lines.append)
    lines = bench.text.rpartition("left to do:")[2].splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line}
    # The test alone is left: 36 s. Nine of ten images have objects: 2 steps of 8 in 20 epochs.
    assert cells[FPN][1:5] == ["0", "0", "-", "0.01"]
    assert cells[RETINANET][1:5] == ["0", "40", "1.800", "0.02"]
    assert "step of retinanet_casvit-mini_fpn_shapes: log in" in bench.text
    assert "evaluations are not in the hours of 1 run" in bench.text


@pytest.mark.parametrize("stem", [FPN, RETINANET])
def test_missing_data_stops_the_models_that_need_it(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    plan = planned(shapes, FPN, RETINANET)
    lost = [
        m.model_copy(update={"data_root": tmp_path / "none"}) if m.stem == stem else m
        for m in plan.models
    ]
    bench = Bench(plan.model_copy(update={"models": tuple(lost)}), tmp_path / "w", monkeypatch)
    assert bench.reproduce() == 1
    (other,) = {FPN, RETINANET} - {stem}
    assert [step[1] for step in bench.steps.started] == [other, other]
    assert "1 run: no " in bench.lines[-2] and "--data-root" in bench.lines[-2]
    assert "1 of 2 runs have their row" in bench.lines[-1]


def test_missing_and_damaged_weights_are_named_with_their_place(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(shapes, FPN)
    file = tmp_path / "weights.pth"
    (model,) = (m.model_copy(update={"pretrained": file}) for m in plan.models)
    bench = Bench(plan.model_copy(update={"models": (model,)}), tmp_path / "w", monkeypatch)
    for text in (f"no pretrained weights at {file}", f"weight file {file} is empty"):
        with pytest.raises(UserError, match="nothing can run"):
            bench.reproduce()
        assert text in bench.text
        file.touch()
    # What is half trained needs no weights any more.
    (state,) = bench.look()
    save(state, 2)
    assert bench.reproduce() == 0


def test_a_run_goes_on_where_it_stood(bench: Bench) -> None:
    (state,) = bench.look()
    save(state, 2)
    assert bench.look()[0].todo == ("train", "test")
    last = save(state, 6)
    assert bench.look()[0].todo == ("test",)
    append_rows(bench.settings.rows, [row_of(state, last)])
    assert bench.look()[0].todo == ()
    last.unlink()
    (state.run.work_dir / "iter_2.pth").unlink()
    assert bench.look()[0].todo == (), "who needs the disk may delete what was evaluated"


def test_damaged_checkpoints_are_set_aside_and_trained_again(bench: Bench) -> None:
    (state,) = bench.look()
    save(state, 2)
    half = save(state, 6)
    half.write_bytes(half.read_bytes()[:300])
    os.utime(half, (time.time() + 9,) * 2)
    assert bench.look()[0].progress.damaged == (half,)
    assert bench.reproduce() == 0
    assert bench.steps.started == [("train", FPN, 0), ("test", FPN, 0)]
    assert "iter_6.pth cannot be read; it is renamed to iter_6.pth.damaged" in bench.text
    assert half.with_name("iter_6.pth.damaged").stat().st_size == 300


def test_a_last_validation_that_was_broken_off_is_made_first(bench: Bench) -> None:
    (state,) = bench.look()
    last = save(state, 6)
    content = torch.load(last, weights_only=False)
    for validated, todo in ((4, ("train", "test")), (6, ("test",))):
        torch.save({**content, "message_hub": {"runtime_info": {"validated": validated}}}, last)
        assert bench.look()[0].todo == todo
    assert bench.reproduce() == 0


def test_the_only_checkpoint_may_be_damaged(bench: Bench) -> None:
    """`--resume auto` refuses a folder in which nothing can be read."""
    (state,) = bench.look()
    save(state, 2).write_bytes(b"")
    assert bench.reproduce() == 0
    assert not list(state.run.work_dir.glob("iter_2.pth"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "it was trained with seed 5"),
        ({"recipe_sha256": "0" * 64}, "it was trained by another recipe"),
        ({"images": 3}, "it was trained on 3 images, and the data set has 10"),
        ({"images": None}, "it was trained on an unknown number of images"),
        (None, "it does not say how it was trained"),
    ],
)
def test_a_folder_of_another_run_is_left_alone(
    bench: Bench, change: dict | None, message: str
) -> None:
    (state,) = bench.look()
    path = save(state, 6)
    content = torch.load(path)
    if change is None:
        del content["meta"]["training"]
    else:
        content["meta"]["training"] |= change
    torch.save(content, path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="nothing can run"):
        bench.reproduce()
    assert f"{path} is not of this plan: {message}" in bench.text
    assert path.read_bytes() == before and bench.steps.started == []


@pytest.mark.parametrize(
    "change",
    [
        {"config": "another"},
        {"config_sha256": "0" * 64},
        {"form": "fused"},
        {"backend": "onnxruntime"},
        {"training": None},
        {"weights": Weights(file="iter_6.pth", sha256="1" * 64)},
        {"dataset": Dataset(name="x", annotations_sha256="2" * 64, images=2, classes=3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_rows_of_others_do_not_count(bench: Bench, change: dict) -> None:
    (state,) = bench.look()
    last = save(state, 6)
    bench.settings.rows.write_text("no row\n")
    append_rows(bench.settings.rows, [row_of(state, last, **change)])
    assert bench.look()[0].todo == ("test",)
    assert bench.reproduce() == 0
    assert bench.steps.started == [("test", FPN, 0)]
    assert "line 1 is skipped" in bench.text
    assert [state.row.weights.sha256 for state in bench.look()] == [file_sha256(last)]


@pytest.mark.parametrize("changed", ["seed", "iterations", "recipe_sha256", "images"])
def test_a_row_without_its_checkpoint_must_be_of_the_whole_training(
    bench: Bench, changed: str
) -> None:
    (state,) = bench.look()
    last = save(state, 6)
    row = row_of(state, last)
    last.unlink()
    value = "0" * 64 if changed == "recipe_sha256" else 3
    other = row.training.model_copy(update={changed: value})
    append_rows(bench.settings.rows, [row.model_copy(update={"training": other})])
    assert bench.look()[0].todo == ("train", "test")
    append_rows(bench.settings.rows, [row])
    assert bench.look()[0].todo == ()


def test_a_row_whose_data_are_gone_counts_with_a_word(
    bench: Bench, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.reproduce() == 0 and "cannot be read" not in bench.text
    (model,) = bench.plan.models
    model = model.model_copy(update={"data_root": tmp_path / "gone"})
    gone = Bench(bench.plan.model_copy(update={"models": (model,)}), tmp_path / "w", monkeypatch)
    assert gone.reproduce() == 0 and gone.steps.started == []
    assert gone.text.count(f"compared with them:\n  {FPN}, seed 0") == 2, (
        "at the start and at the end"
    )
    tests_alone = tmp_path / "tests"
    for kind in ("images", "annotations"):
        (tests_alone / kind).mkdir(parents=True)
        (tests_alone / kind / "validation").symlink_to(shapes / "ade" / kind / "validation")
    model = model.model_copy(update={"data_root": tests_alone})
    plan = bench.plan.model_copy(update={"models": (model,)})
    (state,) = Bench(plan, tmp_path / "w", monkeypatch).look()
    assert state.row is not None and state.unchecked, "trained on who knows what"


@pytest.mark.parametrize("kind", ["train", "test"])
def test_a_failing_step_is_reported_and_the_others_continue(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bench = Bench(planned(shapes, FPN, RETINANET), tmp_path / "w", monkeypatch)
    bench.steps.status = lambda *step: 2 * (step == (kind, FPN, 0))
    assert bench.reproduce() == 1
    tried = ["train"] if kind == "train" else ["train", "test"]
    assert bench.steps.started == [
        *((k, FPN, 0) for k in tried),
        *((k, RETINANET, 0) for k in ("train", "test")),
    ]
    log = tmp_path / "w" / FPN / f"reproduce-{kind}.log"
    failed = f"failed: {kind} {FPN}, seed 0: exit status 2; log {log}, which ends with:"
    assert f"{failed}\n    {kind} starts\n    and ends" in bench.text
    assert failed in bench.lines[-2], "said again at the end"
    bench.steps.status = lambda *step: 0
    assert bench.reproduce() == 0
    assert bench.steps.started == ([("train", FPN, 0)] if kind == "train" else []) + [
        ("test", FPN, 0)
    ]


def test_a_stopped_training_is_no_failure_and_the_others_continue(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(planned(shapes, FPN, RETINANET), tmp_path / "w", monkeypatch)
    save(bench.look()[0], 2, "stopped_iter_2")
    bench.steps.status = lambda *step: 75 * (step == ("train", FPN, 0))
    assert bench.reproduce() == 75
    log = tmp_path / "w" / FPN / "reproduce-train.log"
    assert (
        f"stopped: train {FPN}, seed 0: the same command goes on with it; log {log}" in bench.text
    )
    assert "failed" not in bench.text and "stopped at step 2 of 6" in bench.text
    assert "1 of 2 runs have their row" in bench.lines[-1]
    bench.steps.status = lambda *step: 0
    assert bench.reproduce() == 0


def test_a_step_without_its_product_has_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_step", lambda *args: 0)
    assert bench.reproduce() == 1
    assert "it ended without an error, but a last checkpoint is not there" in bench.text


def test_a_part_of_a_published_data_set_is_reported_first(bench: Bench) -> None:
    (state,) = bench.look()
    found = Job(bench.plan, bench.settings, print).estimate(state)
    assert found.images == Known(10, "counted")
    assert subsets([(state, found)]) == [], "nothing is published of generated data"
    cfg = resolve(zoo_plan().models[8].config, RunOptions()).config
    recipe = replace(state, recipe=replace(state.recipe, cfg=cfg))
    assert subsets([(recipe, found)])[2:] == [f"  {FPN}: 10 images, not 20,210"]
    assert subsets([(recipe, replace(found, images=Known(20_210, "counted")))]) == []


def test_step_times_of_no_model_are_refused(bench: Bench) -> None:
    settings = Settings(work_dirs=bench.settings.work_dirs, step_times={"x": 1.0})
    with pytest.raises(UserError, match="--step-time x=…: the plan has no such model"):
        show(bench.plan, settings)


def test_a_summary_holds_targets_beside_what_came_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state,) = bench.look()
    row = row_of(state, save(state, 6), 36.06)
    stem = "fpn_casvit-xs_8xb4-40k_ade20k-512x512"
    model = PlannedModel(config=Path(f"{stem}.py"))
    run = state.run.__class__(model, 0, state.run.work_dir)
    named = row.model_copy(update={"config": stem})
    lines = summary([State(run, state.recipe, state.progress, named, {}, ())])
    cells = lines[1].split()
    assert cells[:4] == [stem, "mIoU", "1", "36.06"] and cells[-2:] == ["not", "comparable"]
    assert any(line.startswith(f"{stem}: ") and "image" in line for line in lines[2:])


def test_the_command_line(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"models: [{{config: {FPN}, data_root: {shapes / 'ade'}}}, {{config: {RETINANET}}}]"
    )
    monkeypatch.chdir(tmp_path)
    flags = ["--plan", str(plan), "--only", "fpn*", "--step-time", f"{FPN}=0.5", "--seeds", "2"]
    assert main(["reproduce", *flags, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 model, 2 runs in work_dirs, rows in work_dirs/results.jsonl" in said
    assert f"step of {FPN}: given" in said and "2,400" in said
    assert not (tmp_path / "work_dirs").exists()
    for wrong, message in {
        ("--gpus", "2"): "needs --launcher",
        ("--data-root", "x=y"): "the data sets are",
        ("--only", "z"): "matches no config",
    }.items():
        assert main(["reproduce", "--plan", str(plan), "--dry-run", *wrong]) == 2
        assert message in capsys.readouterr().err
