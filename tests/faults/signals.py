"""Sends SIGTERM to trainings at random moments: start, steps, saving, evaluation; one and two
processes, to one of them or to all with their workers; and compares how they end at last.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import STOPPED, differences, finish, start, work
from demo_runs import TASKS

from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.training.saving import numbered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="3 signals, one task")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = [(task, processes) for task in TASKS for processes in (1, 2)]
    if args.quick:
        settings, args.signals = [("fpn", 2)], 3
    chance, wrong, done, phases = random.Random(args.seed), 0, 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        generate_shapes(root / "shapes", ShapesSpec(train=10, val=5, size=64))
        for number, (task, processes) in enumerate(settings):
            run = f"{task}-{processes}"
            job = partial(work, task, root / "shapes", workers=2, processes=processes)
            begun = time.monotonic()
            whole, broken = (partial(job, root / f"{run}-{kind}") for kind in ("whole", "broken"))
            assert finish(start(whole, processes, root / run)) == [0] * processes
            seconds = time.monotonic() - begun
            count = (args.signals - done) // (len(settings) - number)
            for _ in range(count):
                for log in root.glob(f"{run}.*.log"):
                    log.unlink()
                pids = start(broken, processes, root / run)
                time.sleep(chance.random() * seconds)
                hit = pids if chance.random() < 0.5 else [chance.choice(pids)]
                for pid in hit:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGTERM)
                codes = finish(pids)
                said = (root / f"{run}.0.log").read_text()
                saved = re.search(r"saved as .*stopped_iter", said)
                phase = "step or evaluation" if saved else "before the first step"
                if codes == [0] * processes:
                    phase = "the end came first"
                    numbered(root / f"{run}-broken")[0].unlink()
                elif codes != [STOPPED] * processes:
                    wrong += 1
                    phase = f"exit codes {codes}"
                    print(said[-2000:], file=sys.stderr)
                phases[phase] += 1
            done += count
            assert finish(start(broken, processes, root / run)) == [0] * processes
            one, other = (numbered(root / f"{run}-{kind}")[0] for kind in ("whole", "broken"))
            found = differences(one, other)
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
