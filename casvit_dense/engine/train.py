"""Training, from the start or from a checkpoint of the same run."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from casvit_dense.checkpoint.formats import MODEL_RECORD
from casvit_dense.config.backbone import with_backbone
from casvit_dense.config.kept import model_record
from casvit_dense.config.machine import world_size
from casvit_dense.config.mismatches import foreign_data
from casvit_dense.config.own_data import DATA_FILE, OwnData, find_data
from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import ResolvedConfig, check_amp, resolve
from casvit_dense.config.schedule import describe_steps, unfinished_warmup
from casvit_dense.config.values import check_checkpoints
from casvit_dense.data.coco_file import read_once
from casvit_dense.data.description import write_description
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.checks import (
    check_weights,
    check_work_dir,
    dry_run,
    first_weights,
    load_first,
)
from casvit_dense.engine.console import is_first_process, log_model, log_schedule, quiet_console
from casvit_dense.engine.record import training_precision, training_record
from casvit_dense.engine.resume import (
    CONDITIONS,
    ResumedRun,
    changes_since,
    check_same_start,
    check_unused,
    conditions_of,
    find_resumed,
    first_of,
    go_on,
    one_training_in,
    refuse_changes,
    resumed_records,
)
from casvit_dense.engine.runner import apply_model_options, build_runner
from casvit_dense.errors import UserError
from casvit_dense.files import short_path
from casvit_dense.log import LOG, log_entry
from casvit_dense.options import RunOptions
from casvit_dense.progress import format_duration
from casvit_dense.provenance import device_name
from casvit_dense.signals import stop_requests
from casvit_dense.training.draws import StepSeedHook
from casvit_dense.training.finite import finite_guard
from casvit_dense.training.loops import RevalidationHook
from casvit_dense.training.processes import (
    model_of,
    on_main_process,
    open_process_group,
    process_group_closed,
)
from casvit_dense.training.records import TRAINING_RECORD, RecordHook
from casvit_dense.training.saving import numbered
from casvit_dense.training.stops import StopHook

#: Sections of a config that a training cannot do without.
NEEDED = ("train_dataloader", "train_cfg", "optim_wrapper")


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
        Stopped: a signal asked for it; everything is saved.
    """
    started = time.monotonic()
    with stop_requests(is_first_process()) as request, read_once():
        request.waits = world_size(options.launcher) > 1  # others are not left alone
        data, resolved = read_training(config, options)
        cfg = resolved.config
        found = numbered(Path(cfg.work_dir))
        resumed, notes = find_start(cfg, options)
        backbone = check_start(cfg, options, data, resumed)
        with one_training_in(Path(cfg.work_dir), found):
            runner = build_training(cfg, options, data, backbone)
            records, changes = records_from(resumed, resolved, options, runner)
            for note in [*resolved.messages, *notes, *notes_on(cfg, runner), *changes]:
                log_entry("note", note)
            fill_model(runner, cfg, options)
            records = finite_guard(runner).begin(records, options.on_nan)
            hooks = RecordHook(records), StepSeedHook(), StopHook(request), RevalidationHook()
            for hook in hooks:
                runner.register_hook(hook)
            runner.train()
        return report_end(runner, started)


def read_training(config: str | Path, options: RunOptions) -> tuple[OwnData | None, ResolvedConfig]:
    """The data of ``--data``, and the config with all options; refused if it cannot be trained."""
    source = read_config(config, options.trusted_configs_only)
    source = with_backbone(source, options.backbone)
    data = find_data(source, options, training=True)
    resolved = resolve(source, options, data)
    missing = [key for key in NEEDED if resolved.config.get(key) is None]
    if missing:
        raise UserError(f"{config} cannot be trained: it lacks {', '.join(missing)}")
    check_amp(resolved.config)
    check_checkpoints(resolved.config)
    return data, resolved


