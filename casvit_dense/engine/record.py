"""What a run leaves behind: a checkpoint's record of training; an evaluation's metrics and row."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from pydantic import ValidationError

from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.machine import world_size
from casvit_dense.config.resolve import ResolvedConfig
from casvit_dense.counts import count_parts, on_meta
from casvit_dense.doctor import installed_versions
from casvit_dense.log import log_entry
from casvit_dense.options import RunOptions
from casvit_dense.provenance import code_commit, device_name, gpu_versions, split_commit
from casvit_dense.results.hashes import ConfigHashes, digest, files_sha256, plain
from casvit_dense.results.row import (
    FULL_PRECISION,
    Dataset,
    Evaluation,
    NetworkCosts,
    Software,
    Training,
    Weights,
)
from casvit_dense.training.records import TRAINING_RECORD
from casvit_dense.zoo import COCO_PREFIX, DATASETS, family_of

#: Names of precisions in conditions -> in rows.
PRECISIONS = {"float32": FULL_PRECISION, "float16": "autocast"}

STACK = (
    *("casvit-dense", "torch", "pycocotools", "faster-coco-eval", "numpy"),
    *("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"),
    *("mmengine", "mmcv", "mmdet", "mmsegmentation"),
)


def with_launcher(command: str, launcher: str) -> str:
    """The command with what started its processes, as far as their environment tells."""
    if launcher != "pytorch":
        return command
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    start = "torchrun" + f" --nnodes {nodes}" * (nodes > 1) + f" --nproc_per_node {processes}"
    return command.replace("casvit-dense", f"{start} -m casvit_dense", 1)


def evaluation_row(
    content: Mapping[str, Any],
    hashes: ConfigHashes,
    training: Training | None,
    dataset: Dataset,
    command: str | None,
    backbone: str | None,
    costs: NetworkCosts | None,
    folder: str,
) -> Evaluation:
    """The row of a finished evaluation.

    Args:
        content: of its ``metrics.json``.
        folder: where ``metrics.json`` and the predictions lie, relative to the ledger.
    """
    condition = content["conditions"]
    exported = "file_sha256" in condition
    fused = condition["fused"] if exported else condition["form"] == "fused"
    commit, dirty = split_commit(code_commit())
    return Evaluation(
        date=condition["date"],
        device=condition["device"],
        threads=condition["threads"],
        precision=PRECISIONS.get(condition["precision"], condition["precision"]),
        form="fused" if fused else "reference",
        backend=condition["backend"] if exported else "eager",
        software=Software(
            versions=condition["versions"],
            python=condition["python"],
            commit=commit,
            dirty=dirty,
        ),
        duration_s=condition["duration_s"],
        command=command,
        config=content["config"],
        config_sha256=hashes.config,
        pipeline_sha256=hashes.pipeline,
        recipe_sha256=hashes.recipe,
        weights=Weights(
            file=Path(content["checkpoint"]).name,
            sha256=condition["file_sha256" if exported else "weights_sha256"],
            source_sha256=condition["weights_sha256"] if exported else None,
        ),
        training=training,
        dataset=dataset,
        metrics={name: value_or_none(name, value) for name, value in content["metrics"].items()},
        per_class={
            kind: {name: value_or_none("", value) for name, value in values.items()}
            for kind, values in content["per_class"].items()
        },
        remarks=content["remarks"],
        processes=condition["processes"],
        seed=condition["seed"],
        folder=folder,
        backbone=backbone,
        costs=costs,
    )


def value_or_none(name: str, value: Any) -> float | None:
    """The value, or None where there is none: no finite number, or the -1 of COCO's metrics."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    absent = not math.isfinite(number) or (name.startswith(COCO_PREFIX) and number == -1)
    return None if absent else number


#: Folders of data roots that say the layout, not what the data are.
LAYOUT_FOLDERS = frozenset({"ade", "classes", "coco", "images", "voc", "yolo"})


def title_of(path: Path) -> str | None:
    """What people call the data at a path: the name of their folder."""
    path = path.absolute()
    folders = [path, *path.parents][path.is_file() :]
    return next((one.name for one in folders if one.name.lower() not in LAYOUT_FOLDERS), None)


def describe_dataset(dataset: Any, title: str | None = None) -> Dataset:
    """Which data were evaluated: by a built test set, or a wrapper around some.

    Args:
        dataset: the test set.
        title: what people call it; None: as the folder of its data root.
    """
    described = [annotations_of(leaf) for leaf in leaves(dataset)]
    hashes = [sha256 for sha256, _ in described]
    objects = [count for _, count in described if count is not None]
    first = next(leaves(dataset))
    root = getattr(first, "data_root", None)
    return Dataset(
        name=type(first).__name__,
        title=title or (title_of(Path(root)) if root else None),
        annotations_sha256=hashes[0] if len(hashes) == 1 else digest(hashes),
        images=len(dataset),
        classes=len(dataset.metainfo["classes"]),
        objects=sum(objects) if objects else None,
    )


