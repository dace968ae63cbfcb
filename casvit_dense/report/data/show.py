"""What ``casvit-dense data show`` does: from a path or a config to a page."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.own_data import find_data
from casvit_dense.config.read import read_config, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import leaf_datasets
from casvit_dense.data.checks.check import check
from casvit_dense.data.description import SplitName
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import materialise
from casvit_dense.data.layouts.describe import describe
from casvit_dense.engine.check_data import check_loader
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.report.data.page import AUGMENTED, SAMPLES, build_data_page
from casvit_dense.report.data.samples import PipelineSamples

Log = Callable[[str], None]


def show(
    path: Path,
    split: SplitName,
    log: Log,
    count: int = SAMPLES,
    options: RunOptions | None = None,
) -> bytes:
    """The page of a data set.

    Args:
        path: data folder, annotation file or description: its images are shown as they are. Or a
            config (.py): as its pipeline delivers them.
        log: gets lines of progress.
        count: samples.
        options: what cannot be found in the data, and where those of a config are.

    Raises:
        UserError: the data or the config cannot be read, or there is no such split.
    """
    options = options or RunOptions()
    with TemporaryDirectory(prefix="casvit-dense-") as folder, warnings.catch_warnings():
        if path.suffix == ".py":
            warnings.filterwarnings("ignore", message="`reduce_zero_label`")  # mmseg's, of itself
            return _of_config(path, split, log, count, replace(options, work_dir=Path(folder)))
        if options.data is not None or options.data_root is not None:
            raise UserError(f"{path} is no config (.py): --data and --data-root are for configs")
        findings = Findings()
        description = materialise(describe(path, options, findings), Path(folder), findings)
        check(description, findings)
        return build_data_page(str(path), description, split, findings, log, count=count)


def _of_config(path: Path, split: SplitName, log: Log, count: int, options: RunOptions) -> bytes:
    source = read_config(path)
    cfg = resolve(source, options, find_data(source, options, training=True)).config
    register_scope(cfg)
    loader = cfg.get(f"{split}_dataloader")
    if loader is None:
        raise UserError(f"{path}: has no {split}_dataloader; give another --split")
    dataset = ConfigDataset(cfg, next(leaf_datasets(loader.dataset)))
    description = dataset.describe(split)
    if description is None:
        raise UserError(f"{path}: data sets of type {dataset.config.type} cannot be shown")
    findings = Findings()
    check_loader(cfg, f"{split}_dataloader", findings, sample=None)
    samples = None
    try:
        samples = PipelineSamples(dataset)
        steps = [step.type for step in dataset.config.pipeline]
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
