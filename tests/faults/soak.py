"""Trains a tiny model for long, with an evaluation every 100 iterations, and watches its memory.

Prints what process and workers hold as the training goes on; the bar is 1 % of growth after
iteration 500.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from demo_runs import options_of
from exported_models import write_model
from fault_scripts import flags, folder_with_shapes

from casvit_dense.cli import main as run_command
from casvit_dense.evaluations import LOGS
from casvit_dense.files import json_lines

#: Most growth that is none.
GROWTH = 0.01


def main() -> int:
    args = flags(__doc__, quick="300 iterations, the last 100 watched", iterations=5000, workers=1)
    length, first = (300, 200) if args.quick else (args.iterations, 500)
    with folder_with_shapes(train=8, val=2, size=32) as root:
        begun = time.monotonic()
        config, _ = write_model("fpn", root)
        overrides = options_of("fpn", root / "shapes", root / "run").cfg_options | {
            "train_cfg.max_iters": length,
            "train_cfg.val_interval": 100,
            "default_hooks.checkpoint.interval": 100,
            "default_hooks.checkpoint.max_keep_ckpts": 1,
            "default_hooks.logger.interval": 20,
            "train_dataloader.batch_size": 2,
            "custom_hooks.0.seconds": 1e9,
        }
        words = ["train", str(config), "--work-dir", str(root / "run"), "--from-scratch"]
        words += ["--data-root", str(root / "shapes/ade"), "--workers", str(args.workers)]
        code = run_command([*words, "--cfg-options", *(f"{k}={v}" for k, v in overrides.items())])
        assert code == 0
        (log,) = (root / "run").glob(LOGS)
        lines = [line for line in json_lines(log) if "rss" in line]
        seconds = time.monotonic() - begun
    missed = False
    for title in ("rss", "rss_workers"):
        held = {line["step"]: line[title] for line in lines}
        watched = [value for step, value in sorted(held.items()) if step >= first]
        growth = watched[-1] / watched[0] - 1
        missed |= growth > GROWTH
        print(
            f"{title}: {watched[0]} MB at iteration {first}, {watched[-1]} MB at {length}: "
            f"{growth:+.2%}"
        )
    print(f"{length} iterations with {length // 100} evaluations in {seconds:.0f} s")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
