"""Going on where a run stopped."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.engine.options import RunOptions
from casvit_dense.errors import UserError

#: Key of a checkpoint's ``meta`` that holds how its backbone was built.
RECORD = "backbone_cfg"

#: Options of a backbone that change how it runs, not what it learns.
HOW_IT_RUNS = ("init_cfg", "with_cp")

#: Checkpoints of a run, not the copy of the best one.
NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


@HOOKS.register_module()
class BackboneRecordHook(Hook):
    """Notes in every checkpoint how its backbone was built.

    The tensors do not tell whether BatchNorm was trained, and a run that is resumed otherwise goes
    on as another experiment.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"][RECORD] = recorded(runner.cfg)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Forgets checkpoints outside the work directory: mmengine would delete the best one."""
        info = checkpoint.get("message_hub", {}).get("runtime_info", {})
        places = [key for key in info if "best_ckpt" in key or key == "last_ckpt"]
        work_dir = Path(runner.work_dir).resolve()
        if not all(Path(info[key]).resolve().is_relative_to(work_dir) for key in places):
            for key in [*places, *(key for key in info if "best_score" in key)]:
                del info[key]


def recorded(cfg: Config) -> dict[str, Any]:
    """How a config builds its backbone, as far as it matters for what is learned."""
    backbone = cfg.model.backbone.to_dict()  # plain types: the only ones that may be read back
    return {key: value for key, value in backbone.items() if key not in HOW_IT_RUNS}


def find_resumed(cfg: Config, options: RunOptions) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from: the one named, or the newest readable one.

    A run that was killed while writing leaves half a file; the one before it serves.

    Args:
        cfg: the prepared config, with what ``--from-scratch`` changes.
        options: see `RunOptions`.

    Returns:
        The checkpoint, if any, and what the user should be told.

    Raises:
        UserError: the named checkpoint is missing or unreadable, none of those found can be
            read, or the backbone was built in another way.
    """
    resume = options.resume
    if resume is None and cfg.get("resume"):
        resume = cfg.get("load_from") or "auto"
    if resume is None:
        return None, []
    if resume != "auto":
        path = Path(resume)
        check_same_backbone(cfg, path, read_checkpoint(path))
        return path, []
    notes = []
    folder = Path(cfg.work_dir)
    for path in numbered(folder):
        try:
            content = read_checkpoint(path)
        except UserError as error:
            notes.append(f"skipped: {error}")
            continue
        check_same_backbone(cfg, path, content)
        return path, notes
    if notes:
        raise UserError("\n".join([f"no checkpoint in {folder} can be read:", *notes]))
    return None, [f"nothing to resume in {folder}: starting from the beginning"]


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of a run, readable or not, newest first."""
    names = {path: NUMBERED.fullmatch(path.name) for path in folder.glob("*.pth")}
    numbers = {path: int(name[1]) for path, name in names.items() if name}
    # By age first: an earlier run in the same folder may have got further.
    return sorted(numbers, key=lambda p: (p.stat().st_mtime, numbers[p]), reverse=True)


def check_same_backbone(cfg: Config, path: Path, content: Mapping[str, Any]) -> None:
    """Compares how a checkpoint's backbone was built with how the config builds it.

    Raises:
        UserError: with every option that differs, then and now.
    """
    meta = content.get("meta")
    then, now = meta.get(RECORD) if isinstance(meta, Mapping) else None, recorded(cfg)
    if not isinstance(then, Mapping):  # written by other code, which does not say
        return
    changed = [
        f"{key} was {then.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{path} cannot be resumed: its backbone was built in another way "
            f"({'; '.join(changed)}). Give the flags of the first run, --from-scratch included"
        )
