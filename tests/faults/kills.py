"""Kills trainings at random moments and compares how they end with a run that nobody disturbed.

Prints, for each setting, how often it was killed and how many tensors differ at the end.
"""

import random
import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import Disturbed, run
from demo_runs import TASKS
from fault_scripts import flags, folder_with_shapes


def main() -> int:
    args = flags(__doc__, quick="6 kills in three settings", kills=60, seed=0)
    settings = list(product(TASKS, (0, 2, 4), (1, 2)))
    if args.quick:
        settings, args.kills = [("fpn", 2, 1), ("retinanet", 2, 2), ("mask-rcnn", 0, 1)], 6
    chance, wrong, done = random.Random(args.seed), 0, 0
    with folder_with_shapes() as root:
        for number, (task, workers, processes) in enumerate(settings):
            broken = Disturbed(root, task, workers, processes)
            kills, killed = (args.kills - done) // (len(settings) - number), 0
            while killed < kills:
                if run(broken.job, processes, broken.logs, chance.random() * broken.seconds):
                    broken.begin_last_part_again(chance)
                else:
                    killed += 1
            done += kills
            found = broken.differences()
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
