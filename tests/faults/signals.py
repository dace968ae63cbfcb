"""Sends SIGTERM to trainings at random moments: start, steps, saving, evaluation; one and two
processes, to one of them or to all with their workers; and compares how they end at last.
"""

import contextlib
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import STOPPED, Disturbed, finish
from demo_runs import TASKS
from fault_scripts import flags, folder_with_shapes
from processes import started


def main() -> int:
    args = flags(__doc__, quick="3 signals, one task", signals=20, seed=0)
    settings = list(product(TASKS, (1, 2)))
    if args.quick:
        settings, args.signals = [("fpn", 2)], 3
    chance, wrong, done, phases = random.Random(args.seed), 0, 0, Counter[str]()
    with folder_with_shapes() as root:
        for number, (task, processes) in enumerate(settings):
            broken = Disturbed(root, task, workers=2, processes=processes)
            count = (args.signals - done) // (len(settings) - number)
            for _ in range(count):
                (broken.logs / "rank0.log").unlink()
                with started(broken.job, processes, broken.logs) as pids:
                    time.sleep(chance.random() * broken.seconds)
                    for pid in pids if chance.random() < 0.5 else [chance.choice(pids)]:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(pid, signal.SIGTERM)
                    codes = finish(pids)
                said = (broken.logs / "rank0.log").read_text()
                saved = re.search(r"saved as .*stopped_iter", said)
                phase = "step or evaluation" if saved else "before the first step"
                if codes == [0] * processes:
                    phase = "the end came first"
                    broken.begin_last_part_again(chance)
                elif not saved and STOPPED in codes and set(codes) <= {STOPPED, -9}:
                    pass  # one was hit before the group was there; launchers end the others
                elif codes != [STOPPED] * processes:
                    wrong += 1
                    phase = f"exit codes {codes}"
                    print(said[-2000:], file=sys.stderr)
                phases[phase] += 1
            done += count
            found = broken.differences()
            wrong += bool(found)
            print(
                f"{task}, {processes} processes: {count} signals, {len(found)} values differ",
                flush=True,
            )
    print(", ".join(f"{phase}: {count}" for phase, count in phases.items()))
    print(f"{done} signals; {wrong} times another exit code or another end")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
