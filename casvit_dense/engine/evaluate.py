"""Evaluation of checkpoints and exported files on the test set of a config."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from casvit_dense.backbones.names import label_of
from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.checkpoint.formats import known_classes
from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.kept import load_known, model_config
from casvit_dense.config.mismatches import compare_classes, foreign_data, same_as_training
from casvit_dense.config.own_data import DATA_FILE, OwnData, find_data
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import ResolvedConfig, resolve
from casvit_dense.config.tree import evaluators, leaf_datasets
from casvit_dense.data.coco_file import read_once
from casvit_dense.data.description import write_description
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.checks import check_work_dir
from casvit_dense.engine.console import format_metrics, log_model, quiet_console
from casvit_dense.engine.record import (
    conditions,
    describe_dataset,
    evaluation_row,
    json_values,
    network_costs,
    published_size,
    title_of,
    training_of,
    with_launcher,
)
from casvit_dense.engine.runner import apply_model_options, build_runner, make_folder
from casvit_dense.engine.sense import remarks
from casvit_dense.errors import UserError
from casvit_dense.evaluations import (
    MAPS_FOLDER,
    METRICS_FILE,
    PREDICTIONS,
    finish_evaluation,
    new_evaluation,
    removed_unless_finished,
)
from casvit_dense.export.description import read_description
from casvit_dense.export.model import ExportedModel, check_origin, check_overrides, is_exported
from casvit_dense.export.runtime import find_backend
from casvit_dense.files import check_writable, write_json
from casvit_dense.log import LOG, log_entry
from casvit_dense.options import RunOptions
from casvit_dense.progress import format_duration
from casvit_dense.provenance import cpu_name, device_name
from casvit_dense.results.ledger import LEDGER, append_rows
from casvit_dense.results.lines import row_id
from casvit_dense.results.row import Dataset, Evaluation, NetworkCosts, Training
from casvit_dense.training.processes import (
    model_of,
    on_main_process,
    open_process_group,
    process_group_closed,
)


@quiet_console()
@process_group_closed()
@read_once()
def evaluate(
    config: str | Path | Config | None, checkpoint: str | Path, options: RunOptions
) -> dict[str, float]:
    """Evaluates a checkpoint on the test set of a config.

    Once it is whole, the evaluation has a folder of its own, ``test/<time>``: with
    ``metrics.json`` (figures and their conditions), the predictions (COCO results files, or index
    maps under ``maps``), the log and the config that ran. The ledger gets a row.

    Args:
        config: config file or its content; None: that which the checkpoint keeps.
        checkpoint: dense checkpoint, ours or an official one, or a file that
            ``casvit-dense export`` wrote.
        options: see `RunOptions`.

    Returns:
        Metrics by name: ``coco/bbox_mAP`` and so on as fractions, ``mIoU`` in percent.

    Raises:
        UserError: anything that is wrong with config, options, checkpoint or data.
    """
    started = time.monotonic()
    data, resolved = read_evaluation(config, checkpoint, options)
    cfg = resolved.config
    backbone = label_of(cfg.model.backbone)
    training, said = check_evaluation(cfg, checkpoint, options, data)
    work_dir = Path(cfg.work_dir)
    ledger = options.ledger or work_dir.parent / LEDGER
    if not options.format_only:
        on_main_process(lambda: check_writable(ledger))
    folder = on_main_process(lambda: new_evaluation(work_dir))
    with removed_unless_finished(folder) if is_main_process() else nullcontext():
        runner = build_evaluation(cfg, folder, options, data)
        if not options.format_only:
            # Before the hours of testing: the annotation files might be gone after them.
            dataset, costs = on_main_process(lambda: facts_of(runner, cfg, options, data))
        facts = load_weights(runner, checkpoint, options)
        if options.format_only:
            runner.test()
            kept = on_main_process(lambda: finish_evaluation(folder))
            LOG.info(f"predicted in {format_duration(time.monotonic() - started)}: {kept}")
            return {}
        metrics: dict[str, float] = runner.test()
        facts["duration_s"] = round(time.monotonic() - started, 1)

        def save() -> None:
            content = content_of(runner, checkpoint, metrics, said, facts)
            command = options.command and with_launcher(options.command, options.launcher)
            of = (content, resolved.hashes, training, dataset, command, backbone, costs)
            keep(content, partial(evaluation_row, *of), folder, ledger)

        on_main_process(save)
        return metrics


def read_evaluation(
    config: str | Path | Config | None, checkpoint: str | Path, options: RunOptions
) -> tuple[OwnData | None, ResolvedConfig]:
    """The data of ``--data``, and the config with all options; refused if it has no test."""
    source = model_config(config, checkpoint, options.trusted_configs_only, options.backbone)
    data = find_data(source, options, training=False, truth=not options.format_only)
    resolved = resolve(source, options, data)
    if resolved.config.get("test_dataloader") is None:
        name = resolved.config.filename
        raise UserError(f"{name} cannot be evaluated: it has no test_dataloader")
    check_work_dir(resolved.config)
    return data, resolved


def check_evaluation(
    cfg: Config, checkpoint: str | Path, options: RunOptions, data: OwnData | None
) -> tuple[Training | None, list[str]]:
    """Leaves of a config what an evaluation needs, connects the processes, checks file and data.

    Returns:
        How the checkpoint was trained, and what a reader of the figures should know.
    """
    training, known = None, None
    if is_exported(checkpoint):
        find_backend(checkpoint)
    else:  # a damaged file should not show after everything was built
        content = read_checkpoint(checkpoint)
        training, known = training_of(content), known_classes(content)
    said = same_as_training(cfg)
    drop_training(cfg)
    randomness = cfg.get("randomness") or {}
    if randomness.get("seed") is None:  # mmengine would draw another one in every evaluation
        cfg.randomness = {**randomness, "seed": 0}
    register_scope(cfg)
    said += compare_classes(known, ConfigDataset.first(cfg, "test_dataloader").classes, checkpoint)
    log_model(cfg)
    log_entry("weights", checkpoint)
    log_entry("device", cpu_name() if is_exported(checkpoint) else device_name())
    for line in data.messages if data is not None else ():
        log_entry("data", line)
    open_process_group(cfg)
    truth = not options.format_only
    for line in on_main_process(lambda: check_data(cfg, ("test_dataloader",), truth)):
        log_entry("data", line)
    if is_exported(checkpoint):
        replace_with_exported(cfg, checkpoint, options)
    return training, said


def build_evaluation(
    cfg: Config, folder: Path, options: RunOptions, data: OwnData | None
) -> Runner:
    """The runner of an evaluation, which writes into a folder of its own."""
    cfg.work_dir = str(folder)  # of the log and the config, which must not replace training's
    keep_predictions(cfg, folder, options)
    if data is not None:
        write_description(data.description, folder / DATA_FILE)
    runner = build_runner(cfg, ("test_loop",))
    for line in foreign_data(cfg, "test_dataloader", runner.test_dataloader.dataset):
        log_entry("note", line)
    return runner


def content_of(
    runner: Runner,
    checkpoint: str | Path,
    metrics: Mapping[str, float],
    said: Sequence[str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        said: remarks on the data.
        facts: conditions that depend on the weights, and the time that all took.
    """
    by_class = per_class(runner)
    return {
        "config": Path(runner.cfg.filename).stem,
        "checkpoint": str(checkpoint),
        "metrics": metrics,
        "per_class": by_class,
        "remarks": [*said, *remarks(metrics, by_class)],
        "conditions": conditions(
            runner.cfg,
            **facts,
            images=len(runner.test_dataloader.dataset),
            seed=runner.seed,
            coco_backend=coco_backend(runner),
        ),
    }


