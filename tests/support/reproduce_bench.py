"""Runs of `reproduce` whose steps leave their products at once."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch

from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.reproduce import run as running
from casvit_dense.reproduce.plan import Plan, Settings, read_plan
from casvit_dense.reproduce.recipe import read_truth
from casvit_dense.reproduce.run import Job, reproduce
from casvit_dense.reproduce.state import State
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.row import Dataset, Evaluation, Software, Training, Weights

FPN, RETINANET = "fpn_casvit-mini_shapes", "retinanet_casvit-mini_fpn_shapes"
STEPS = {FPN: 6, RETINANET: 6}
IMAGES = {FPN: 10, RETINANET: 9}  # one of ten has no object


def planned(shapes: Path, *stems: str, seeds: Sequence[int] = (0,)) -> Plan:
    roots = {FPN: "ade", RETINANET: "coco"}
    models = [{"config": stem, "data_root": str(shapes / roots[stem])} for stem in stems]
    path = shapes.parent / f"plan-{len(list(shapes.parent.iterdir()))}.json"
    path.write_text(json.dumps({"models": models, "seeds": list(seeds)}))
    return read_plan(path)


def training(state: State, iterations: int) -> Training:
    return Training(
        recipe_sha256=state.recipe.trained.recipe,
        global_batch=8,
        iterations=iterations,
        planned_iterations=STEPS[state.run.model.stem],
        images=IMAGES[state.run.model.stem],
        seed=state.run.seed,
    )


def save(state: State, iterations: int, name: str | None = None) -> Path:
    """A checkpoint as a training of this run would leave it."""
    path = state.run.work_dir / f"{name or f'iter_{iterations}'}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = training(state, iterations).model_dump(exclude={"iterations"})
    weight = torch.rand(3)
    content = {"state_dict": {"w": weight}, "meta": {"iter": iterations, "training": record}}
    torch.save(content, path)
    return path


def row_of(state: State, checkpoint: Path, value: float = 50.0, **changes: object) -> Evaluation:
    """A row as an evaluation of this run would write it."""
    fpn = state.run.model.stem == FPN
    fields = dict(
        date=datetime.now(timezone.utc),
        **{"device": "cpu", "threads": 1, "precision": "fp32", "form": "reference"},
        **{"backend": "eager", "config": state.run.model.stem, "seed": state.run.seed},
        software=Software(versions={}),
        config_sha256=state.recipe.evaluated.config,
        pipeline_sha256=state.recipe.evaluated.pipeline,
        recipe_sha256=state.recipe.evaluated.recipe,
        weights=Weights(file=checkpoint.name, sha256=file_sha256(checkpoint)),
        training=training(state, STEPS[state.run.model.stem]),
        dataset=Dataset(
            name="x",
            annotations_sha256=read_truth(state.recipe.cfg).annotations_sha256,
            images=5,
            classes=3,
        ),
        metrics={"mIoU": value} if fpn else {"coco/bbox_mAP": value / 100},
        duration_s=7.0,
    )
    return Evaluation(**{**fields, **changes})


class Steps:
    """Takes the place of the processes: leaves what they would leave."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.started: list[tuple[str, str, int]] = []
        #: The exit status of a step; without a product unless it is 0.
        self.status: Callable[[str, str, int], int] = lambda kind, stem, seed: 0

    def __call__(self, command: Sequence[str], log: Path, lock: int, on_progress: Callable) -> int:
        kind, config = command[command.index("casvit_dense") + 1 :][:2]
        seed = int(command[command.index("--seed") + 1])
        self.started.append((kind, Path(config).stem, seed))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{kind} starts\nand ends\n")
        if status := self.status(kind, Path(config).stem, seed):
            return status
        (run,) = (r for r in self.job.runs if (r.model.stem, r.seed) == self.started[-1][1:])
        state = self.job.inspector.look(run)
        if kind == "train":
            save(state, STEPS[run.model.stem])
        else:
            checkpoint = Path(command[command.index("test") + 2])
            append_rows(self.job.settings.rows, [row_of(state, checkpoint, 50 + 2 * seed)])
        return 0


class Bench:
    """A plan in a folder of its own, with `Steps` in place of processes."""

    def __init__(self, plan: Plan, work_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan, self.settings = plan, Settings(work_dirs=work_dirs)
        self.lines: list[str] = []
        self.steps = Steps(Job(plan, self.settings, self.lines.append))
        monkeypatch.setattr(running, "run_step", self.steps)

    def look(self) -> list[State]:
        return Job(self.plan, self.settings, lambda line: None).look()

    def reproduce(self) -> int:
        self.lines.clear()
        self.steps.started.clear()
        return reproduce(self.plan, self.settings, self.lines.append)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)
