"""Starts the processes of one machine by torchrun, and says in one line why they ended.

    python -m casvit_dense.training.launch PROCESSES train CONFIG [flags]

From the environment: ``MASTER_PORT`` (or ``PORT``) to choose a port, else a free one is found;
``MAX_RESTARTS``, how often all processes start again after one has failed (give ``--resume``); for
several machines ``NNODES``, this one's ``NODE_RANK``, and ``MASTER_ADDR``.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from casvit_dense.errors import Stopped, UserError
from casvit_dense.signals import SIGNALS, stop_requests

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

#: Seconds that processes have to save what they have when the launcher is told to stop.
TIME_TO_SAVE: Final = 600

#: Exit code of a process that ends because another one has, and leaves it to us to say so.
LOST: Final = 76

#: Signals that come from outside, not from a fault of the program.
FROM_OUTSIDE: Final = (signal.SIGKILL, *SIGNALS)


def main(words: Sequence[str]) -> int:
    """Runs a command in several processes.

    Returns:
        Its exit code; `Stopped.exit_code` where a training was ended from outside; 128 and a
        signal's number where another one ended a process.
    """
    try:
        with stop_requests() if words[1:2] == ["train"] else nullcontext():  # torchrun's come later
            return launch(*words)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code


def launch(count: str, *command: str) -> int:
    """The exit code of a command in several processes; see `main`.

    Raises:
        Stopped: by a signal, before the processes began.
    """
    environment = os.environ
    try:
        arguments = torchrun_arguments(count, environment)
        environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        environment.setdefault("PET_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
        environment.setdefault("PET_SHUTDOWN_TIMEOUT", str(TIME_TO_SAVE))

        import torch
        from torch.distributed import DistError, run
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        # That processes start again should be known.
        quieten("ERROR" if environment.get("MAX_RESTARTS", "0") != "0" else "CRITICAL")
        check_gpus(int(count), torch.cuda.device_count())
        program = ["-m", "casvit_dense", *command, "--launcher", "pytorch"]
        try:
            run.run(run.parse_args([*arguments, *program]))
        except ChildFailedError as error:
            return say_why(error, command)
        except SignalException as error:
            return Stopped.exit_code if command[0] == "train" else 128 + error.sigval
        except DistError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"the processes could not be started: {reason}") from error
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def torchrun_arguments(count: str, environment: Mapping[str, str]) -> list[str]:
    """What torchrun is told about processes and machines.

    Args:
        count: number of processes on this machine, as the user wrote it.

    Raises:
        UserError: a number is none, or machines lack the address of the first one.
    """
    if not count.isdecimal() or int(count) == 0:
        raise UserError(f"'{count}' processes: give a number from 1 up, such as the GPUs in use")
    for name in ("NNODES", "NODE_RANK", "MASTER_PORT", "PORT", "MAX_RESTARTS"):
        if not environment.get(name, "0").isdecimal():
            raise UserError(f"{name}={environment[name]}: give a number")
    port = environment.get("MASTER_PORT", environment.get("PORT"))
    nodes = environment.get("NNODES", "1")
    arguments = [f"--nproc_per_node={count}"]
    arguments += [f"--max_restarts={environment.get('MAX_RESTARTS', '0')}"]
    if nodes == "1" and port is None:
        return [*arguments, "--standalone"]
    if nodes != "1" and "MASTER_ADDR" not in environment:
        raise UserError(f"NNODES={nodes}: set MASTER_ADDR to the address of the first machine")
    return [
        *arguments,
        f"--nnodes={nodes}",
        f"--node_rank={environment.get('NODE_RANK', '0')}",
        f"--master_addr={environment.get('MASTER_ADDR', '127.0.0.1')}",
        f"--master_port={port or 29500}",
    ]


def quieten(level: str) -> None:
    """Keeps torchrun, which tells at length what it does, from messages below a level."""
    for handler in logging.getLogger("torch.distributed").handlers:
        handler.setLevel(level)


def check_gpus(count: int, found: int) -> None:
    """Compares processes with GPUs.

    Raises:
        UserError: a GPU would have to serve two.
    """
    if 0 < found < count:
        raise UserError(f"{count} processes: this machine has {found} GPUs, one a process")


def say_why(error: "ChildFailedError", command: Sequence[str]) -> int:
    """The exit code of what failed first, which has told its reason itself unless it was killed."""
    causes = {rank: one for rank, one in error.failures.items() if one.exitcode != LOST}
    if not causes:
        print(
            "error: the connection to a process of another machine is lost. The run ends here, and "
            "can be resumed",
            file=sys.stderr,
        )
        return Stopped.exit_code
    rank, failure = min(causes.items(), key=lambda one: one[1].timestamp)
    if failure.exitcode >= 0:
        return failure.exitcode
    cause = signal.Signals(-failure.exitcode)
    memory = ", as the system does when memory runs out" if cause == signal.SIGKILL else ""
    stopped = command[0] == "train" and cause in FROM_OUTSIDE
    print(
        f"error: rank {rank} (process {failure.pid}) was ended by {cause.name}{memory}; the others "
        f"were ended, too{'. The run can be resumed' * stopped}",
        file=sys.stderr,
    )
    return Stopped.exit_code if stopped else 128 + cause


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