def find_start(cfg: Config, options: RunOptions) -> tuple[ResumedRun | None, list[str]]:
    """The checkpoint to go on from, if any, and what the user should be told.

    Without one the folder must be unused, and the weights to begin with be there.
    """
    check_work_dir(cfg)
    resumed = find_resumed(cfg, options)
    cfg.resume = resumed is not None
    if resumed is None:
        notes = check_unused(Path(cfg.work_dir), options)
    else:
        notes = go_on(cfg, resumed, options)
    if cfg.get("load_from") or options.init is not None:
        cfg.model.backbone.init_cfg = None  # the file holds the whole model
    else:
        check_weights(cfg)
    return resumed, notes


def check_start(
    cfg: Config, options: RunOptions, data: OwnData | None, resumed: ResumedRun | None
) -> list[str]:
    """Tries the backbone, connects the processes, checks the data, and shows all that.

    Returns:
        What was loaded into the backbone, for the log file.
    """
    log_model(cfg)
    log_entry("weights", options.init or first_weights(cfg))
    log_schedule(cfg, world_size(options.launcher))
    log_entry("device", device_name())
    register_scope(cfg)
    backbone = dry_run(cfg, options)
    open_process_group(cfg)
    check_same_start(resumed)
    facts = on_main_process(lambda: check_data(cfg, ("train_dataloader", "val_dataloader")))
    for line in [*(data.messages if data is not None else ()), *facts]:
        log_entry("data", line)
    return backbone


def build_training(
    cfg: Config, options: RunOptions, data: OwnData | None, backbone: Iterable[str]
) -> Runner:
    """The runner of a training; its folder says which data it has, its log which weights."""
    if data is not None:
        write_description(data.description, Path(cfg.work_dir, DATA_FILE))
    runner = build_runner(cfg, ("train_loop", "val_loop"), options.max_bad_images)
    for line in backbone:
        runner.logger.info(line)
    log_entry("steps", describe_steps(cfg, runner.max_iters, len(runner.train_dataloader)))
    return runner


def notes_on(cfg: Config, runner: Runner) -> list[str]:
    """What the user should be told once the length of the training and its data are known."""
    loader = runner.train_dataloader
    return [
        *unfinished_warmup(cfg, runner.max_iters, len(loader)),
        *foreign_data(cfg, "train_dataloader", loader.dataset),
    ]


def records_from(
    resumed: ResumedRun | None, resolved: ResolvedConfig, options: RunOptions, runner: Runner
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """What each checkpoint will say of the training, and what has changed since it was resumed.

    Raises:
        UserError: something has, and that was not allowed.
    """
    records = records_of(resolved, options, runner)
    if resumed is None:
        return records, []
    changes = changes_since(resumed, resolved, records)
    if not options.allow_changed_resume:
        refuse_changes(resumed, changes)
    runner.resumed, runner.changed = resumed.content, bool(changes)
    notes = [f"changed since {resumed.checkpoint}: {change}" for change in first_of(changes)]
    return resumed_records(resumed, records, changes), notes


def records_of(
    resolved: ResolvedConfig, options: RunOptions, runner: Runner
) -> dict[str, Mapping[str, Any]]:
    """What each checkpoint of a training says of it, by key of its ``meta``."""
    return {
        TRAINING_RECORD: training_record(resolved, options, runner),
        MODEL_RECORD: model_record(resolved.config, resolved.recipe),
        CONDITIONS: conditions_of(resolved.config, options, runner.train_dataloader.dataset),
    }


def fill_model(runner: Runner, cfg: Config, options: RunOptions) -> None:
    """Loads the weights that a whole model begins with, and gives it the form to train in."""
    model: Any = model_of(runner)
    if training_precision(cfg) == "bf16":
        keep_mmcv_operators_in_fp32(model)
    if options.init is not None:
        model.init_weights()  # now: the runner would undo what is loaded, and does it once only
    if loaded := load_first(model, cfg, options.init):
        log_entry("weights", loaded)
    apply_model_options(runner, options)


def report_end(runner: Runner, started: float) -> Path:
    """Says where a training ended; returns its last checkpoint.

    Raises:
        UserError: there is none.
    """
    # Not from the file `last_checkpoint`, which other processes may not see yet.
    last = runner.message_hub.runtime_info.get("last_ckpt")
    if last is None:
        raise UserError("no checkpoint was written: the config keeps none")
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
