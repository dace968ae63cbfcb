"""Kills, stops and hangs one of the two processes of trainings, and compares how they end at last.

Bars: after a kill all processes have ended within 60 s, after the others within the bound and the
30 s that torchrun gives a stopped process; one message, with the process; exit code 75; resumed, or
started again by torchrun, the weights are those of the run without a break.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broken_runs import STOPPED, differences
from demo_runs import TASKS
from fault_scripts import flags, folder_with_shapes
from launched import ROOT, Launched, words_of

from casvit_dense.training.saving import numbered

#: Seconds without a step after which a run ends, here.
BOUND = 30

#: How a process is lost -> seconds in which all have ended, and what is said of it.
WAYS = {
    "SIGKILL": (60, r"error: rank 1 \(process \d+\) was ended by SIGKILL"),
    "SIGSTOP": (BOUND + 45, r"error: no step for 30 s: rank 1 \(.*\) has not answered since .*\d"),
    "hang": (BOUND + 45, r"error: no step for 30 s: rank \d \(.*\) hangs at .* \d \(.*:\d+\)"),
}


def main() -> int:
    args = flags(__doc__, quick="one task")
    wrong = 0
    with folder_with_shapes() as root:
        for task in ["fpn"] if args.quick else TASKS:
            whole = root / f"{task}-whole"
            code, text = finish(task, whole)
            assert code == 0, text
            for way, (allowed, pattern) in WAYS.items():
                folder = root / f"{task}-{way}"
                code, text, seconds = lose(way, task, folder)
                said = [line for line in text.splitlines() if "rror" in line or "Traceback" in line]
                as_promised = code == STOPPED and seconds <= allowed and len(said) == 1
                if not as_promised or not re.match(pattern, said[0]):
                    wrong += 1
                    print(f"exit {code}: {text[-3000:]}", file=sys.stderr)
                found = compare(whole, folder, *finish(task, folder))
                wrong += bool(found)
                print(f"{task}, {way}: ended in {seconds:.0f} s; {len(found)} values differ")
                print(*(f"    {line}" for line in said), sep="\n", flush=True)
            folder = root / f"{task}-restarted"
            with launched(task, folder, MAX_RESTARTS="2") as run:
                for times in (1, 2):
                    run.wait_for(rf"(training iteration 3 [\s\S]*?){{{times}}}")
                    os.kill(run.rank(1), signal.SIGKILL)
                code = run.process.wait()
            found = compare(whole, folder, code, run.said())
            wrong += bool(found)
            print(f"{task}, killed twice, MAX_RESTARTS=2: {len(found)} values differ", flush=True)
    print(f"{wrong} times another message, time, exit code or end")
    return int(wrong > 0)


def launched(task: str, folder: Path, **environment: str) -> Launched:
    """Starts a training of two processes, or goes on with it."""
    config, *flags = words_of(task, folder.parent / "shapes", folder, rounds=3)
    flags += ["--resume", "--hang-timeout", str(BOUND)]
    command = [str(ROOT / "tools/dist_train.sh"), config, "2", *flags]
    return Launched(command, folder.with_suffix(".log"), PYTHON=sys.executable, **environment)


def finish(task: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Trains to the end; gives exit code and console."""
    with launched(task, folder, **environment) as run:
        return run.process.wait(), run.said()


def lose(way: str, task: str, folder: Path) -> tuple[int, str, float]:
    """Loses a process in the middle; gives exit code, console, and the seconds until the end."""
    image = next(folder.parent.glob(f"shapes/{'ade' if task == 'fpn' else 'coco'}/**/*train*/*.*g"))
    kept = image.with_suffix(".kept")
    with launched(task, folder) as run:
        run.wait_for("training iteration 3 ")
        if way == "hang":  # as on a disk that does not answer
            image.rename(kept)
            os.mkfifo(image)
        else:
            os.kill(run.rank(1), getattr(signal, way))
        begun = time.monotonic()
        code = run.process.wait()
        seconds = time.monotonic() - begun
    if way == "hang":
        kept.replace(image)
    return code, run.said(), seconds


def compare(whole: Path, folder: Path, code: int, text: str) -> list[str]:
    """What differs at the end of two runs, one of which was broken off."""
    if code != 0:
        print(f"exit {code}: {text[-3000:]}", file=sys.stderr)
        return [f"exit code {code}"]
    return differences(numbered(whole)[0], numbered(folder)[0])


if __name__ == "__main__":
    sys.exit(main())
