"""Whether a difference between two systems is more than the luck of the images.

The paired bootstrap: images are drawn with replacement, both systems are evaluated on the same
draw, and the spread of the difference over many draws gives its interval (B. Efron, R. Tibshirani:
An Introduction to the Bootstrap, 1993, chapter 13; percentiles). AP and mIoU are accumulated anew
on every draw; they are no means over images.
"""

from collections.abc import Callable

import numpy as np

from casvit_dense.analysis.differences import Change
from casvit_dense.analysis.progress import Tick, silent
from casvit_dense.analysis.records import number

#: The value of every class ``(B, K)`` when images count as often as ``(B, N)`` says; NaN for none.
ClassValues = Callable[[np.ndarray], np.ndarray]

#: Resamples that are accumulated together; more need more memory and are not faster.
BLOCK = 25


def resample(
    systems: tuple[ClassValues, ClassValues],
    images: int,
    resamples: int,
    seed: int,
    tick: Tick = silent,
) -> np.ndarray:
    """Values of both systems on the same draws, ``(2, resamples, K)``.

    Args:
        systems: A and B.
        images: N, number of images.
        resamples: number of draws.
        seed: of the draws.
        tick: told of the progress.
    """
    generator = np.random.default_rng(seed)
    parts = []
    starts = range(0, resamples, BLOCK)
    for done, start in enumerate(starts, 1):
        drawn = generator.integers(images, size=(min(BLOCK, resamples - start), images))
        weights = np.stack([np.bincount(row, minlength=images) for row in drawn])
        parts.append(np.stack([values(weights) for values in systems]))
        tick(f"block of {BLOCK} resamples", done, len(starts))
    return np.concatenate(parts, axis=1)


def change(name: str, whole: np.ndarray, drawn: np.ndarray, confidence: float = 0.95) -> Change:
    """The difference of one figure with its interval.

    Args:
        name: of the figure.
        whole: ``(2,)``, of A and B on all images.
        drawn: ``(2, R)``, on the resamples; those without a value do not count.
        confidence: of the interval.
    """
    first, second = whole
    differences = drawn[1] - drawn[0]
    differences = differences[~np.isnan(differences)]
    tail = (1 - confidence) / 2
    ends = np.quantile(differences, (tail, 1 - tail)) if len(differences) else np.full(2, np.nan)
    return Change(name, *(number(v) for v in (first, second, second - first, *ends)))


def better(drawn: np.ndarray) -> float:
    """Part of the resamples ``(2, R)`` in which B is better; equal ones count half."""
    differences = drawn[1] - drawn[0]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def whole(systems: tuple[ClassValues, ClassValues], images: int) -> np.ndarray:
    """Values of both systems on all images, ``(2, K)``."""
    once = np.ones((1, images), int)
    return np.stack([values(once)[0] for values in systems])
