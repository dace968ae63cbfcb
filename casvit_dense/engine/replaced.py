"""Training images whose files break while a run is under way: said, counted, up to a share."""

from fractions import Fraction  # 0.29 of 100 is less than 29 in floating point
from typing import Any

from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from casvit_dense.engine.loading import REPLACES
from casvit_dense.errors import UserError, shortlist
from casvit_dense.log import LOG
from casvit_dense.progress import counted
from casvit_dense.training.records import TRAINING_RECORD
from casvit_dense.training.saving import step_is_whole
from casvit_dense.training.stops import save_between

#: Where the messages are kept: in every checkpoint, so that a resumed run goes on counting.
REPLACED = "replaced_images"

#: Names of images that are listed at the end and in the record of a training.
LISTED = 20


class ReplacedImagesHook(Hook):
    """Says which images others stand in for, each once; saves and stops where they are too many.

    Checkpoints record how many, and the first of their names.

    Args:
        share: of the training images that may be replaced.
        interval: steps after which several processes compare what each has met.
    """

    priority = "LOW"  # after the record was written

    def __init__(self, share: float, interval: int = 50) -> None:
        self.share = share
        self.interval = interval
        self._due = False  # to be compared, at the end of an accumulated step
        self._new: list[str] = []
        self._replaced: list[str] = []

    def before_train(self, runner: Runner) -> None:
        self._replaced = list(runner.message_hub.get_info(REPLACED, []))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        for sample in (data_batch or {}).get("data_samples", ()):
            if REPLACES in sample:
                self._new.append(sample.get(REPLACES))
        self._due |= get_world_size() == 1 or self.every_n_train_iters(runner, self.interval)
        if self._due and step_is_whole(runner):
            self._compare(runner, runner.iter)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self.is_last_train_iter(runner):  # before the last checkpoint is written
            self._compare(runner, runner.iter + 1)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if self._replaced:
            record = checkpoint["meta"].setdefault(TRAINING_RECORD, {})
            record |= {REPLACED: len(self._replaced), "replaced": self._names()[:LISTED]}

    def after_train(self, runner: Runner) -> None:
        if self._replaced:
            names = self._names()
            LOG.info(f"replaced: {counted(len(names), 'image')}: {shortlist(names, LISTED)}")

    def _names(self) -> list[str]:
        return [message.partition(" cannot be ")[0] for message in self._replaced]

    def _compare(self, runner: Runner, done: int) -> None:
        """The same in all processes, so that they stop together, after ``done`` iterations."""
        images = len(runner.train_dataloader.dataset)
        found = [message for messages in all_gather_object(self._new) for message in messages]
        self._new, self._due = [], False
        for message in dict.fromkeys(found):
            if message in self._replaced:
                continue
            if len(self._replaced) >= int(Fraction(str(self.share)) * images):
                raise UserError(
                    f"{message}. Of {counted(images, 'image')}, {len(self._replaced)} were replaced"
                    f" before, and --max-bad-images {self.share:g} allows no more. Saved as "
                    f"{save_between(runner, done)}, where --resume goes on once the files "
                    "are mended"
                )
            self._replaced.append(message)
            runner.message_hub.update_info(REPLACED, self._replaced)
            LOG.warning(f"warning: {message}; another image stands in for it")
