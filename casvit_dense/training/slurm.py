"""Starts the tasks of a run by srun.

python -m casvit_dense.training.slurm PARTITION JOB train CONFIG [flags]
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from casvit_dense.errors import UserError

#: What a run gets where the environment does not say.
NUMBERS: Final = {"GPUS": "8", "GPUS_PER_NODE": "8", "CPUS_PER_TASK": "5"}


def srun_command(job: str, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command line that runs a command of ours in one task per GPU.

    srun passes SIGUSR1 on, and tasks that stop for it end with their own exit code; of SIGTERM
    it makes SIGKILL.

    Args:
        job: its name.
        command: as after ``casvit-dense``.
        environment: may hold `NUMBERS`, ``SRUN_ARGS``, and ``DEVICE=cpu``, with which no GPUs are
            asked for and the numbers of GPUs count tasks.

    Raises:
        UserError: a number is none.
    """
    numbers = {name: environment.get(name, number) for name, number in NUMBERS.items()}
    for name, number in numbers.items():
        if not number.isdecimal() or int(number) == 0:
            raise UserError(f"{name}={number}: give a number from 1 up")
    gpus, per_node, cpus = map(int, numbers.values())
    per_node = min(gpus, per_node)
    devices = [] if environment.get("DEVICE") == "cpu" else [f"--gres=gpu:{per_node}"]
    return [
        "srun",
        f"--job-name={job}",
        *devices,
        f"--ntasks={gpus}",
        f"--ntasks-per-node={per_node}",
        f"--cpus-per-task={cpus}",
        # Tasks that stopped alike end one after the other: none is killed for a minute.
        "--kill-on-bad-exit=0",
        "--wait=60",
        *shlex.split(environment.get("SRUN_ARGS", "")),
        *(sys.executable, "-u", "-m", "casvit_dense", *command, "--launcher", "slurm"),
    ]


def main(words: Sequence[str]) -> int:
    """Becomes srun; returns 2 after a mistake."""
    partition, job, *command = words
    try:
        _, *arguments = srun_command(job, command, os.environ)
        os.execvp("srun", ["srun", f"--partition={partition}", *arguments])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except FileNotFoundError:
        print("error: there is no srun here: start from a node of Slurm's", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
