"""mmengine's training loops, able to begin at any iteration as if they had run up to it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from casvit_dense.errors import UserError
from casvit_dense.training.draws import DrawnBatches, seed_samples, with_draws

#: Key of mmengine's message hub: the epoch that began last, and the iterations made before it.
EPOCH_BEGAN: Final = "epoch_began"


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """Trains by epochs; goes on inside one.

    Batches of a sampler of its own may be fewer than it says: where an epoch began is kept in the
    message hub, and so in every checkpoint.
    """

    def __init__(self, runner: Runner, dataloader: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(runner, with_draws(dataloader, runner.seed), **kwargs)
        seed_samples(self.dataloader.dataset)

    @property
    def done(self) -> int:
        """Iterations of this epoch that were made."""
        full = self._epoch, self._epoch * len(self.dataloader)
        epoch, begin = self.runner.message_hub.get_info(EPOCH_BEGAN, full)
        return self._iter - begin if epoch == self._epoch else 0

    def fit_iteration(self) -> None:
        """Goes on as far in its epoch as before, or at its begin where it has become shorter.

        Data, batch and processes decide how long an epoch is.
        """
        begin, length = self._epoch * len(self.dataloader), len(self.dataloader)
        self._iter = begin + (self.done if 0 <= self.done <= length else 0)
        self.runner.message_hub.update_info(EPOCH_BEGAN, [self._epoch, begin])

    def run_epoch(self) -> None:
        """Iterates over an epoch, or over what is left of it."""
        done = self.done
        if not 0 <= done <= len(self.dataloader):
            raise UserError(
                f"{self.runner.cfg.load_from} cannot be resumed: it was saved at iteration "
                f"{self._iter} in epoch {self._epoch + 1}, which has {len(self.dataloader)} here"
            )
        self.runner.message_hub.update_info(EPOCH_BEGAN, [self._epoch, self._iter - done])
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        batches_of(self.dataloader).begin(self._iter, done)
        for index, batch in enumerate(self.dataloader, done):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def validation_due(self) -> bool:
        """Whether a validation follows the last iteration."""
        self._decide_current_val_interval()
        last = self._epoch == self._max_epochs
        due = self._epoch >= self.val_begin and (self._epoch % self.val_interval == 0 or last)
        return self._epoch > 0 and self.done == 0 and due


@LOOPS.register_module()
class IterLoop(IterBasedTrainLoop):
    """Trains by iterations; goes on at any of them without loading what came before."""

    def __init__(self, runner: Runner, dataloader: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(runner, with_draws(dataloader, runner.seed), **kwargs)
        seed_samples(self.dataloader.dataset)
        self.dataloader_iterator = EndlessBatches(self.dataloader)

    def validation_due(self) -> bool:
        """Whether a validation follows the last iteration."""
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (self._iter % self.val_interval == 0 or last)
        return self._iter > 0 and due


class RevalidationHook(Hook):
    """Validates first where a run goes on from a checkpoint that a validation was to follow.

    Whether it was made before the break, and which checkpoint it made the best, nobody can tell.
    """

    priority = "LOWEST"  # after all hooks have begun

    def before_train(self, runner: Runner) -> None:
        loop, validation = runner.train_loop, runner.val_loop
        ours = isinstance(loop, EpochLoop | IterLoop)
        if ours and validation is not None and loop.validation_due():
            validation.run()


class EndlessBatches:
    """A loader's batches, pass after pass."""

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self._loader, self._passes = loader, 0
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def skip_iter(self, count: int) -> None:
        """Leaves out the first batches; called before the first is asked for."""
        batches = batches_of(self._loader)
        skipped = count
        if not hasattr(batches.sampler, "_infinite_indices"):  # of mmengine's and mmdet's
            self._passes, skipped = divmod(count, len(batches))
        self._begin(count, skipped)

    def __next__(self) -> Any:
        if self._iterator is None:
            self._begin(0, 0)
        assert self._iterator is not None
        try:
            return next(self._iterator)
        except StopIteration:
            self._passes += 1
            self._begin(batches_of(self._loader).iteration, 0)
            return next(self._iterator)

    def _begin(self, iteration: int, skipped: int) -> None:
        batches = batches_of(self._loader)
        if hasattr(batches.sampler, "set_epoch"):
            batches.sampler.set_epoch(self._passes)
        batches.begin(iteration, skipped)
        self._iterator = iter(self._loader)


def batches_of(loader: "DataLoader[Any]") -> DrawnBatches:
    """The sampler of batches that the loops gave a loader."""
    batches = loader.batch_sampler
    assert isinstance(batches, DrawnBatches)
    return batches


#: mmengine's loops -> ours.
OUR_LOOPS: Final = {"EpochBasedTrainLoop": "EpochLoop", "IterBasedTrainLoop": "IterLoop"}