def keep(
    content: Mapping[str, Any], row_in: Callable[[str], Evaluation], folder: Path, ledger: Path
) -> None:
    """Finishes an evaluation: its figures, its folder, its row, and what people are told.

    Args:
        row_in: the row of an evaluation in a folder, relative to the ledger.
    """
    write_json(folder / METRICS_FILE, json_values(content), indent=2)
    kept = finish_evaluation(folder)  # even if the row cannot be made
    file = kept / METRICS_FILE
    row = row_in(Path(os.path.relpath(kept, ledger.parent)).as_posix())
    write_json(file, json_values({**content, "row": row_id(row)}), indent=2)
    for line in format_metrics(content["metrics"]):
        LOG.info(line)
    for line in content["remarks"]:
        LOG.info(f"note: {line}")
    LOG.info(f"evaluated in {format_duration(content['conditions']['duration_s'])}: {file}")
    append_rows(ledger, [row])
    LOG.info(f"row {row_id(row)} added to {ledger}")


def facts_of(
    runner: Runner, cfg: Config, options: RunOptions, data: OwnData | None
) -> tuple[Dataset, NetworkCosts | None]:
    """What is evaluated: the data, and the network's size and work."""
    tested, title = runner.test_dataloader.dataset, None
    if data is not None and options.data is not None:
        title = data.description.name or title_of(options.data)
    dataset = describe_dataset(tested, title)
    model = model_of(runner)
    if isinstance(model, ExportedModel):
        return dataset, None
    size = published_size(Path(cfg.filename).stem, dataset)
    return dataset, network_costs(model, tested, size)


