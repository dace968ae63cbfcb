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

from broken_runs import STOPPED, differences, finish, run, started, work
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
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate_shapes(root / "shapes", ShapesSpec(train=10, val=5, size=64))
        for number, (task, processes) in enumerate(settings):
            name = f"{task}-{processes}"
            logs = root / name
            job = partial(work, task, root / "shapes", workers=2, processes=processes)
            begun = time.monotonic()
            whole, broken = (partial(job, root / f"{name}-{kind}") for kind in ("whole", "broken"))
            run(whole, processes, logs)
            seconds = time.monotonic() - begun
            count = (args.signals - done) // (len(settings) - number)
            for _ in range(count):
                for log in root.glob(f"{name}.*.log"):
                    log.unlink()
                with started(broken, processes, logs) as pids:
                    time.sleep(chance.random() * seconds)
                    for pid in pids if chance.random() < 0.5 else [chance.choice(pids)]:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(pid, signal.SIGTERM)
                    codes = finish(pids)
                said = (root / f"{name}.0.log").read_text()
                saved = re.search(r"saved as .*stopped_iter", said)
                phase = "step or evaluation" if saved else "before the first step"
                if codes == [0] * processes:
                    phase = "the end came first"
                    for path in numbered(root / f"{name}-broken")[: chance.randrange(1, 3)]:
                        path.unlink()
                elif not saved and STOPPED in codes and set(codes) <= {STOPPED, -9}:
                    pass  # one was hit before the group was there; launchers end the others
                elif codes != [STOPPED] * processes:
                    wrong += 1
                    phase = f"exit codes {codes}"
                    print(said[-2000:], file=sys.stderr)
                phases[phase] += 1
            done += count
            run(broken, processes, logs)
            one, other = (numbered(root / f"{name}-{kind}")[0] for kind in ("whole", "broken"))
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
