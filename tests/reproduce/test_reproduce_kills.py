"""Killed at any moment, a plan ends with the rows of an undisturbed one."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from processes import ended, forked, wait_for

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.cli import main
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.engine.train import train
from casvit_dense.options import RunOptions
from casvit_dense.reproduce.plan import read_plan, runs_of
from casvit_dense.results.ledger import LEDGER, read_ledger
from casvit_dense.results.row import Evaluation

FPN, RETINANET = "fpn_casvit-mini_shapes", "retinanet_casvit-mini_fpn_shapes"
SMALL = "(64, 64)"
COMMON = {
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.checkpoint.max_keep_ckpts": 2,
    "train_dataloader.batch_size": 4,
    **{
        f"{loader}_dataloader.dataset.pipeline.{place}.scale": SMALL
        for loader, place in (("train", 2), ("val", 1), ("test", 1))
    },
}
LENGTHS = {
    FPN: {"train_cfg.max_iters": 6, "train_cfg.val_interval": 3},
    RETINANET: {"train_cfg.max_epochs": 3, "train_cfg.val_interval": 2},
}
LONGER = 8  # so that kills find trainings at work
ROOTS = {FPN: "ade", RETINANET: "coco"}


def write_plan(
    path: Path, shapes: Path, *stems: str, seeds: Sequence[int] = (0,), longer: int = 1
) -> Path:
    models = [
        {
            "config": stem,
            "data_root": str(shapes / ROOTS[stem]),
            "cfg_options": {**COMMON, **{k: v * longer for k, v in LENGTHS[stem].items()}},
        }
        for stem in stems
    ]
    path.write_text(json.dumps({"models": models, "seeds": list(seeds)}))
    return path


def result(row: Evaluation) -> dict:
    """What must be the same, floats to the last bit; times and hashes of files are not."""
    assert row.training is not None
    kept = ("config", "config_sha256", "pipeline_sha256", "recipe_sha256", "training", "dataset")
    return row.model_dump(include={*kept, "metrics", "per_class", "processes", "seed"})


def results(folder: Path) -> list[dict]:
    rows, rejected = read_ledger(folder / LEDGER)
    assert not rejected
    return sorted(map(result, rows), key=lambda content: (content["config"], content["seed"]))


@pytest.mark.slow
@pytest.mark.parametrize(("stem", "place"), [(FPN, "iter_3"), (RETINANET, "epoch_2")])
def test_a_seeded_run_that_is_resumed_ends_with_the_same_weights(
    shapes: Path, tmp_path: Path, stem: str, place: str
) -> None:
    """Flips and dropout included, from a checkpoint that a validation follows."""
    (model,) = read_plan(write_plan(tmp_path / "plan.json", shapes, stem)).models

    def trained(name: str, resume: Path | None) -> tuple[Path, dict]:
        folder = tmp_path / name
        overrides = {
            **model.cfg_options,
            "default_hooks.checkpoint.max_keep_ckpts": -1,
            "visualizer.name": f"{stem}-{name}",
            "experiment_name": f"{stem}-{name}",
        }
        last = train(
            model.config,
            RunOptions(
                work_dir=folder,
                data_root=str(model.data_root),
                seed=3,
                resume=resume and str(resume),
                cfg_options=overrides,
            ),
        )
        return folder, read_checkpoint(last)["state_dict"]

    folder, expected = trained("whole", None)
    _, found = trained("resumed", folder / f"{place}.pth")
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def undisturbed(plan: Path, work_dirs: Path) -> list[dict]:
    """The rows of a plan by its steps alone, in this process, without `reproduce`."""
    for run in runs_of(read_plan(plan), work_dirs):
        name = f"undisturbed {run.name}"  # mmengine keeps one visualiser and one logger of a name
        options = RunOptions(
            work_dir=run.work_dir,
            data_root=str(run.model.data_root),
            seed=run.seed,
            cfg_options={
                **run.model.cfg_options,
                "visualizer.name": name,
                "experiment_name": name,
            },
            ledger=work_dirs / LEDGER,
        )
        last = train(run.model.config, options)
        evaluate(run.model.config, last, options)
    return results(work_dirs)


class Reproduction:
    """The program on a plan, to be killed with all that it started."""

    def __init__(self, plan: Path, work_dirs: Path) -> None:
        self.flags = ["reproduce", "--plan", str(plan), "--work-dirs", str(work_dirs)]
        self.out = work_dirs.with_suffix(".out")

    def running(self) -> AbstractContextManager[int]:
        """The id of the process group; at the end it gets SIGKILL, as when a machine goes down."""
        return forked(lambda: main(self.flags), self.out)

    def finish(self, seconds: float = 1800) -> None:
        with self.running() as pid:
            wait_for(lambda: ended(pid), seconds)
        assert "runs have their row" in self.out.read_text().splitlines()[-1]


@pytest.mark.slow
def test_killed_in_its_training_it_ends_as_undisturbed(shapes: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", shapes, FPN)
    disturbed = Reproduction(plan, tmp_path / "killed")
    with disturbed.running():
        wait_for(lambda: list((tmp_path / "killed" / FPN).glob("iter_*.pth")), 900)
        time.sleep(random.Random(0).uniform(0, 0.4))
    assert not (tmp_path / "killed" / LEDGER).exists()
    disturbed.finish()
    assert results(tmp_path / "killed") == undisturbed(plan, tmp_path / "whole")


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_undisturbed(shapes: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", shapes, FPN, RETINANET, seeds=(0, 1), longer=LONGER)
    chance = random.Random(11)
    longest = 3.5 * start_time()  # a step takes little longer than its start
    disturbed = Reproduction(plan, tmp_path / "killed")
    for number in range(10):
        with disturbed.running() as pid:
            moment = time.monotonic() + chance.uniform(0, longest)
            while not ended(pid) and time.monotonic() < moment:
                time.sleep(0.02)
            assert not ended(pid), f"the plan was done before kill {number + 1}"
    disturbed.finish()
    expected = undisturbed(plan, tmp_path / "whole")
    assert len(expected) == 4
    assert results(tmp_path / "killed") == expected


def start_time() -> float:
    """Seconds that a process needs here to import the frameworks."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import mmdet.apis, mmseg.apis"], check=True)
    return time.monotonic() - started
