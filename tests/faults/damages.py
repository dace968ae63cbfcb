"""Damages the newest checkpoint of a training and looks from where it would be resumed."""

import math
import random
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import torch
from broken_runs import options_for
from demo_runs import config_of
from fault_scripts import flags, folder_with_shapes

from casvit_dense.checkpoint.whole import SUMS, whole_file
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.resume import find_resumed
from casvit_dense.engine.train import train
from casvit_dense.training.saving import numbered

KINDS = ("bit", "cut", "zeros", "NaN", "infinite moment", "missing")
WHOLE = ("optimizer", "state_dict", "meta", "message_hub", "param_schedulers")


def damage(path: Path, kind: str, chance: random.Random) -> str:
    """Damages a checkpoint in place; says how."""
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    if kind == "bit":
        bit = chance.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        return f"bit {bit} of byte {at}"
    if kind == "cut":
        path.write_bytes(content[:at])
        return f"cut at byte {at}"
    if kind == "zeros":
        at = chance.randrange(len(content) - 65536)
        content[at : at + 65536] = bytes(65536)
        path.write_bytes(content)
        return f"64 KiB of zeros at {at}"
    # These are written whole, with a sum that fits: what a training itself may have left.
    state: dict[str, Any] = torch.load(path, weights_only=False)  # of this very script
    if kind == "missing":
        name = chance.choice(WHOLE)
        del state[name]
    elif kind == "NaN":
        name = chance.choice([n for n, t in state["state_dict"].items() if t.is_floating_point()])
        state["state_dict"][name].view(-1)[0] = math.nan
    else:
        number = chance.choice(list(state["optimizer"]["state"]))
        name = f"{chance.choice(['exp_avg', 'exp_avg_sq'])} of parameter {number}"
        state["optimizer"]["state"][number][name.split()[0]].view(-1)[0] = math.inf
    with whole_file(path) as place:
        torch.save(state, place)
    return f"{kind}: {name}"


def main() -> int:
    args = flags(__doc__, quick="18 damages", damages=200, seed=0)
    count, chance = 18 if args.quick else args.damages, random.Random(args.seed)
    found, wrong = Counter[str](), []
    with folder_with_shapes() as root:
        folder = root / "run"
        train(config_of("fpn"), options_for("fpn", root / "shapes", folder))
        newest, before = numbered(folder)
        options = options_for("fpn", root / "shapes", folder, resume="auto")
        cfg = resolve(config_of("fpn"), options).config
        sound, sums = root / "sound", (folder / SUMS).read_bytes()
        shutil.copy(newest, sound)
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            shutil.copy(sound, newest)
            (folder / SUMS).write_bytes(sums)
            how = damage(newest, kind, chance)
            resumed = find_resumed(cfg, options)
            assert resumed is not None
            named = len(resumed.messages) == 1 and str(newest) in resumed.messages[0]
            if resumed.checkpoint == before and named:
                found[kind] += 1
            else:
                wrong.append(how)
    print(", ".join(f"{kind} {found[kind]}" for kind in KINDS))
    print(f"{sum(found.values())} of {count} damages found, named, and the checkpoint before taken")
    for how in wrong:
        print(f"  not found: {how}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
