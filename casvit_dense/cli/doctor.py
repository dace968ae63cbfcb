"""Say what is installed, whether it works, and what to do about the rest."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work-dir", type=Path, default=Path(), help="folder whose disk is looked at (default: .)"
    )


def run(args: argparse.Namespace) -> int:
    from casvit_dense import doctor
    from casvit_dense.errors import UserError

    if not args.work_dir.is_dir():
        raise UserError(f"--work-dir {args.work_dir} is not a folder: create it or leave it out")
    checks = doctor.examine(args.work_dir.resolve())
    print(doctor.render(checks))
    return doctor.exit_code(checks)
