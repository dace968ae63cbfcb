"""Training and evaluation: one path for detection, instance and semantic segmentation."""

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from casvit_dense.checkpoint import load_model, read_checkpoint
from casvit_dense.engine.forms import put_exported, put_folded, put_fused, unwrapped
from casvit_dense.engine.hooks import TrainingRecordHook, format_duration
from casvit_dense.engine.options import RunOptions
from casvit_dense.engine.packing import pack_index
from casvit_dense.engine.preflight import check_data
from casvit_dense.engine.prepare import (
    evaluators,
    prepare,
    scale_learning_rate,
    set_from_scratch,
    set_precision,
    set_weights,
)
from casvit_dense.engine.recording import (
    evaluation_row,
    subject_of,
    training_of,
    training_record,
)
from casvit_dense.engine.registries import use_scope_of
from casvit_dense.engine.rehearsal import rehearse
from casvit_dense.engine.repeatable import RepeatableHook
from casvit_dense.engine.results import conditions, cpu_name, write_json
from casvit_dense.engine.resume import find_resumed
from casvit_dense.errors import UserError
from casvit_dense.export.model import ExportedModel, is_exported
from casvit_dense.export.runtime import find_backend
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.row import row_id


@contextmanager
def ending_together() -> Iterator[None]:
    """Ends the process group of a run that went well.

    A process that leaves while another works aborts it (gloo), and so does a group that is still
    held by a model when the interpreter ends.
    """
    yield
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@ending_together()
def train(config: str | Path, options: RunOptions) -> Path:
    """Trains a config from start or from a checkpoint of itself.

    Args:
        config: config file.
        options: see `RunOptions`.

    Returns:
        The last checkpoint.

    Raises:
        UserError: anything that is wrong with config, options, weights or data (most of it is
            found before anything is built), a loss that is not finite, or nothing left to train.
    """
    cfg = prepare(config, options)
    notes = set_from_scratch(cfg) if options.from_scratch else []
    resumed, more = find_resumed(cfg, options)
    notes += more
    cfg.resume = resumed is not None
    if resumed is not None:
        cfg.load_from = str(resumed)
        if options.pretrained is not None:
            notes.append(f"--pretrained is not read: the run goes on from {resumed}")
    if cfg.get("load_from"):
        cfg.model.backbone.init_cfg = None  # the checkpoint holds the whole model
    else:
        set_weights(cfg, options.pretrained)
    set_precision(cfg, options)
    notes += scale_learning_rate(cfg, options)
    use_scope_of(cfg)
    notes += rehearse(cfg, options.fold)
    notes += check_data(cfg, ("train_dataloader", "val_dataloader"))

    runner = start_runner(cfg, ("train_loop", "val_loop"))
    for note in notes:
        runner.logger.info(note)
    if options.fold is not None:
        put_folded(unwrapped(runner.model), options.fold)
    if cfg.get("load_from"):
        # mmengine loads what fits and logs the rest; a checkpoint of another model must not start.
        load_model(unwrapped(runner.model), cfg.load_from)
    runner.register_hook(TrainingRecordHook(training_record(config, options, runner)))
    if options.seed is not None:
        runner.register_hook(RepeatableHook())
    runner.train()
    # Not from the file `last_checkpoint`, which other processes may not see yet.
    last = runner.message_hub.runtime_info.get("last_ckpt")
    if last is None or (resumed is not None and Path(last).resolve() == resumed.resolve()):
        raise UserError(
            "no checkpoint was written: the schedule was over, or the config keeps none"
        )
    runner.logger.info(f"trained: {last}")
    return Path(last)


