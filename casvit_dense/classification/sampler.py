"""Batches of several image sizes, as the official training has them.

Source: ``classification/data/samplers.py`` of https://github.com/Tianfang-Zhang/CAS-ViT, commit
041d2d6, MIT licence. Sizes and batch sizes are the official ones. Two things differ:

- The official sampler draws every size by itself and an epoch ends when its images do, so no two
  epochs need to have the same number of batches. Here an epoch is a whole number of cycles of all
  sizes, each cycle in an order of its own: a run can go on inside an epoch by counting, and steps
  that accumulate 2, 3 or 6 batches end where epochs do.
- The official schedule counts epochs by the batch of size 224 and skips what the larger batches
  leave over: of 625 learning rates an epoch, ImageNet on 8 GPUs uses some 513. Here it has as many
  rates as there are batches.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size
from mmengine.registry import DATA_SAMPLERS

from casvit_dense.training.draws import SizedIndex


@DATA_SAMPLERS.register_module()
class MultiScaleBatches:
    """Batches that differ in image size; the smaller the images, the more of them.

    All processes have the same size at the same step. An epoch has as many images as the data set,
    to the nearest whole cycle of sizes, of which there is at least one: it leaves some out for
    other epochs, or begins them anew.

    Args:
        sampler: mmengine's ``DefaultSampler``, whose seed and epoch choose the sizes.
        batch_size: images of a batch at ``size``.
        size: side of the square, in pixels, that ``batch_size`` is meant for.
        sizes: sides of the squares that are trained on, in pixels.

    Attributes:
        batch_sizes: side -> images of a batch.

    Raises:
        TypeError: the sampler has no epochs.
    """

    def __init__(
        self, sampler: DefaultSampler, batch_size: int, size: int, sizes: Sequence[int]
    ) -> None:
        if not isinstance(sampler, DefaultSampler):
            raise TypeError(f"{type(self).__name__} needs a DefaultSampler, not {type(sampler)}")
        self.sampler = sampler
        processes = get_world_size()
        self.batch_sizes = {
            side: images_of(side, size, batch_size, processes) for side in sorted(sizes)
        }

    def __len__(self) -> int:
        cycles = round(len(self.sampler) / sum(self.batch_sizes.values()))
        return max(1, cycles) * len(self.batch_sizes)

    def __iter__(self) -> Iterator[list[SizedIndex]]:
        images = cycle(self.sampler)
        first = self.sampler.epoch * len(self)
        for step in range(first, first + len(self)):
            size = self.size_at(step)
            yield [SizedIndex(index, size) for index in islice(images, self.batch_sizes[size])]

    def size_at(self, step: int) -> int:
        """The side of the images at a step of the training, in pixels."""
        cycles, place = divmod(step, len(self.batch_sizes))
        order = np.random.default_rng((self.sampler.seed, cycles)).permutation(
            list(self.batch_sizes)
        )
        return int(order[place])


def images_of(side: int, size: int, batch_size: int, processes: int) -> int:
    """Images of a batch: as many pixels as one of ``size``, but no fewer images.

    As in the official code the number is then rounded to a multiple of the number of processes, and
    down to an even one; unlike there it is never zero.

    Args:
        side: of the images, in pixels.
        size: side that ``batch_size`` is meant for, in pixels.
        batch_size: images of a batch at ``size``.
        processes: of the training.
    """
    wanted = max(batch_size, int(round(size**2 * batch_size / side**2, 2)))
    rounded = max(1, (wanted + processes // 2) // processes) * processes
    if rounded < 0.9 * wanted:
        rounded += processes
    return max(2, rounded - rounded % 2)
