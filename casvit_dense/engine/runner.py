"""mmengine's runner for a resolved config."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from casvit_dense.checkpoint.training_state import check_fits
from casvit_dense.checkpoint.whole import whole_file
from casvit_dense.data.coco_file import forget_files
from casvit_dense.deploy import fuse
from casvit_dense.engine.checks import fold
from casvit_dense.engine.hooks import ProgressHook
from casvit_dense.engine.loading import name_batches, name_records
from casvit_dense.engine.quiet_runner import QuietRunner
from casvit_dense.engine.replaced import ReplacedImagesHook
from casvit_dense.engine.space import check_test_space, check_training_space
from casvit_dense.errors import UserError
from casvit_dense.evaluations import finished_name
from casvit_dense.files import short_path
from casvit_dense.log import log_entry
from casvit_dense.options import RunOptions
from casvit_dense.training.loops import OUR_LOOPS, EpochLoop
from casvit_dense.training.processes import model_of, open_process_group, step_hooks
from casvit_dense.training.stops import with_steady_workers


class DenseRunner(QuietRunner):
    """mmengine's runner with our training loops and checkpoints.

    Attributes:
        resumed: the state of a training that goes on.
        changed: whether its recipe was another one; optimizer and schedule are then those of the
            config, as if they had been so from the start.
    """

    resumed: Mapping[str, Any] | None = None
    changed = False

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Builds ours for mmengine's; others are built as they are."""
        if isinstance(loop, dict):
            content = dict(loop)
            by_epoch = content.pop("by_epoch", None)
            name = content.get("type") or f"{'Epoch' if by_epoch else 'Iter'}BasedTrainLoop"
            loop = {**content, "type": OUR_LOOPS.get(name, name)}
        return super().build_train_loop(loop)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader[Any]:
        """Builds a loader whose workers leave signals to this process."""
        if isinstance(dataloader, dict):
            dataloader = with_steady_workers(dataloader, seed)
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Registers our hook of checkpoints for mmengine's."""
        chosen = {**(hooks or {})}
        checkpoint = chosen.get("checkpoint", {"type": "CheckpointHook", "interval": 1})
        if isinstance(checkpoint, dict) and checkpoint.get("type") == "CheckpointHook":
            chosen["checkpoint"] = {**checkpoint, "type": "KeepingHook"}
        super().register_default_hooks(chosen)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint whole; see `whole_file`."""
        with whole_file(Path(out_dir, filename)) as path:
            super().save_checkpoint(out_dir, path.name, *args, **kwargs)

    def resume(self, filename: str, **kwargs: Any) -> None:
        """Loads the state of a training.

        Raises:
            UserError: optimizer or schedule do not fit, or nothing is left to train.
        """
        assert self.resumed is not None
        check_unfinished(filename, self.resumed["meta"], self.train_loop, self.changed)
        optimizer, schedulers = self.optim_wrapper.optimizer, self.param_schedulers or []
        if not self.changed:
            check_fits(filename, self.resumed, optimizer, schedulers)
            super().resume(filename, **kwargs)
            return
        check_fits(filename, {**self.resumed, "param_schedulers": []}, optimizer)
        asked = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        super().resume(filename, resume_param_scheduler=False)
        for group, values in zip(optimizer.param_groups, asked, strict=True):
            group.update(values)
        if isinstance(self.train_loop, EpochLoop):
            self.train_loop.fit_iteration()
        repeat_schedule(self)


def check_unfinished(filename: str, meta: Mapping[str, Any], loop: Any, changed: bool) -> None:
    """Looks whether a training that goes on has steps left; an unchanged one may validate yet.

    Raises:
        UserError: it has none.
    """
    unit, done, length = "iterations", meta["iter"], loop.max_iters
    if isinstance(loop, EpochBasedTrainLoop):  # whose epochs may have another length now
        unit, done, length = "epochs", meta["epoch"], loop.max_epochs
    if done + changed > length:
        raise UserError(
            f"{filename} cannot be resumed: it has {done} {unit}, and this schedule ends after "
            f"{length}; give a longer one"
        )


def repeat_schedule(runner: Runner) -> None:
    """Steps new schedulers up to the iteration at which a run goes on."""
    schedulers = runner.param_schedulers or []
    length = len(runner.train_dataloader)
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    for iteration in range(1, runner.iter + 1):
        for scheduler in schedulers:
            if not scheduler.by_epoch or (by_epoch and iteration % length == 0):
                scheduler.step()


def check_once_each(images: Sequence[Hashable]) -> None:
    """Images are split among processes; none may be counted twice.

    Raises:
        RuntimeError: with the images that occur more than once.
    """
    twice = [image for image, count in Counter(images).items() if count > 1]
    if twice:
        raise RuntimeError(f"{len(twice)} images were evaluated more than once: {twice[:5]}")


def build_runner(cfg: Config, loops: Iterable[str], max_bad_images: float = 0.0) -> Runner:
    """The runner of a resolved config, with everything built that some loops need.

    Args:
        loops: names of the runner's loops, whose data sets are then read.
        max_bad_images: share of the training images that may be replaced, see `ReplacedImagesHook`.

    Raises:
        UserError: the config names a part that does not exist or gives it arguments that it does
            not take, or the work directory cannot be made.
    """
    make_folder(Path(cfg.work_dir))
    open_process_group(cfg)
    if cfg.get("visualizer"):
        # mmengine keeps one visualiser a name and process, with the folder of its first run.
        cfg.visualizer.name = cfg.work_dir
    try:
        runner = DenseRunner.from_cfg(cfg)
        for loop in loops:
            dataset = getattr(runner, loop).dataloader.dataset
            pack_index(dataset)
            name_records(dataset, replace=loop == "train_loop")
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{cfg.filename} cannot be built: {error}") from error
    forget_files()  # every one has been read
    name_batches(model_of(runner))
    if (cfg.get("randomness") or {}).get("deterministic"):
        # mmengine would end the run at the first operation that no GPU does deterministically,
        # such as the loss of segmentation; now torch warns of it.
        torch.use_deterministic_algorithms(True, warn_only=True)
    if not any(isinstance(hook, ProgressHook) for hook in runner.hooks):  # a config from elsewhere
        runner.register_hook(ProgressHook())
    for hook in step_hooks():
        runner.register_hook(hook)
    said = []
    if "train_loop" in loops:
        runner.register_hook(ReplacedImagesHook(max_bad_images))
        said = check_training_space(cfg, model_of(runner))
    if "test_loop" in loops:
        said = check_test_space(cfg, len(runner.test_dataloader.dataset))
    for line in said:
        log_entry("note", line)
    folder, log = Path(runner.work_dir), Path(runner.logger.log_file)
    if "test_loop" in loops and log.is_relative_to(folder):  # where it will be at the end
        log = finished_name(folder) / log.relative_to(folder)
    log_entry("log file", short_path(log))
    return runner


def apply_model_options(runner: Runner, options: RunOptions) -> None:
    """Applies the options that act on a model that is built and, where it begins so, loaded."""
    model: Any = model_of(runner)
    if options.fold is not None:
        fold(model.backbone, options.fold)
    if options.fuse:
        if is_model_wrapper(runner.model):
            runner.model.module = fuse(model)
        else:
            runner.model = fuse(model)


def pack_index(dataset: Any) -> None:
    """Packs the lists of images by category that mmdet's COCO data sets keep.

    mmengine packs the annotations of all images into one array (``serialize_data``), which forked
    workers share. These lists are small, but their numbers were made while the annotation file was
    parsed and lie among millions of objects of the same size that are gone since: they alone keep
    Python from giving that memory back, 2 GB in every process that reads COCO's training set.

    Args:
        dataset: a data set or a wrapper (repeat, concatenate) around some; others are left alone.
    """
    for inner in (*getattr(dataset, "datasets", ()), getattr(dataset, "dataset", None)):
        if inner is not None:
            pack_index(inner)
    images = getattr(dataset, "cat_img_map", None)
    if images:
        dataset.cat_img_map = {category: np.array(ids) for category, ids in images.items()}


def make_folder(folder: Path) -> None:
    """Makes a folder of the work directory."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"work directory {folder} cannot be made: {error}") from error
