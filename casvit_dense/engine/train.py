"""Training, from the start or from a checkpoint of the same run."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from casvit_dense.checkpoint import load_model, read_checkpoint
from casvit_dense.data.description import write_description
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.checks import check_weights, dry_run_backbone, first_weights
from casvit_dense.engine.config import read_config, register_scope, resolve
from casvit_dense.engine.console import (
    LOG,
    log_entry,
    log_model,
    log_schedule,
    quiet_console,
)
from casvit_dense.engine.hooks import (
    BACKBONE_RECORD,
    ModelRecordHook,
    RepeatableHook,
    TrainingRecordHook,
    backbone_record,
)
from casvit_dense.engine.kept_config import model_record
from casvit_dense.engine.machine import world_size
from casvit_dense.engine.mismatches import foreign_data
from casvit_dense.engine.own_data import DATA_FILE, find_data
from casvit_dense.engine.record import training_precision, training_record
from casvit_dense.engine.runner import (
    apply_model_options,
    build_runner,
    process_group_closed,
    start_from,
    unwrapped,
)
from casvit_dense.engine.schedule import describe_steps, unfinished_warmup
from casvit_dense.errors import UserError
from casvit_dense.files import short_path
from casvit_dense.options import RunOptions
from casvit_dense.progress import format_duration
from casvit_dense.provenance import device_name

#: Sections of a config that a training cannot do without.
NEEDED = ("train_dataloader", "train_cfg", "optim_wrapper")

#: Checkpoints of a run, not the copy of the best one.
NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


@quiet_console()
@process_group_closed()
def train(config: str | Path, options: RunOptions) -> Path:
    """Trains the model of a config, from the start or from a checkpoint of the same run.

    Args:
        config: config file.
        options: see `RunOptions`.

    Returns:
        The last checkpoint.

    Raises:
        UserError: anything that is wrong with config, options, weights or data (most of it is
            found before anything is built), a loss that is not finite, or nothing left to train.
    """
    started = time.monotonic()
    source = read_config(config)
    data = find_data(source, options, training=True)
    resolved = resolve(source, options, data)
    cfg = resolved.config
    missing = [key for key in NEEDED if cfg.get(key) is None]
    if missing:
        raise UserError(f"{config} cannot be trained: it lacks {', '.join(missing)}")
    resumed, messages = find_resumed(cfg, options)
    messages = [*resolved.messages, *messages]
    cfg.resume = resumed is not None
    if resumed is not None:
        cfg.load_from = str(resumed)
        if options.pretrained is not None:
            messages.append(f"--pretrained is not read: the run resumes from {resumed}")
    if cfg.get("load_from") or options.init is not None:
        cfg.model.backbone.init_cfg = None  # the file holds the whole model
    else:
        check_weights(cfg)
    log_model(cfg)
    log_entry("weights", options.init or first_weights(cfg))
    log_schedule(cfg, world_size(options.launcher))
    log_entry("device", device_name())
    register_scope(cfg)
    report = dry_run_backbone(cfg, options.fold)
    if data is not None:
        write_description(data.description, Path(cfg.work_dir, DATA_FILE))
        for line in data.messages:
            log_entry("data", line)
    for line in check_data(cfg, ("train_dataloader", "val_dataloader")):
        log_entry("data", line)

    runner = build_runner(cfg, ("train_loop", "val_loop"))
    for line in report:
        runner.logger.info(line)
    steps = runner.max_iters, len(runner.train_dataloader)
    log_entry("steps", describe_steps(cfg, *steps))
    messages += unfinished_warmup(cfg, *steps)
    messages += foreign_data(cfg, "train_dataloader", runner.train_dataloader.dataset)
    for message in messages:
        log_entry("note", message)
    model: Any = unwrapped(runner.model)
    if training_precision(cfg) == "bf16":
        keep_mmcv_operators_in_fp32(model)
    if cfg.get("load_from"):
        # mmengine loads what fits and logs the rest; a checkpoint of another model must not start.
        load_model(model, cfg.load_from)
    if options.init is not None:
        log_entry("weights", start_from(model, cfg, options.init))
    apply_model_options(runner, options)
    runner.register_hook(TrainingRecordHook(training_record(resolved, options, runner)))
    runner.register_hook(ModelRecordHook(model_record(cfg, resolved.recipe)))
    if options.seed is not None:
        runner.register_hook(RepeatableHook())
    runner.train()
    # Not from the file `last_checkpoint`, which other processes may not see yet.
    last = runner.message_hub.runtime_info.get("last_ckpt")
    if last is None or (resumed is not None and Path(last).resolve() == resumed.resolve()):
        raise UserError(
            "no checkpoint was written: the schedule was over, or the config keeps none"
        )
    if "best_ckpt" in runner.message_hub.runtime_info:
        LOG.info(f"best checkpoint: {short_path(runner.message_hub.get_info('best_ckpt'))}")
    LOG.info(f"trained in {format_duration(time.monotonic() - started)}: {short_path(last)}")
    return Path(last)


def keep_mmcv_operators_in_fp32(model: nn.Module) -> None:
    """Casts bfloat16 tensors to float32 where mmdet gives them to operators of mmcv.

    These have no kernels of bfloat16: focal loss and NMS, which take what dense heads return, and
    RoIAlign in RoI extractors. mmdet 2 did the same for float16 (``force_fp32``).
    """
    for module in model.modules():
        bases = {base.__name__ for base in type(module).__mro__}
        if "BaseDenseHead" in bases:
            module.register_forward_hook(lambda module, args, output: _in_fp32(output))
        elif "BaseRoIExtractor" in bases:
            module.register_forward_pre_hook(lambda module, args: _in_fp32(args))


def _in_fp32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
        return value.float()
    return tuple(map(_in_fp32, value)) if isinstance(value, (list, tuple)) else value


def find_resumed(cfg: Config, options: RunOptions) -> tuple[Path | None, list[str]]:
    """The checkpoint to resume from: the one named, or the newest readable one.

    A run that was killed while writing leaves half a file; the one before it is used.

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
        check_resumable(cfg, path, read_checkpoint(path))
        return path, []
    messages = []
    folder = Path(cfg.work_dir)
    for path in numbered(folder):
        try:
            content = read_checkpoint(path)
        except UserError as error:
            messages.append(f"skipped: {error}")
            continue
        check_resumable(cfg, path, content)
        return path, messages
    if messages:
        raise UserError("\n".join([f"no checkpoint in {folder} can be read:", *messages]))
    return None, [f"nothing to resume in {folder}: starting from the beginning"]


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of a run, readable or not, newest first."""
    names = {path: NUMBERED.fullmatch(path.name) for path in folder.glob("*.pth")}
    numbers = {path: int(name[1]) for path, name in names.items() if name}
    # By age first: an earlier run in the same folder may have got further.
    return sorted(numbers, key=lambda p: (p.stat().st_mtime, numbers[p]), reverse=True)


def check_resumable(cfg: Config, path: Path, content: Mapping[str, Any]) -> None:
    """Looks for the state of a training, and compares how the backbone was built then and now.

    Raises:
        UserError: something is missing, or was built in another way.
    """
    meta = content.get("meta")
    known: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}
    lacking = [key for key in ("epoch", "iter") if key not in known]
    if "optimizer" not in content:
        lacking.append("optimizer")
    if lacking:
        raise UserError(
            f"{path} cannot be resumed: it holds weights without {', '.join(lacking)}, as "
            "converted and best_… files do; resume from an epoch_… or iter_… file, or start a new "
            f"training from its weights: --cfg-options load_from={path}"
        )
    then, now = known.get(BACKBONE_RECORD), backbone_record(cfg)
    if not isinstance(then, Mapping):  # written by other code, without a record
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
