"""What training and evaluation leave: hashes, a checkpoint's record, a row of the ledger."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from demo_runs import CONFIGS, TASKS, Runs, config_of, hashes_by_hand, options_of

from casvit_dense.checkpoint import convert, read_checkpoint
from casvit_dense.cli import main
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.engine import evaluate as evaluation
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.engine.record import (
    annotations_of,
    training_of,
    training_record,
    value_or_none,
    with_launcher,
)
from casvit_dense.errors import UserError
from casvit_dense.evaluations import find_evaluation
from casvit_dense.options import RunOptions
from casvit_dense.results.hashes import ConfigHashes, digest
from casvit_dense.results.ledger import read_ledger
from casvit_dense.results.lines import row_id
from casvit_dense.results.row import Evaluation, Training
from casvit_dense.training.records import TRAINING_RECORD, record_after_resume

RETINANET = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
SEM_FPN = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"

#: The newest row after an evaluation, its ledger, and the options.
Evaluated = tuple[Evaluation, Path, RunOptions]


@pytest.fixture(scope="module", params=["retinanet", "fpn"])
def trained(request: pytest.FixtureRequest, runs: Runs) -> tuple[str, Path]:
    """A task and the checkpoint of one short round."""
    return request.param, runs[request.param]


def evaluated(trained: tuple[str, Path], shapes: Path, work_dir: Path, **more: Any) -> Evaluated:
    """Evaluates with some more options."""
    task, checkpoint = trained
    options = options_of(task, shapes, work_dir)
    for name, value in more.items():
        setattr(options, name, value)
    evaluate(config_of(task), checkpoint, options)
    ledger = options.ledger or work_dir.parent / "results.jsonl"
    rows, rejected = read_ledger(ledger)
    assert rejected == []
    assert isinstance(rows[-1], Evaluation)
    return rows[-1], ledger, options


@pytest.fixture(scope="module")
def first(
    trained: tuple[str, Path], shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluated:
    """The result of an ordinary evaluation."""
    work_dir = tmp_path_factory.mktemp("first") / trained[0]
    return evaluated(trained, shapes, work_dir, command="casvit-dense test …")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_row_says_what_was_evaluated(trained: tuple[str, Path], first: Evaluated) -> None:
    task, checkpoint = trained
    row, ledger, options = first
    assert row.folder is not None and row.folder.startswith(f"{task}/test/")
    left = json.loads((ledger.parent / row.folder / "metrics.json").read_text())
    assert left["row"] == row_id(row)
    assert row.config == TASKS[task][0]
    assert row.weights.sha256 == sha256(checkpoint.read_bytes())
    assert (row.weights.file, row.weights.source_sha256) == (checkpoint.name, None)
    assert (row.form, row.backend, row.precision) == ("reference", "eager", "fp32")
    assert (row.processes, row.seed, row.command) == (1, 0, "casvit-dense test …")
    assert row.software.versions["torch"] == torch.__version__
    for name, value in left["metrics"].items():
        assert row.metrics[name] == (None if value == -1 else value)
    assert row.per_class == left["per_class"]
    asked = hashes_by_hand(config_of(task), options.cfg_options)
    assert asked == ConfigHashes(row.config_sha256, row.pipeline_sha256, row.recipe_sha256)


def test_a_row_says_on_which_data(
    trained: tuple[str, Path], shapes: Path, first: Evaluated
) -> None:
    task, _ = trained
    row, _, _ = first
    assert row.dataset.images == 5
    if task == "fpn":
        maps = sorted((shapes / "ade/annotations/validation").glob("*.png"))
        lines = [f"{path.name} {sha256(path.read_bytes())}\n" for path in maps]
        assert row.dataset.annotations_sha256 == sha256("".join(lines).encode())
        assert (row.dataset.name, row.dataset.classes) == ("BaseSegDataset", 4)
        assert row.dataset.objects is None
    else:
        file = shapes / "coco/annotations/instances_val2017.json"
        assert row.dataset.annotations_sha256 == sha256(file.read_bytes())
        assert (row.dataset.name, row.dataset.classes) == ("CocoDataset", 3)
        assert row.dataset.objects == len(json.loads(file.read_text())["annotations"])


def test_a_part_of_the_images_is_counted_as_such(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path, first: Evaluated
) -> None:
    task, _ = trained
    whole, _, options = first
    overrides = {**options.cfg_options, "test_dataloader.dataset.indices": 2}
    part, _, _ = evaluated(trained, shapes, tmp_path / "part", cfg_options=overrides)
    assert part.dataset.images == 2
    assert part.config_sha256 != whole.config_sha256
    assert part.pipeline_sha256 == whole.pipeline_sha256
    if task == "retinanet":
        content = json.loads((shapes / "coco/annotations/instances_val2017.json").read_text())
        ids = {image["id"] for image in content["images"][:2]}
        count = sum(annotation["image_id"] in ids for annotation in content["annotations"])
        assert part.dataset.objects == count < whole.dataset.objects


def test_a_checkpoint_says_how_it_was_trained(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path, first: Evaluated
) -> None:
    task, checkpoint = trained
    row, _, _ = first
    steps, images = 2, 10
    if task == "retinanet":  # an image without objects teaches a detector nothing
        content = json.loads((shapes / "coco/annotations/instances_train2017.json").read_text())
        images = len({annotation["image_id"] for annotation in content["annotations"]})
        steps = -(-images // 4)
    assert row.training == Training(
        recipe_sha256=row.recipe_sha256,
        global_batch=4,
        iterations=steps,
        planned_iterations=steps,
        images=images,
        seed=0,
        precision="fp32",
    )
    best = next(checkpoint.parent.glob("best_*.pth"))
    assert training_of(read_checkpoint(best)) == row.training
    for name in ("converted.pth", "converted.safetensors"):
        convert(checkpoint, tmp_path / name)
        assert training_of(read_checkpoint(tmp_path / name)) == row.training


def test_the_fused_form_is_a_row_of_its_own(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "elsewhere" / "mine.jsonl"
    row, _, _ = evaluated(trained, shapes, tmp_path / "work", fuse=True, ledger=ledger)
    assert (row.form, row.backend) == ("fused", "eager")
    assert row.folder is not None
    assert (ledger.parent / row.folder / "metrics.json").is_file()


def test_a_ledger_that_cannot_be_written_is_said_before_the_test(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is a folder; give a file"):
        evaluated(trained, shapes, tmp_path / "work", ledger=tmp_path)
    assert not (tmp_path / "work").exists()


def test_metrics_survive_a_ledger_that_breaks_meanwhile(
    trained: tuple[str, Path], shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, rows: list) -> None:
        raise UserError("no space left")

    monkeypatch.setattr(evaluation, "append_rows", full_disk)
    with pytest.raises(UserError, match="no space"):
        evaluated(trained, shapes, tmp_path / "work")
    content = json.loads((find_evaluation(tmp_path / "work") / "metrics.json").read_text())
    assert content["metrics"] and len(content["row"]) == 12


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "text", [1, 2]])
def test_what_is_no_finite_number_is_no_figure(value: object) -> None:
    assert value_or_none("mIoU", value) is None


def test_a_digest_is_of_canonical_json() -> None:
    assert digest({"b": [1, None], "a": "x"}) == sha256(b'{"a":"x","b":[1,null]}')


class FewMaps:
    """A data set of maps in two folders."""

    def __init__(self, root: Path) -> None:
        self.data_prefix = {"seg_map_path": str(root)}
        self.files = [root / "b" / "1.png", root / "a" / "1.png"]

    def __len__(self) -> int:
        return 2

    def get_data_info(self, index: int) -> dict[str, Any]:
        return {"seg_map_path": str(self.files[index])}


def test_maps_are_told_apart_by_name_and_content(tmp_path: Path) -> None:
    found = []
    for place, contents in (("x", b"12"), ("y", b"12"), ("z", b"21")):
        data = FewMaps(tmp_path / place)
        for path, content in zip(data.files, contents, strict=True):
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes([content]))
        found.append(annotations_of(data)[0])
    assert found[0] == found[1] != found[2]
    lines = f"a/1.png {sha256(b'2')}\nb/1.png {sha256(b'1')}\n"
    assert found[0] == sha256(lines.encode())


RECORD = {
    "recipe_sha256": "1" * 64,
    "global_batch": 32,
    "planned_iterations": 100,
    "images": 10,
    "seed": 1,
}


def test_a_run_in_two_parts_is_of_one_recipe_or_of_none() -> None:
    assert record_after_resume(RECORD, {**RECORD, "precision": "fp32"}, []) == RECORD
    unknown = record_after_resume(None, RECORD, [])
    assert unknown["recipe_sha256"] != RECORD["recipe_sha256"]
    other = record_after_resume(RECORD, {**RECORD, "global_batch": 8}, ["batch"])
    assert other["recipe_sha256"] not in (RECORD["recipe_sha256"], unknown["recipe_sha256"])
    again = record_after_resume(other, RECORD, ["rate"])
    assert again["changes"] == ["batch", "rate"]
    for record in (unknown, other, again):
        Training.model_validate({**record, "iterations": 100})


@pytest.mark.parametrize(
    "meta",
    [
        None,
        "text",
        {},
        {TRAINING_RECORD: "text"},
        {TRAINING_RECORD: {"seed": 1}},
        {TRAINING_RECORD: {**RECORD, "recipe_sha256": "x"}},
        {TRAINING_RECORD: {**RECORD, "images": [1]}},
        {"cfg": "raise SystemExit('this text is a program')", "iter": 3},
    ],
)
def test_a_checkpoint_that_does_not_say_is_not_believed(meta: Any) -> None:
    assert training_of({"meta": meta}) is None
    assert training_of({}) is None


def test_the_record_of_a_training_is_of_the_config_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = SimpleNamespace(
        max_iters=7, seed=3, train_dataloader=SimpleNamespace(dataset=range(100))
    )

    cfg = read_config(RETINANET)

    def record(**options: Any) -> dict[str, Any]:
        chosen = RunOptions(**options)
        return training_record(resolve(cfg, chosen), chosen, runner)

    ours = hashes_by_hand(RETINANET, {}).recipe
    assert record() == {
        "recipe_sha256": ours,
        "global_batch": 4,
        "planned_iterations": 7,
        "images": 100,
        "seed": 3,
        "precision": "fp32",
    }
    assert record(auto_scale_lr=True)["recipe_sha256"] != ours
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "8")
    eight = record(auto_scale_lr=True, launcher="pytorch")
    assert (eight["recipe_sha256"], eight["global_batch"]) == (ours, 32)
    four = record(launcher="pytorch", cfg_options={"train_dataloader.batch_size": 8})
    assert (four["recipe_sha256"], four["global_batch"]) == (ours, 64)


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    plain = "casvit-dense test a.py 'my weights.pth' --launcher pytorch"
    assert with_launcher(plain, "none") == plain
    started = "torchrun --nproc_per_node 8 -m casvit_dense test a.py 'my weights.pth'"
    assert with_launcher(plain, "pytorch") == f"{started} --launcher pytorch"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert with_launcher(plain, "pytorch").startswith("torchrun --nnodes 2 --nproc_per_node 8 -m")


def test_the_program_notes_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(evaluation, "evaluate", lambda config, file, options: seen.append(options))
    assert main(["test", "a.py", "my weights.pth", "--ledger", "l.jsonl"]) == 0
    assert seen[0].command == "casvit-dense test a.py 'my weights.pth' --ledger l.jsonl"
    assert seen[0].ledger == Path("l.jsonl")
