"""Check what is installed, and a config's weights and data; say what to do about the rest.

Exit code 0: nothing needed is broken; 1: something is; 2: bad input.
"""

import argparse
from pathlib import Path

from casvit_dense.cli.options import add_run_options
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        nargs="?",
        help="config file of a training; its weights and data are checked, too",
    )
    add_run_options(parser, "doctor")
    parser.add_argument(
        "--work-dir", type=Path, default=Path(), help="folder whose disk is checked (default: .)"
    )


def run(args: argparse.Namespace) -> int:
    from casvit_dense import doctor
    from casvit_dense.doctor import Check, Status

    if not args.work_dir.is_dir():
        raise UserError(f"--work-dir {args.work_dir} is not a folder: create it or leave it out")
    options = RunOptions(
        data_root=args.data_root,
        backbone=args.backbone,
        pretrained=args.pretrained,
        from_scratch=args.from_scratch,
    )
    if args.config is None and options != RunOptions():
        flags = "--data-root, --backbone, --pretrained and --from-scratch"
        raise UserError(f"{flags} go with a config; give one")
    checks = doctor.examine(args.work_dir.resolve())
    if args.config is not None and doctor.exit_code(checks):
        checks.append(Check("config", Status.WARN, "not checked", "repair what failed, run again"))
    elif args.config is not None:
        from casvit_dense.engine.checks import check_training

        checks += check_training(args.config, options)
    print(doctor.render(checks))
    return doctor.exit_code(checks)
