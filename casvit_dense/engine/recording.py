"""From a run to what is kept of it: a row of the ledger, and a checkpoint's record of training."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from pydantic import ValidationError

from casvit_dense.commit import code_commit, split_commit
from casvit_dense.engine.hooks import TRAINED
from casvit_dense.engine.options import RunOptions
from casvit_dense.engine.prepare import (
    name_weights,
    read_config,
    scale_learning_rate,
    set_from_scratch,
    set_precision,
    world_size,
)
from casvit_dense.results.hashes import (
    ConfigHashes,
    digest,
    files_sha256,
    hashes_of,
    pipeline_sha256,
    plain,
)
from casvit_dense.results.ledger import LEDGER
from casvit_dense.results.row import Dataset, Evaluation, Software, Training, Weights

#: How `results.conditions` names precisions -> how rows do.
PRECISIONS = {"float32": "fp32", "float16": "autocast"}


@dataclass(frozen=True)
class Subject:
    """What is known of an evaluation before it runs.

    Attributes:
        hashes: of the config; the pipeline's is of the one that runs.
        training: what the checkpoint says of its training.
        dataset: see `describe_dataset`.
        ledger: file that the row will go to.
        command: what a user types to repeat it.
    """

    hashes: ConfigHashes
    training: Training | None
    dataset: Dataset
    ledger: Path
    command: str | None


def subject_of(
    cfg: Config, options: RunOptions, training: Training | None, runner: Runner
) -> Subject:
    """Gathers what a row will say beside the figures.

    Args:
        cfg: the prepared config.
        options: those it was prepared with.
        training: what the weight file says of its training.
        runner: the runner, its test set built.
    """
    asked = hashes_of(asked_config(cfg.filename, options).to_dict())
    pipeline = pipeline_sha256(cfg.test_dataloader.dataset.to_dict())
    return Subject(
        hashes=ConfigHashes(asked.config, pipeline, asked.recipe),
        training=training,
        dataset=describe_dataset(runner.test_dataloader.dataset),
        ledger=options.ledger or Path(cfg.work_dir).parent / LEDGER,
        command=options.command and launched(options.command, options.launcher),
    )


def asked_config(path: str | Path, options: RunOptions) -> Config:
    """The config as file and overrides have it.

    What `prepare` adds is this machine's: paths, launcher, and on CPUs BN in place of SyncBN.
    """
    cfg = read_config(path)
    cfg.merge_from_dict(options.cfg_options)
    return cfg


def launched(command: str, launcher: str) -> str:
    """The command with what started its processes, as far as their environment tells."""
    if launcher != "pytorch":
        return command
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    start = "torchrun" + f" --nnodes {nodes}" * (nodes > 1) + f" --nproc_per_node {processes}"
    return command.replace("casvit-dense", f"{start} -m casvit_dense", 1)


def evaluation_row(subject: Subject, content: Mapping[str, Any], folder: Path) -> Evaluation:
    """The row of a finished evaluation.

    Args:
        subject: what was evaluated.
        content: of its ``metrics.json``.
        folder: where that and the predictions lie.
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
        command=subject.command,
        config=content["config"],
        config_sha256=subject.hashes.config,
        pipeline_sha256=subject.hashes.pipeline,
        recipe_sha256=subject.hashes.recipe,
        weights=Weights(
            file=Path(content["checkpoint"]).name,
            sha256=condition["file_sha256" if exported else "weights_sha256"],
            source_sha256=condition["weights_sha256"] if exported else None,
        ),
        training=subject.training,
        dataset=subject.dataset,
        metrics={name: measured(name, value) for name, value in content["metrics"].items()},
        per_class={
            kind: {name: measured("", value) for name, value in values.items()}
            for kind, values in content["per_class"].items()
        },
        processes=condition["processes"],
        seed=condition["seed"],
        folder=Path(os.path.relpath(folder, subject.ledger.parent)).as_posix(),
    )


def measured(name: str, value: Any) -> float | None:
    """The value, or None where there is none: no finite number, or the -1 of COCO's metrics."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    absent = not math.isfinite(number) or (name.startswith("coco/") and number == -1)
    return None if absent else number


def describe_dataset(dataset: Any) -> Dataset:
    """Which data were evaluated.

    Args:
        dataset: a built test set, or a wrapper around some.
    """
    described = [annotations_of(leaf) for leaf in leaves(dataset)]
    hashes = [sha256 for sha256, _ in described]
    objects = [count for _, count in described if count is not None]
    return Dataset(
        name=type(next(leaves(dataset))).__name__,
        annotations_sha256=hashes[0] if len(hashes) == 1 else digest(hashes),
        images=len(dataset),
        classes=len(dataset.metainfo["classes"]),
        objects=sum(objects) if objects else None,
    )


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets that read files, inside whatever wrappers hold them."""
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
    """What a checkpoint says of its training, in plain values; None where it says nothing.

    Not read is the config's text that mmengine keeps beside it: that is a program.
    """
    meta = checkpoint.get("meta")
    record = meta.get(TRAINED) if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(record, Mapping):
        return None
    try:
        return Training.model_validate({**record, "iterations": meta.get("iter")})
    except ValidationError:
        return None


def trained_config(asked: Config, options: RunOptions) -> Config:
    """What a training makes of a config before its hashes are taken.

    Args:
        asked: see `asked_config`; it is changed.
        options: of the training.
    """
    if options.from_scratch:
        set_from_scratch(asked)
    if options.pretrained is not None:
        name_weights(asked.model.backbone, options.pretrained)
    set_precision(asked, options)
    scale_learning_rate(asked, options)
    return asked


def training_record(config: str | Path, options: RunOptions, runner: Runner) -> dict[str, Any]:
    """What every checkpoint of a training keeps of how it came about.

    Args:
        config: config file.
        options: of the training.
        runner: the runner, its training loop built.
    """
    cfg = trained_config(asked_config(config, options), options)
    steps = cfg.optim_wrapper.get("accumulative_counts", 1)
    batch = cfg.train_dataloader.get("batch_size")  # a sampler of batches may set it instead
    return {
        "recipe_sha256": hashes_of(cfg.to_dict()).recipe,
        "global_batch": batch and world_size(options.launcher) * batch * steps,
        "planned_iterations": runner.max_iters,
        "images": sum(map(len, leaves(runner.train_dataloader.dataset))),
        "seed": runner.seed,
    }