@ending_together()
def test(config: str | Path, checkpoint: str | Path, options: RunOptions) -> dict[str, float]:
    """Evaluates a checkpoint on the test set of a config.

    Leaves ``test/metrics.json`` in the work directory, with the conditions of the figures and the
    predictions beside it: COCO results files, or index maps under ``test/maps``. The ledger gets a
    row.

    Args:
        config: config file.
        checkpoint: dense checkpoint, ours or an official one, or a file that
            ``casvit-dense export`` wrote.
        options: see `RunOptions`.

    Returns:
        Metrics by name: ``coco/bbox_mAP`` and so on as fractions, ``mIoU`` in percent.

    Raises:
        UserError: anything that is wrong with config, options, checkpoint or data.
    """
    started = time.monotonic()
    cfg = prepare(config, options)
    exported = is_exported(checkpoint)
    training = None
    if exported:
        find_backend(checkpoint)
    else:  # a damaged file must not cost the building of everything
        training = training_of(read_checkpoint(checkpoint))
    drop_training(cfg)
    use_scope_of(cfg)
    notes = check_data(cfg, ("test_dataloader",))
    if exported:
        put_exported(cfg, checkpoint, options)
    folder = Path(cfg.work_dir, "test")
    keep_predictions(cfg, folder, options.classwise)

    runner = start_runner(cfg, ("test_loop",))
    for note in notes:
        runner.logger.info(note)
    model = unwrapped(runner.model)
    if isinstance(model, ExportedModel):
        facts = {**model.facts(), "device": cpu_name()}
    else:
        facts = {"weights_sha256": load_model(model, checkpoint).sha256, "form": "reference"}
        if options.fuse:
            put_fused(runner)
            facts["form"] = "fused"
    # Before the hours of testing: the truth's files might be gone after them.
    subject = subject_of(cfg, options, training, runner) if is_main_process() else None
    if subject is not None:
        append_rows(subject.ledger, [])  # can it be written?
    metrics: dict[str, float] = runner.test()
    if subject is not None:
        condition = conditions(
            cfg,
            **facts,
            images=len(runner.test_dataloader.dataset),
            seed=runner.seed,
            duration_s=round(time.monotonic() - started, 1),
            coco_backend=coco_backend(runner),
        )
        content = {
            "config": Path(config).stem,
            "checkpoint": str(checkpoint),
            "metrics": metrics,
            "per_class": per_class(runner),
            "conditions": condition,
        }
        write_json(folder / "metrics.json", content)  # whatever becomes of the row
        row = evaluation_row(subject, content, folder)
        write_json(folder / "metrics.json", {**content, "row": row_id(row)})
        for name, value in metrics.items():
            runner.logger.info(f"{name}: {value:.4g}")
        took = format_duration(time.monotonic() - started)
        runner.logger.info(f"evaluated in {took}: {folder / 'metrics.json'}")
        append_rows(subject.ledger, [row])
        runner.logger.info(f"row {row_id(row)} added to {subject.ledger}")
    return metrics


def per_class(runner: Runner) -> dict[str, dict[str, float]]:
    """The value of every class, by kind, of the metrics that keep them."""
    return {
        kind: values
        for metric in runner.test_loop.evaluator.metrics
        for kind, values in getattr(metric, "per_class", {}).items()
    }


def coco_backend(runner: Runner) -> str | None:
    """The package that evaluated boxes and masks; its version is among the versions."""
    metrics = runner.test_loop.evaluator.metrics
    return next((m.backend for m in metrics if hasattr(m, "backend")), None)


def start_runner(cfg: Config, loops: Iterable[str]) -> Runner:
    """The runner of a prepared config, with everything built that some loops need.

    On CPUs the process group is made here: mmengine would select a GPU first.

    Args:
        cfg: the config.
        loops: names of the runner's loops, whose data sets are then read.

    Raises:
        UserError: the config names a part that does not exist or gives it arguments that it does
            not take, or the work directory cannot be made.
    """
    make_folder(Path(cfg.work_dir))
    if cfg.launcher == "pytorch" and not torch.cuda.is_available():
        torch.distributed.init_process_group(backend="gloo")
    try:
        runner = Runner.from_cfg(cfg)
        for loop in loops:
            pack_index(getattr(runner, loop).dataloader.dataset)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    return runner


def drop_training(cfg: Config) -> None:
    """Takes out what only training needs; the backbone's weights come from the checkpoint."""
    cfg.model.backbone.init_cfg = None
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.resume, cfg.load_from = False, None


def keep_predictions(cfg: Config, folder: Path, classwise: bool) -> None:
    """Tells the metrics where predictions go and whether to print every class."""
    for metric in evaluators(cfg):
        if metric.type == "DenseCocoMetric":
            metric.update(outfile_prefix=str(folder / "predictions"), classwise=classwise)
            make_folder(folder)
        elif metric.type == "DenseIoUMetric":
            maps = folder / "maps"
            metric.update(output_dir=str(maps), classwise=classwise)
            make_folder(maps)  # by every process: all of them write maps


def make_folder(folder: Path) -> None:
    """Makes a folder of the work directory.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"work directory {folder} cannot be made: {error}") from error
