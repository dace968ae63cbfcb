"""A run with a seed is the same run again, resumed or not."""

from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

#: What the numbers are drawn for.
LOADING, STEP = 0, 1


class RepeatableHook(Hook):
    """Makes random numbers depend on seed, process and iteration alone, not on what went before.

    mmengine's checkpoints do not hold the state of the generators, so that a resumed run flips and
    drops otherwise than the same run without a break. Loader workers have generators of their own,
    which are seeded when they start: with them, flips after a break are still others.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        self._seed(runner, runner.iter, LOADING)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._seed(runner, runner.iter, STEP)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._seed(runner, runner.iter + 1, LOADING)

    @staticmethod
    def _seed(runner: Runner, iteration: int, purpose: int) -> None:
        sequence = np.random.SeedSequence((runner.seed, get_rank(), iteration, purpose))
        set_random_seed(int(sequence.generate_state(1)[0]))
