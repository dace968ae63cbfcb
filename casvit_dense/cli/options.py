"""Flags of a run, as `RunOptions` declares them."""

import argparse
import ast
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casvit_dense.options import ABOUT_DATA, RunOptions

#: Options of which a run takes one.
EXCLUSIVE = ("pretrained", "from_scratch")


class OverrideAction(argparse.Action):
    """``KEY=VALUE …`` as a dict; a value is a Python literal, or mmengine's shorthand, or text.

    mmengine's own action takes the spaces out of values and fails without a message.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values if isinstance(values, Sequence) else [values]:
            key, equals, text = pair.partition("=")
            if not equals or not key:
                parser.error(f"{option_string} {pair}: expected KEY=VALUE")
            try:
                options[key] = parse_value(text)
            except (AssertionError, ValueError, SyntaxError) as error:
                parser.error(f"{option_string} {pair}: {error}")
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """A Python literal as such; everything else as mmengine's ``DictAction`` reads it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        from mmengine.config import DictAction

        if text.startswith(("[", "(")) or "," in text:
            return DictAction._parse_iterable(text)
        return DictAction._parse_int_float_bool(text)


def add_run_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the flags that `RunOptions` declares for a command."""
    about_data = weights = None
    for option in dataclasses.fields(RunOptions):
        if command not in option.metadata.get("commands", ()):
            continue
        arguments = dict(option.metadata["arguments"], default=option.default)
        if option.name == "cfg_options":
            arguments.update(action=OverrideAction, default={})
        target: argparse._ActionsContainer = parser
        if option.name in EXCLUSIVE:
            target = weights = weights or parser.add_mutually_exclusive_group()
        elif option.name in ABOUT_DATA:
            title = "what cannot be found in the data"
            target = about_data = about_data or parser.add_argument_group(title)
        target.add_argument(f"--{option.name.replace('_', '-')}", **arguments)
    if command in ("train", "test"):
        # Launchers of old torch versions pass it; torchrun sets the environment instead.
        parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)


def add_ledger(
    parser: argparse.ArgumentParser, default_text: str, default: Path | None = None
) -> None:
    """Adds ``--ledger`` to commands with a default of their own.

    Args:
        default_text: where rows go without the flag, in words.
        default: the same as a value.
    """
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        default=default,
        help=f"file of result rows ({default_text})",
    )


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options that the flags of one command name; the others keep their defaults."""
    names = {option.name for option in dataclasses.fields(RunOptions)}
    return RunOptions(**{k: v for k, v in vars(args).items() if k in names})
