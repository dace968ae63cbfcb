"""Flags that training and evaluation share."""

import argparse
import ast
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casvit_dense.options import COCO_BACKENDS, IMAGE_DECODERS, RunOptions

FUSE_HELP = "run the fused form: same results, faster"


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


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds ``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OverrideAction,
        default={},
        metavar="KEY=VALUE",
        help="override config values, e.g. train_cfg.max_epochs=1",
    )


def add_ledger(
    parser: argparse.ArgumentParser, default_text: str, default: Path | None = None
) -> None:
    """Adds ``--ledger``.

    Args:
        parser: takes it.
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


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the shared flags; spelling is mmdetection's."""
    parser.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="default: work_dirs/<config stem>"
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder of the data set")
    parser.add_argument("--seed", type=int, help="seed of every random generator")
    parser.add_argument("--deterministic", action="store_true", help="deterministic algorithms")
    add_overrides(parser)
    parser.add_argument(
        "--coco-backend",
        choices=COCO_BACKENDS,
        help=f"package that evaluates boxes and masks, same numbers (default {COCO_BACKENDS[0]})",
    )
    parser.add_argument(
        "--image-decoder",
        choices=IMAGE_DECODERS,
        help=f"library that decodes images (default {IMAGE_DECODERS[0]})",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    # Launchers of old torch versions pass it; torchrun sets the environment instead.
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options that the flags of one command name; the others keep their defaults."""
    names = {option.name for option in dataclasses.fields(RunOptions)}
    return RunOptions(**{k: v for k, v in vars(args).items() if k in names})
