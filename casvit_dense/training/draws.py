"""Every sample of a training has a seed of its own, whoever loads it and when.

What a sample looks like then depends on the seed of the run and on its place in it alone: not on
the number of workers, on what they loaded before, or on where a run was broken off.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import BatchSampler, Sampler


class SizedIndex(int):
    """The index of a sample in its data set, and the size in which a batch wants it.

    Attributes:
        size: side of the square, in pixels.
    """

    size: int

    def __new__(cls, index: int, size: int) -> "SizedIndex":
        sized = super().__new__(cls, index)
        sized.size = size
        return sized

    def __reduce__(self) -> tuple[Any, ...]:  # workers get a copy
        return SizedIndex, (int(self), self.size)


class Draw(int):
    """The index of a sample in its data set, and its place in the training.

    Attributes:
        index: as the sampler gave it.
        place: seed of the run, process, iteration, place in the batch.
    """

    index: int
    place: tuple[int, int, int, int]

    def __new__(cls, index: int, place: tuple[int, int, int, int]) -> "Draw":
        draw = super().__new__(cls, index)
        draw.index, draw.place = index, place
        return draw

    def __reduce__(self) -> tuple[Any, ...]:
        return Draw, (self.index, self.place)

    @classmethod
    def of(
        cls, index: int, seed: int, process: int, step: int, position: int, size: int | None = None
    ) -> "Draw":
        """The draw that its `numbers` describe."""
        sized = index if size is None else SizedIndex(index, size)
        return cls(sized, (seed, process, step, position))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Index, place and, where there is one, size."""
        size = (self.index.size,) if isinstance(self.index, SizedIndex) else ()
        return int(self), *self.place, *size


def mixed(*numbers: int) -> int:
    """One seed of several numbers, which depends on their order; zeros at the end do not count."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class StepSeedHook(Hook):
    """Makes the random numbers of a step, as of dropped paths, depend on seed, process and step.

    mmengine's checkpoints do not hold the state of the generators.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        set_random_seed(mixed(runner.seed, get_rank(), runner.iter))


@DATA_SAMPLERS.register_module()
class DrawnBatches(BatchSampler):
    """Batches of `Draw`, which can begin anywhere in a training.

    Args:
        sampler: see torch.
        batch_size: see torch.
        seed: of the run.
        batches: config of the sampler of batches that a loader has; without it torch's.
        drop_last: see torch.

    Attributes:
        iteration: number of the next batch in the training.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        seed: int,
        batches: Mapping[str, Any] | None = None,
        drop_last: bool = False,
    ) -> None:
        if batches is None:
            self.batches: Iterable[list[int]] = BatchSampler(sampler, batch_size, drop_last)
        else:
            arguments = {"sampler": sampler, "batch_size": batch_size}
            self.batches = DATA_SAMPLERS.build(dict(batches), default_args=arguments)
        self.sampler, self.batch_size, self.seed = sampler, batch_size, seed
        self.iteration = self._skipped = 0

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def begin(self, iteration: int, skipped: int) -> None:
        """Has the next pass begin with this iteration, and leave out its first batches."""
        self.iteration, self._skipped = iteration, skipped

    def __iter__(self) -> Iterator[list[int]]:
        skipped, self._skipped = self._skipped, 0
        for batch in islice(self.batches, skipped, None):
            place = (self.seed, get_rank(), self.iteration)
            self.iteration += 1
            yield [Draw(index, (*place, position)) for position, index in enumerate(batch)]


def with_draws(loader: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The config of a training's loader, with batches of draws."""
    content = dict(loader)
    batches = {"type": DrawnBatches, "seed": seed, "batches": content.get("batch_sampler")}
    if content.get("batch_sampler") is None:
        batches["drop_last"] = content.pop("drop_last", False)
    return {**content, "batch_sampler": batches}


def seed_samples(dataset: Any) -> None:
    """Has a data set seed every sample that is a `Draw`; torch's loaders ask for whole batches."""
    dataset.__getitems__ = partial(load_draws, dataset)  # workers that are spawned pickle it


def load_draws(dataset: Any, draws: Iterable[int]) -> list[Any]:
    """Loads samples, each with its seed; their ``metainfo`` says how they were drawn."""
    samples = []
    for draw in draws:
        if isinstance(draw, Draw):
            seed = mixed(*draw.place)
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
        sample = dataset[draw.index if isinstance(draw, Draw) else draw]
        if isinstance(draw, Draw) and isinstance(sample, dict) and "data_samples" in sample:
            sample["data_samples"].set_metainfo({"draw": draw.numbers})
        samples.append(sample)
    return samples
