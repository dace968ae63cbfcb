"""What ``casvit-dense data show`` does: from a path or a config to a page."""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from casvit_dense.data.check import check
from casvit_dense.data.convert import materialise
from casvit_dense.data.description import DataDescription, Split, SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts import LayoutOptions, describe
from casvit_dense.engine.check_data import (
    check_loader,
    class_names,
    reduces_zero_label,
    setting,
)
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.engine.config_tree import leaf_datasets
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.report.data_page import AUGMENTED, SAMPLES, build_data_page
from casvit_dense.report.data_samples import PipelineSamples

Log = Callable[[str], None]


def show(
    path: Path,
    split: SplitName,
    log: Log,
    count: int = SAMPLES,
    layout: LayoutOptions | None = None,
    data_root: str | None = None,
) -> bytes:
    """The page of a data set.

    Args:
        path: data folder, annotation file or description: its images are shown as they are. Or a
            config (.py): as its pipeline delivers them.
        log: gets lines of progress.
        count: samples.
        layout: what cannot be found in a folder.
        data_root: folder of the data, in place of a config's.

    Raises:
        UserError: the data or the config cannot be read, or there is no such split.
    """
    if path.suffix == ".py":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`reduce_zero_label`")  # mmseg's, of itself
            return _of_config(path, split, log, count, data_root)
    findings = Findings()
    description = describe(path, layout, findings)
    with TemporaryDirectory(prefix="casvit-dense-") as folder:
        description = materialise(description, Path(folder), findings)
        check(description, findings)
        return build_data_page(str(path), description, split, findings, log, count=count)


def _of_config(path: Path, split: SplitName, log: Log, count: int, data_root: str | None) -> bytes:
    cfg = resolve(path, RunOptions(data_root=data_root)).config
    register_scope(cfg)
    loader = cfg.get(f"{split}_dataloader")
    if loader is None:
        raise UserError(f"{path}: has no {split}_dataloader; give another --split")
    dataset = next(leaf_datasets(loader.dataset))
    description = described(cfg, dataset, split)
    findings = Findings()
    check_loader(cfg, f"{split}_dataloader", findings, sample=None)
    samples = None
    try:
        samples = PipelineSamples(dataset)
        steps = [step.type for step in dataset.pipeline]
        notes = [AUGMENTED.format(steps=" → ".join(steps))]
    except Exception as error:  # on faulty files a data set may raise anything
        reason = str(error).partition("\n")[0]
        notes = [
            "Images as they are on disk: the pipeline of the config cannot read them "
            f"({type(error).__name__}: {reason})."
        ]
    return build_data_page(
        str(path), description, split, findings, log, samples, count=count, notes=notes
    )


def described(cfg: Config, dataset: ConfigDict, split: SplitName) -> DataDescription:
    """A config's data set as a description.

    Raises:
        UserError: it is of a kind that we do not know.
    """
    kind = DATASETS.get(f"{cfg.default_scope}.{dataset.type}")
    root, prefix = Path(dataset.get("data_root") or ""), dataset.get("data_prefix") or {}
    classes = list(class_names(dataset, kind)) if kind else []
    bases = {base.__name__ for base in kind.__mro__} if kind else set()
    if "CocoDataset" in bases:
        part = Split(images=root / (prefix.get("img") or ""), annotations=root / dataset.ann_file)
        return DataDescription(
            task="detection", layout="coco", classes=classes, splits={split: part}
        )
    maps = prefix.get("seg_map_path")
    if "BaseSegDataset" in bases and maps:
        files = root / dataset.ann_file if dataset.get("ann_file") else None
        part = Split(
            images=root / (prefix.get("img_path") or ""),
            annotations=root / maps,
            files=files,
        )
        return DataDescription(
            task="segmentation",
            layout="maps",
            classes=classes,
            splits={split: part},
            image_suffix=setting(dataset, kind, "img_suffix"),
            map_suffix=setting(dataset, kind, "seg_map_suffix"),
            reduce_zero_label=reduces_zero_label(dataset, kind),
            ignore_label=setting(dataset, kind, "ignore_index"),
        )
    raise UserError(f"{cfg.filename}: data sets of type {dataset.type} cannot be shown")
