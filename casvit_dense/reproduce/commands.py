"""The command lines of a run's two steps."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casvit_dense.reproduce.facts import Facts
from casvit_dense.reproduce.plan import Run, Settings

#: Our names of launchers -> those of ``train`` and ``test``.
LAUNCHERS = {"none": "none", "torchrun": "pytorch", "slurm": "slurm"}

GPUS_PER_NODE, CPUS_PER_TASK = 8, 5  # of Slurm, where the environment does not say


def train_command(run: Run, facts: Facts, settings: Settings) -> list[str]:
    """The command line that trains a run from where it stands."""
    options = facts.options
    weights = ["--pretrained", options.pretrained] if options.pretrained is not None else []
    scratch = ["--from-scratch"] if options.from_scratch else []
    words = ["train", str(run.model.config), *weights, *scratch, "--resume", "auto"]
    return _launched(words, options.cfg_options, run, facts, settings)


def test_command(run: Run, facts: Facts, settings: Settings, checkpoint: Path) -> list[str]:
    """The command line that evaluates the last checkpoint of a run and writes its row."""
    words = ["test", str(run.model.config), str(checkpoint), "--ledger", str(settings.rows)]
    return _launched(words, run.model.cfg_options, run, facts, settings)


def _launched(
    words: list[str],
    overrides: Mapping[str, Any],
    run: Run,
    facts: Facts,
    settings: Settings,
) -> list[str]:
    """The words for ``casvit-dense`` with the shared flags, behind those of the launcher."""
    words += ["--work-dir", str(run.work_dir), "--seed", str(run.seed)]
    if facts.options.data_root is not None:
        words += ["--data-root", facts.options.data_root]
    if overrides:
        words += ["--cfg-options", *(f"{key}={value!r}" for key, value in overrides.items())]
    words += ["--launcher", LAUNCHERS[settings.launcher]]
    return [*_launcher(run, settings), "-m", "casvit_dense", *words]


def _launcher(run: Run, settings: Settings) -> Sequence[str]:
    if settings.launcher == "torchrun":
        shape = ["--standalone", f"--nproc_per_node={settings.gpus}"]
        return [sys.executable, "-m", "torch.distributed.run", *shape]
    if settings.launcher == "slurm":
        per_node = min(settings.gpus, int(os.environ.get("GPUS_PER_NODE", GPUS_PER_NODE)))
        return [
            *("srun", f"--job-name={run.model.stem}", f"--gres=gpu:{per_node}"),
            *(f"--ntasks={settings.gpus}", f"--ntasks-per-node={per_node}"),
            f"--cpus-per-task={os.environ.get('CPUS_PER_TASK', CPUS_PER_TASK)}",
            *("--kill-on-bad-exit=1", *os.environ.get("SRUN_ARGS", "").split()),
            *(sys.executable, "-u"),
        ]
    return [sys.executable, "-u"]
