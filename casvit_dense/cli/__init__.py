"""The ``casvit-dense`` program: it answers signals before it imports what its commands need."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from types import FrameType

from casvit_dense.errors import Stopped, UserError
from casvit_dense.signals import stop_requests

INTERRUPTED = 128 + signal.SIGINT  # the exit code, as shells count it


def program() -> None:
    """The installed program: `main`, and a second Ctrl-C ends it without the clean-up.

    A training takes what asks for an end as it does later, while it is still imported.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background
        signal.signal(signal.SIGINT, _interrupt)
    with stop_requests() if sys.argv[1:2] == ["train"] else nullcontext():
        sys.exit(main())


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Loader workers inherit this, and would print what a second one breaks off.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0: done; 1: a check failed; 2: bad input or a full or protected disk, said in one line;
        75: stopped by a signal, and can be resumed; 130: interrupted; 141: nobody reads the output
        any more, as after ``| head``.
    """
    try:
        import shlex

        from casvit_dense.cli.parser import parse

        args = parse(argv)
        args.command = shlex.join(["casvit-dense", *(sys.argv[1:] if argv is None else argv)])
        code = args.run(args) or 0
        sys.stdout.flush()  # while an error can still be told
        return code
    except UserError as error:
        return _say(f"error: {error}", 2)
    except Stopped as stop:
        return _say(str(stop), stop.exit_code)
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        from casvit_dense.files import DISK_ERRORS

        if error.errno not in DISK_ERRORS:
            raise
        return _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _drop_output() -> None:
    """Drops what nobody takes any more; Python would fail on it again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(message: str, code: int) -> int:
    # Processes of one machine mostly end alike; the first of them says why, and torchrun ends the
    # others while they wait. One that still lives then has a reason of its own.
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) != "0":
        if code == Stopped.exit_code:
            return code
        time.sleep(20)  # on a busy machine that takes more than five
    with suppress(OSError):
        print(message, file=sys.stderr)
    _drop_output()
    return code
