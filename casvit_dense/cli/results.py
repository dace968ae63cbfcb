"""Rewrite the pages and metafiles of this repository that are generated from its result rows.

Generated: the tables of docs/results.md and README.md, model-index.yml, configs/*/metafile.yml.
Sources: docs/results/results.jsonl, docs/speed/cpu.jsonl and the published figures.
"""

import argparse
import sys
from pathlib import Path

from casvit_dense.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder."""
    parser.add_argument(
        "root", nargs="?", type=Path, default=Path(), help="folder of the repository (default .)"
    )


def run(args: argparse.Namespace) -> None:
    """Writes the files whose content has changed, and prints which."""
    from casvit_dense.results.costs import model_sizes
    from casvit_dense.results.ledger import read_ledger
    from casvit_dense.results.pages import COUNTS, generate
    from casvit_dense.zoo import FAMILIES, casvit_configs, peer_configs

    counts = args.root / COUNTS
    counted, bad = read_ledger(counts) if counts.exists() else ([], [])
    sizes = model_sizes(counted)
    generated = generate(args.root, counted)
    for family in FAMILIES:
        for path in (*casvit_configs(family), *peer_configs(family)):
            if path.stem not in sizes:
                side = "x".join(map(str, family.counting_size))
                print(
                    f"warning: {path.stem} has no size; count it: casvit-dense benchmark {path} "
                    f"--part model --mode count --sizes {side} --ledger {counts}",
                    file=sys.stderr,
                )
    for line in (*generated.rejected, *bad):
        print(f"warning: {line}", file=sys.stderr)
    written = 0
    for name, text in generated.files.items():
        path = args.root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text.encode())
            print(f"written: {path}")
            written += 1
    print(f"results: {written} of {len(generated.files)} files written, the others are up to date")
