"""The export command: from config and checkpoint to a file that was compared with torch."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from casvit_dense.config.kept import model_config, model_record
from casvit_dense.deploy import fuse
from casvit_dense.doctor import installed_versions
from casvit_dense.engine.console import quiet_console
from casvit_dense.errors import UserError
from casvit_dense.export.check import (
    Size,
    check_images,
    check_sizes,
    compare_backbone,
    compare_model,
)
from casvit_dense.export.description import ChannelOrder, Description, Kind
from casvit_dense.export.graphs import BackboneGraph, Graph, graph_of, normalisation, pad_divisor
from casvit_dense.export.model import is_exported, is_of_model
from casvit_dense.export.quantize import Log, data_images, report_cost, write_int8
from casvit_dense.export.writers import SUFFIXES, WRITERS, check_coreml
from casvit_dense.extras import require
from casvit_dense.files import disk_errors, free_bytes
from casvit_dense.options import RunOptions
from casvit_dense.predictor import Predictor
from casvit_dense.predictor.model import test_dataset
from casvit_dense.progress import format_bytes, format_duration

#: Packages whose versions the file records.
WRITTEN_BY = (
    "casvit-dense",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "coremltools",
)


@dataclass(frozen=True)
class ExportOptions:
    """What a user can ask of an export.

    Attributes:
        format: a key of `writers.SUFFIXES`.
        part: ``'backbone' | 'model'``.
        size: height and width to trace with; default: the short side of the test pipeline's
            resizing, squared.
        batch: images at once; above 1 for a backbone only.
        dynamic: leave height and width open (and a backbone's batch above 1).
        out: file to write; default ``outputs/<config stem>``, with part, precision and suffix.
        fused: fold norms into convolutions first.
        int8: ``'dynamic' | 'static'``, or None for float32.
        calibration: folder of images for ``'static'``; default: the config's test images.
        force: replace the file if it exists.
        data_root: folder of the data set, in place of the config's.
        cfg_options: overrides by dotted key.
        trusted_configs_only: refuse a config file that does not belong to the project.
        backbone: in the place of the config's, see `casvit_dense.backbones.names`.
    """

    format: str = "onnx"
    part: str = "model"
    size: Size | None = None
    batch: int = 1
    dynamic: bool = True
    out: Path | None = None
    fused: bool = True
    int8: str | None = None
    calibration: Path | None = None
    force: bool = False
    data_root: str | None = None
    cfg_options: dict[str, Any] = field(default_factory=dict)
    trusted_configs_only: bool = False
    backbone: str | None = None


def export(
    config: str | Path | None, checkpoint: str | Path, options: ExportOptions, log: Log = print
) -> Path:
    """Writes a model as a file, runs the file and compares it with torch.

    Args:
        config: config file; None: the config that the checkpoint keeps.
        checkpoint: dense checkpoint, loaded strictly.
        options: what to write and where.
        log: takes each line for the user.

    Returns:
        The file.

    Raises:
        UserError: anything that is wrong with config, options or checkpoint, a missing package,
            or results that differ from torch's. No file is left then.
    """
    started = time.monotonic()
    check_options(options, checkpoint)
    with quiet_console():
        cfg = model_config(config, checkpoint, options.trusted_configs_only, options.backbone)
    if options.format == "coreml":
        check_coreml_choice(cfg, options)
    target = target_file(Path(cfg.filename).stem, options)
    with quiet_console():
        predictor = Predictor(cfg, checkpoint, "cpu", options.cfg_options, options.data_root)
    size = options.size or default_size(predictor.cfg)
    example = torch.rand(options.batch, 3, *size)
    graph = build_graph(predictor.model, example, options)
    description = describe(predictor, graph, example, options.dynamic, options.fused)
    check_space(target, predictor.model, options)
    with disk_errors(target), scratch_beside(target) as scratch:
        file = scratch / target.name
        open_or_fixed = "height and width open" if options.dynamic else "size fixed"
        log(f"writing {options.format}, {options.part}, {size[0]}x{size[1]}, {open_or_fixed} ...")
        WRITERS[options.format](graph, file, example, description)
        if options.format == "coreml":
            log(check_coreml(file, description))
        else:
            compare(predictor, file, description, size, log)
        if options.int8:
            replace_with_int8(predictor, cfg, file, description, options, log)
        move_into_place(file, target)
    took = format_duration(time.monotonic() - started)
    log(f"exported in {took}: {target} ({megabytes(target):.1f} MB)")
    return target


def check_options(options: ExportOptions, checkpoint: str | Path) -> None:
    """Refuses options that contradict each other, before anything is built."""
    if is_exported(checkpoint):
        raise UserError(f"{checkpoint} is an exported file already; give the checkpoint")
    if options.size and min(options.size) < 32:
        raise UserError(
            f"--input {options.size[0]}x{options.size[1]}: both sides must be 32 or more"
        )
    if options.batch < 1:
        raise UserError(f"--batch {options.batch}: give 1 or more")
    if options.batch > 1 and options.part == "model":
        raise UserError(
            f"--batch {options.batch}: a whole model takes one image at a time; a larger batch is "
            "for --part backbone"
        )
    if options.int8 and (options.format, options.part) != ("onnx", "model"):
        raise UserError("--int8 is for --format onnx and --part model")
    if options.calibration and options.int8 != "static":
        raise UserError("--calibration is for --int8 static")
    if options.calibration and not options.calibration.is_dir():
        raise UserError(f"--calibration {options.calibration}: no such folder")


def check_coreml_choice(cfg: Config, options: ExportOptions) -> None:
    """Refuses what a CoreML file cannot hold, before weights are loaded: NMS, and an open size."""
    if options.part == "model" and cfg.get("default_scope") == "mmdet":
        raise UserError("coreml: detectors cannot be written; export --part backbone")
    require("coremltools", "coreml")
    if options.dynamic:
        raise UserError("a coreml file has one size: add --dynamic none --input HxW")


def target_file(stem: str, options: ExportOptions) -> Path:
    """The file to write, checked before the work begins."""
    suffix = SUFFIXES[options.format]
    if options.part == "backbone":
        stem += "-backbone"
    if options.int8:
        stem += "-int8"
    target = options.out or Path("outputs", stem + suffix)
    if target.suffix != suffix:
        raise UserError(f"--out {target}: a file of format {options.format} ends in {suffix}")
    for path in files_of(target):
        if path.exists() and not options.force:
            raise UserError(f"{path} exists already; remove it, or replace it with --force")
    return target


def files_of(target: Path) -> list[Path]:
    """The file, and OpenVINO's weights beside it."""
    return [target, target.with_suffix(".bin")] if target.suffix == ".xml" else [target]


def check_space(target: Path, model: nn.Module, options: ExportOptions) -> None:
    """Refuses a disk that cannot hold the files that are there together at one time."""
    files = 2 if options.int8 or options.format == "openvino" else 1  # ONNX is the way to both
    needed = files * sum(tensor.nbytes for tensor in model.state_dict().values())
    free = free_bytes(target)
    if free < needed:
        raise UserError(
            f"{target.parent} has {format_bytes(free)} free, and the export takes about "
            f"{format_bytes(needed)}: make room, or give --out on another disk"
        )


def build_graph(model: nn.Module, example: torch.Tensor, options: ExportOptions) -> Graph:
    """The graph to export, made from a copy of the model."""
    # Fusing a whole model moves the backbone's output norms into the neck, so the part comes first.
    if options.part == "backbone":
        backbone = model.get_submodule("backbone")
        return BackboneGraph(fuse(backbone) if options.fused else backbone, example).eval()
    return graph_of(fuse(model) if options.fused else model)


def compare(
    predictor: Predictor, file: Path, description: Description, size: Size, log: Log
) -> None:
    """Runs the file on two images and compares with torch."""
    sizes = check_sizes(size, description.dynamic)
    images = check_images(sizes, data_images(predictor.cfg)[: len(sizes)])
    whole = description.part == "model"
    outcomes = (
        compare_model(predictor.model, file, description, images)
        if whole
        else compare_backbone(predictor.model.get_submodule("backbone"), file, description, images)
    )
    compared = 0
    for (height, width), outcome in zip(sizes, outcomes, strict=True):
        log(f"compared with torch at {height}x{width}: {outcome.text}")
        compared += outcome.compared
        if not outcome.good:
            raise UserError(
                f"the written file differs from torch at {height}x{width}: {outcome.text}. "
                "No file is left"
            )
    if compared == 0:
        log("note: nothing was detected on either side, so little was compared")


def replace_with_int8(
    predictor: Predictor,
    cfg: Config,
    file: Path,
    description: Description,
    options: ExportOptions,
    log: Log,
) -> None:
    """Replaces a checked float file by its 8-bit form and reports the loss of accuracy."""
    assert options.int8 is not None
    whole = file.with_name(f"{file.stem}-float32{file.suffix}")
    file.rename(whole)
    description = description.model_copy(update={"precision": f"int8 {options.int8}"})
    write_int8(predictor, whole, file, description, options.int8, options.calibration, log)
    run_options = RunOptions(
        work_dir=file.parent / "evaluation",
        data_root=options.data_root,
        # The files already contain the model's overrides.
        cfg_options={k: v for k, v in options.cfg_options.items() if not is_of_model(k)},
    )
    report_cost(predictor, cfg, {"float32": whole, "int8": file}, run_options, log)
    size = whole.stat().st_size / 1e6
    log(f"size: {size:.1f} MB -> {file.stat().st_size / 1e6:.1f} MB")


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the target's disk."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}") from error
    with scratch as name:
        yield Path(name)


def move_into_place(file: Path, target: Path) -> None:
    """Moves a finished file into place, and OpenVINO's weights with it."""
    if file.suffix == ".xml":
        file.with_suffix(".bin").replace(target.with_suffix(".bin"))
    if target.is_dir():  # a CoreML package
        shutil.rmtree(target)
    file.replace(target)


def megabytes(target: Path) -> float:
    """Size on disk, of all that belongs to the file."""
    parts = files_of(target)
    if target.is_dir():
        parts = [path for path in target.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in parts) / 1e6


def describe(
    predictor: Predictor, graph: Graph, example: Tensor, dynamic: bool, fused: bool
) -> Description:
    """The description to write into the file.

    Args:
        dynamic: whether height and width are left open.
        fused: whether norms were folded into convolutions.
    """
    whole = not isinstance(graph, BackboneGraph)
    preprocessor = predictor.model.data_preprocessor
    mean, std = normalisation(preprocessor)
    test_cfg = predictor.model.test_cfg
    test_cfg = test_cfg.get("rcnn", test_cfg)
    order: ChannelOrder = "RGB" if getattr(preprocessor, "_channel_conversion", False) else "BGR"
    values = "values from 0 to 255, as they are" if whole else "normalised by mean and std"
    kind: Kind = "backbone"
    if whole:
        kind = "detector" if predictor.scope == "mmdet" else "segmenter"
    return Description(
        config=Path(predictor.cfg.filename).stem,
        part="model" if whole else "backbone",
        kind=kind,
        classes=list(predictor.labels.names),
        category_ids=list(predictor.labels.ids),
        input=f"float32 (N, 3, H, W), {order}, {values}",
        input_name=graph.input_name,
        input_shape=(len(example), 3, example.shape[2], example.shape[3]),
        dynamic=dynamic,
        resize=test_resize(predictor.cfg),
        channel_order=order,
        mean=mean,
        std=std,
        normalisation="file" if whole else "caller",
        pad_divisor=pad_divisor(preprocessor),
        score_thr=test_cfg.get("score_thr", 0.0) if kind == "detector" else None,
        mask_thr=test_cfg.get("mask_thr_binary"),
        align_corners=getattr(predictor.model, "align_corners", None),
        outputs=dict(graph.outputs),
        weights_sha256=predictor.weights_sha256,
        fused=fused,
        precision="float32",
        versions=installed_versions(WRITTEN_BY),
        model=model_record(predictor.cfg, predictor.recipe),
    )


def test_resize(cfg: Config) -> tuple[int, int] | None:
    """Long and short side of the box that the test pipeline fits images into, if it does."""
    for step in test_dataset(cfg)["pipeline"]:
        scale = step.get("scale")
        if step["type"].rpartition(".")[2] == "Resize" and isinstance(scale, (tuple, list)):
            return (max(scale), min(scale)) if step.get("keep_ratio") else None
    return None


def default_size(cfg: Config) -> Size:
    """The short side of the test pipeline's box, squared, up to a multiple of 32."""
    _, side = test_resize(cfg) or (512, 512)
    side = -(-side // 32) * 32
    return side, side
