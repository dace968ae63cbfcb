"""The ``casvit-dense`` program: one thin module per sub-command."""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType

from casvit_dense import __version__
from casvit_dense.errors import Stopped, UserError
from casvit_dense.files import DISK_ERRORS

COMMANDS = (
    "train",
    "replay",
    "test",
    "predict",
    "analyze",
    "compare",
    "config",
    "data",
    "demo",
    "classify",
    "convert",
    "weights",
    "export",
    "benchmark",
    "reproduce",
    "verify",
    "results",
    "report",
    "doctor",
)

INTERRUPTED = 128 + signal.SIGINT  # the exit code, as shells count it


def build_parser() -> argparse.ArgumentParser:
    """The whole program's parser; each command module adds its own arguments and its ``run``."""
    parser = argparse.ArgumentParser(
        prog="casvit-dense", description="CAS-ViT for detection and segmentation."
    )
    parser.add_argument("--version", action="version", version=f"casvit-dense {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"casvit_dense.cli.{name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        # argparse fills in values behind % in a help, but not in a description.
        command = commands.add_parser(name, help=summary.replace("%", "%%"), description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; ``rest`` is what follows the flags of a model's command."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "rest") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return args


def program() -> None:
    """The installed program: `main`, and a second Ctrl-C ends it without the clean-up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background
        signal.signal(signal.SIGINT, _interrupt)
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
        time.sleep(5)
    with suppress(OSError):
        print(message, file=sys.stderr)
    _drop_output()
    return code
