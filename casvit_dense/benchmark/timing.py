"""Interleaved timing: A B C, A B C, so that a machine that drifts drifts for all."""

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], Any]
#: Runs a call so many times and returns the seconds that took.
Stopwatch = Callable[[Call, int], float]

TURN_SECONDS = 0.3  # least time of one timed turn
# Threads of the runtime that had the turn before spin for a while; calls in this time are not
# counted.
WARM_SECONDS = 0.1


def stopwatch(call: Call, times: int, device: str = "cpu") -> float:
    """Seconds of so many calls by the wall clock, each awaited before the next begins.

    On a GPU, too, this is the latency of a call; work queued behind work would show throughput.
    """
    wait = torch.cuda.synchronize if device == "cuda" else None
    if wait:
        wait()
    start = time.perf_counter()
    for _ in range(times):
        call()
        if wait:
            wait()
    return time.perf_counter() - start


@dataclass
class Timings(Generic[Key]):
    """Seconds of one call, a sample for every round, and what failed on the way."""

    samples: dict[Key, list[float]]
    errors: dict[Key, Exception] = field(default_factory=dict)


def interleave(
    calls: Mapping[Key, Call],
    rounds: int,
    watch: Stopwatch = stopwatch,
    turn_seconds: float = TURN_SECONDS,
    warm_seconds: float = WARM_SECONDS,
    after_turn: Callable[[], None] = lambda: None,
) -> Timings[Key]:
    """Times several calls in turns.

    A turn makes untimed calls for ``warm_seconds`` and then timed ones for ``turn_seconds``, of
    each at least one. A call that raises is left out from there on; ``after_turn`` is called after
    every turn of every call.
    """
    timings: Timings[Key] = Timings({key: [] for key in calls})
    plans: dict[Key, tuple[int, int]] = {}
    for turn in range(-1, rounds):  # the first one only counts calls
        for key, call in calls.items():
            if key in timings.errors:
                continue
            try:
                if turn < 0:
                    watch(call, 1)
                    seconds = max(watch(call, 1), 1e-9)
                    plans[key] = (
                        max(1, math.ceil(warm_seconds / seconds)),
                        max(1, math.ceil(turn_seconds / seconds)),
                    )
                    continue
                warm, timed = plans[key]
                watch(call, warm)
                timings.samples[key].append(watch(call, timed) / timed)
            except Exception as error:
                timings.errors[key] = error.with_traceback(None)  # its frames hold activations
                del timings.samples[key]
            after_turn()
    return timings


class Spread(NamedTuple):
    """Median with 10th and 90th percentile."""

    median: float
    p10: float
    p90: float


def spread(samples: Sequence[float]) -> Spread:
    """Median and percentiles, between neighbours by linear interpolation."""
    return Spread(*np.percentile(samples, (50, 10, 90)).tolist())


def ratios(base: Sequence[float], samples: Sequence[float]) -> list[float]:
    """How many times as fast as ``base`` each round was."""
    return [b / s for b, s in zip(base, samples, strict=True)]


def interval_of_median(
    values: Sequence[float], confidence: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Bootstrap interval of the median of the rounds (percentile method, fixed seed)."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.asarray(values), (draws, len(values)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.median(drawn, axis=1), (tail, 100 - tail))
    return float(low), float(high)