def load_weights(runner: Runner, checkpoint: str | Path, options: RunOptions) -> dict[str, Any]:
    """Loads a checkpoint into the runner's model, fused where asked.

    Returns the conditions that depend on the weights.
    """
    model = model_of(runner)
    if isinstance(model, ExportedModel):
        return {**model.facts(), "device": cpu_name()}
    sha256 = load_known(model, checkpoint).sha256
    apply_model_options(runner, options)
    return {"weights_sha256": sha256, "form": "fused" if options.fuse else "reference"}


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


def drop_training(cfg: Config) -> None:
    """Takes out what only training needs; the backbone's weights come from the checkpoint."""
    cfg.model.backbone.init_cfg = None
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.resume, cfg.load_from = False, None


def keep_predictions(cfg: Config, folder: Path, options: RunOptions) -> None:
    """Tells the metrics where predictions go, and what to make of them."""
    classwise = options.classwise
    for metric in evaluators(cfg):
        if options.format_only and metric.type != "DenseCocoMetric":
            raise UserError(
                f"--format-only writes COCO's results, and {cfg.filename} evaluates by "
                f"{metric.type}; casvit-dense predict writes maps of any images"
            )
        if metric.type == "DenseCocoMetric":
            metric.update(outfile_prefix=str(folder / PREDICTIONS), classwise=classwise)
            metric.format_only = options.format_only
        elif metric.type == "DenseIoUMetric":
            maps = folder / MAPS_FOLDER
            loader = cfg.test_dataloader.dataset
            folders = [ConfigDataset(cfg, leaf).images.absolute() for leaf in leaf_datasets(loader)]
            root = os.path.commonpath(folders)
            metric.update(output_dir=str(maps), image_root=root, classwise=classwise)
            make_folder(maps)  # by every process: all of them write maps


def replace_with_exported(cfg: Config, file: str | Path, options: RunOptions) -> None:
    """Puts an exported file in the place of the config's model."""
    for option in fields(options):
        reason = option.metadata.get("exported")
        if reason and getattr(options, option.name) != option.default:
            flag = option.name.replace("_", "-")
            raise UserError(f"an exported file {reason}; leave --{flag} out")
    check_overrides(options.cfg_options)
    check_origin(
        read_description(Path(file)),
        cfg.filename,
        ConfigDataset.first(cfg, "test_dataloader").classes,
    )
    cfg.model = dict(type="ExportedModel", file=str(file))