def network_costs(model: Any, tested: Any, size: tuple[int, int] | None) -> NetworkCosts:
    """What an evaluated network costs, counted without computing anything.

    Args:
        model: in its reference form.
        tested: the test set.
        size: height and width in pixels to count at; None: as the network gets the first image.
    """
    params = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model, model.backbone)]
    try:
        height, width = size or padded_size(model, tested[0]["inputs"].shape[-2:])
        images = torch.empty(1, 3, height, width, device="meta")
        parts = count_parts(on_meta(model), images)
    except Exception as error:  # an own backbone, neck or head may do anything
        log_entry("note", f"multiply-adds are not counted: {type(error).__name__}: {error}")
        return NetworkCosts(params_m=params[0], backbone_params_m=params[1])
    macs = [sum(cost.macs for cost in parts.values()) / 1e9, parts["backbone"].macs / 1e9]
    return NetworkCosts(
        params_m=params[0],
        backbone_params_m=params[1],
        gmacs=macs[0],
        backbone_gmacs=macs[1],
        size=f"{height}x{width}",
    )


def padded_size(model: Any, size: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image once the preprocessor of a detector has padded it."""
    divisor = getattr(model.data_preprocessor, "pad_size_divisor", None) or 1
    height, width = (-(-side // divisor) * divisor for side in size)
    return height, width


def published_size(config: str, dataset: Dataset) -> tuple[int, int] | None:
    """The size at which papers count a head on its data set, whichever part of it; else None."""
    family = family_of(config)
    spec = DATASETS[family.dataset] if family else None
    same = spec and (dataset.name, dataset.classes) == (spec.type, spec.classes)
    return family.counting_size if family and same else None


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets that read files, inside any wrappers."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
    for part in inner:
        if part is not None:
            yield from leaves(part)


def annotations_of(dataset: Any) -> tuple[str, int | None]:
    """The hash of a data set's truth, and how many objects of its images that holds."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    if infos and infos[0].get("seg_map_path"):
        root = dataset.data_prefix.get("seg_map_path") or ""
        maps = [Path(info["seg_map_path"]) for info in infos]
        return files_sha256({Path(os.path.relpath(p, root)).as_posix(): p for p in maps}), None
    file = Path(getattr(dataset, "ann_file", None) or "")
    if file.is_file():
        content = file.read_bytes()
        return hashlib.sha256(content).hexdigest(), count_objects(content, infos)
    return digest([_without_folders(plain(info)) for info in infos]), None


def count_objects(content: bytes, infos: Sequence[Mapping[str, Any]]) -> int | None:
    """Annotations of some images in a COCO file; None if it is none."""
    try:
        annotations = json.loads(content)["annotations"]
        images = {info["img_id"] for info in infos}
        return sum(annotation["image_id"] in images for annotation in annotations)
    except (ValueError, LookupError, TypeError):
        return None


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return value.rpartition("/")[2] if isinstance(value, str) else value


def training_of(checkpoint: Mapping[str, Any]) -> Training | None:
    """A checkpoint's record of its training; None where it has none that can be read.

    The config's text that mmengine stores beside it is not read: it is a program.
    """
    meta = checkpoint.get("meta")
    record = meta.get(TRAINING_RECORD) if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(record, Mapping):
        return None
    try:
        return Training.model_validate({**record, "iterations": meta.get("iter")})
    except ValidationError:
        return None


def training_record(
    resolved: ResolvedConfig, options: RunOptions, runner: Runner
) -> dict[str, Any]:
    """How a training goes, as every checkpoint of it keeps it."""
    cfg = resolved.config
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    batch = cfg.train_dataloader.get("batch_size")  # a sampler of batches may set it instead
    return {
        "recipe_sha256": resolved.hashes.recipe,
        "global_batch": batch and world_size(options.launcher) * batch * steps,
        "planned_iterations": runner.max_iters,
        "images": sum(map(len, leaves(runner.train_dataloader.dataset))),
        "seed": runner.seed,
        "precision": training_precision(cfg),
    }


def training_precision(cfg: Config) -> str:
    """``'fp32'``, or ``'fp16'`` and ``'bf16'`` for mixed precision."""
    wrapper = cfg.optim_wrapper
    if wrapper.get("type") != "AmpOptimWrapper":
        return FULL_PRECISION
    return "bf16" if "bfloat16" in str(wrapper.get("dtype")) else "fp16"


def conditions(cfg: Config, **more: Any) -> dict[str, Any]:
    """Everything an evaluation depends on beside config and weights: data, versions, device.

    Args:
        **more: further conditions, e.g. the hash of the weights.
    """
    loader = cfg.test_dataloader
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device_name(),
        "processes": get_world_size(),
        "threads": torch.get_num_threads(),
        "precision": "float16" if (cfg.get("test_cfg") or {}).get("fp16") else "float32",
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "cudnn": torch.backends.cudnn.allow_tf32,
        },
        "batch_size": loader.get("batch_size", 1),
        "dataset": evaluated_dataset(cfg),
        "python": platform.python_version(),
        "versions": {**installed_versions(STACK), **gpu_versions()},
        **more,
    }


def evaluated_dataset(cfg: Config) -> dict[str, Any]:
    """The test set's config, paths and pipeline included; for maps with what its type decides.

    The analysis reads maps without mmseg, whose data sets have defaults of their own.
    """
    dataset = ConfigDataset(cfg, cfg.test_dataloader.dataset)
    content: dict[str, Any] = dataset.config.to_dict()
    if dataset.is_a("BaseSegDataset"):
        content["reduce_zero_label"] = dataset.reduces_zero_label
        for name in ("img_suffix", "seg_map_suffix"):
            content[name] = dataset.setting(name)
    return content


def json_values(value: Any) -> Any:
    """A value as JSON knows it: NaN becomes null, an object of another type its text."""
    if isinstance(value, Mapping):
        return {str(key): json_values(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
