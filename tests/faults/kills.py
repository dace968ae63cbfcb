"""Kills trainings at random moments and compares how they end with a run that nobody disturbed.

Prints, for each setting, how often it was killed and how many tensors differ at the end.
"""

import argparse
import random
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import differences, run, work
from demo_runs import TASKS

from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.training.saving import numbered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="6 kills in three settings")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = list(product(TASKS, (0, 2, 4), (1, 2)))
    if args.quick:
        settings, args.kills = [("fpn", 2, 1), ("retinanet", 2, 2), ("mask-rcnn", 0, 1)], 6
    chance, wrong, done = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate_shapes(root / "shapes", ShapesSpec(train=10, val=5, size=64))
        for number, (task, workers, processes) in enumerate(settings):
            name = f"{task}-{workers}-{processes}"
            logs = root / name
            job = partial(work, task, root / "shapes", workers=workers, processes=processes)
            begun = time.monotonic()
            whole = partial(job, root / f"{name}-whole")
            run(whole, processes, logs)
            seconds = time.monotonic() - begun
            kills = (args.kills - done) // (len(settings) - number)
            broken, killed = partial(job, root / f"{name}-broken"), 0
            while killed < kills:
                if run(broken, processes, logs, chance.random() * seconds):
                    # It came to its end: once more from the middle.
                    for path in numbered(root / f"{name}-broken")[: chance.randrange(1, 3)]:
                        path.unlink()
                else:
                    killed += 1
            run(broken, processes, logs)
            done += kills
            one, other = (numbered(root / f"{name}-{kind}")[0] for kind in ("whole", "broken"))
            found = differences(one, other)
            wrong += bool(found)
            print(
                f"{task}, {workers} workers, {processes} processes: killed {kills} times, "
                f"{len(found)} values differ",
                flush=True,
            )
    print(f"{done} kills in {len(settings)} settings; {wrong} ended differently")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
