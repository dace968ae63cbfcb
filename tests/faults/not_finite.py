"""Makes a random step of trainings not finite, by an image, a weight, a gradient or the loss: each
must end at that very step, with nothing saved after it, and a replay must show the step again.
"""

import contextlib
import io
import random
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import options_for
from demo_runs import config_of
from fault_scripts import flags, folder_with_shapes
from poison import KINDS, poisoned

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.engine.replay import replay
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.training.finite import not_finite
from casvit_dense.training.saving import numbered

#: What a replay has to say, by kind.
SHOWN = {
    "input": "images     not finite: ",
    "weight": "weights    not finite: ",
    "gradient": "gradients  not finite: ",
    "loss": "losses     loss inf",
}
#: Task -> steps of a run, and steps between two checkpoints.
LENGTHS = {"retinanet": (6, 3), "fpn": (6, 2)}


def faults_of(task: str, kind: str, at: int, workers: int, shapes: Path, folder: Path) -> list[str]:
    """What a poisoned training did wrong."""
    steps, interval = LENGTHS[task]
    options = options_for(task, shapes, folder, rounds=steps // interval, workers=workers)
    options.cfg_options["experiment_name"] = f"{folder.name} {time.time_ns()}"
    faults = []
    try:
        with poisoned(kind, at), contextlib.redirect_stdout(io.StringIO()):
            train(config_of(task), options)
        faults.append("went on")
    except UserError as error:
        if f"at iteration {at}, " not in str(error):
            faults.append(f"said: {error}")
    contents = [read_checkpoint(path) for path in numbered(folder)]
    if len(contents) != (at - 1) // interval:
        faults.append(f"{len(contents)} checkpoints")
    for content in contents:
        faults += not_finite([content["state_dict"], content["optimizer"]])
    with poisoned(kind), contextlib.redirect_stdout(io.StringIO()):
        found = replay(None, folder / f"not_finite/iter_{at}", RunOptions())
    if found.finite or not any(line.startswith(SHOWN[kind]) for line in found.lines):
        faults.append("replay: " + "; ".join(found.lines))
    return faults


def main() -> int:
    args = flags(__doc__, quick="4 runs, one of each kind", runs=30, seed=0)
    warnings.simplefilter("ignore")  # mmseg's
    chance, wrong, tasks = random.Random(args.seed), 0, list(LENGTHS)
    runs = len(KINDS) if args.quick else args.runs
    with folder_with_shapes() as root:
        for number in range(runs):
            kind, task = KINDS[number % 4], tasks[(number + number // 4) % 2]
            at, workers = chance.randint(1, LENGTHS[task][0]), chance.choice([0, 2])
            folder = root / f"{task}-{number}"
            faults = faults_of(task, kind, at, workers, root / "shapes", folder)
            wrong += bool(faults)
            done = "as it must" if not faults else "; ".join(faults)
            print(f"{task}, {kind} at step {at}, {workers} workers: {done}", flush=True)
    print(
        f"{runs} poisoned runs; {wrong} not ended at their step, saved after it, not finite in a "
        "checkpoint, or not shown by replay"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
