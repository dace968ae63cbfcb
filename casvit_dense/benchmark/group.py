"""One group of cases: compared with the reference, prepared side by side, timed in turns."""

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from casvit_dense.benchmark import backends, memory
from casvit_dense.benchmark.cases import RUNTIMES, BenchmarkCase
from casvit_dense.benchmark.machine import OtherLoad
from casvit_dense.benchmark.timing import (
    TURN_SECONDS,
    interleave,
    interval_of_median,
    ratios,
    spread,
    stopwatch,
)

#: Steps of a case that `Group.measure` reports, beside one for each round.
STEPS = 2


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    Attributes:
        rounds: timed turns of each case.
        threads: CPU threads of every backend.
        again: measure rows that are there.
        memory: measure peak memory, in a process for each case.
        turn_seconds: least time of a timed turn.
    """

    rounds: int = 9
    threads: int = field(default_factory=torch.get_num_threads)
    again: bool = False
    memory: bool = True
    turn_seconds: float = TURN_SECONDS


class Group:
    """Cases of one input, and what is measured of them.

    Args:
        cases: what is timed against each other; the first is the base of the ratios.
        settings: see `Settings`.

    Attributes:
        figures: of each case, fields of its row; ``error`` says why there are none.
        samples: seconds of a call in each round, of those that did not fail.
    """

    def __init__(self, cases: Iterable[BenchmarkCase], settings: Settings) -> None:
        self.cases = list(cases)
        self.settings = settings
        self.figures: dict[BenchmarkCase, dict[str, Any]] = {case: {} for case in self.cases}
        self.samples: dict[BenchmarkCase, list[float]] = {}
        self._prepared: dict[BenchmarkCase, backends.Prepared] = {}

    def measure(self, progress: Callable[[], None]) -> None:
        """Fills ``figures`` and ``samples``; calls ``progress`` after every step of the work."""
        torch.compiler.reset()  # other sizes would count as further shapes of the same network
        with tempfile.TemporaryDirectory(prefix="casvit-dense-") as name:
            folder = Path(name)
            exported = [case for case in self.cases if case.backend in RUNTIMES]
            # A process of its own needs the memory of a GPU, too, so this one takes none before.
            for case in self.cases:
                if case not in exported:
                    self._measure_memory(case, folder)
                    progress()
            self._prepare(folder, progress)
            for case in exported:  # the file is there now, and its making does not count
                if case in self._prepared:
                    self._measure_memory(case, folder)
                progress()
            self._time(progress)
        self._prepared.clear()
        release(self.cases[0].device)

    def _fail(self, case: BenchmarkCase, error: Exception) -> None:
        self.figures[case]["error"] = reason_of(error)
        self._prepared.pop(case, None)

    def _measure_memory(self, case: BenchmarkCase, folder: Path) -> None:
        if not self.settings.memory:
            return
        try:
            peak = memory.peak_bytes(case, self.settings.threads, folder)
            self.figures[case]["peak_mb"] = peak / 1e6
        except Exception as error:  # the time is measured all the same
            self.figures[case]["memory_error"] = reason_of(error)

    def _prepare(self, folder: Path, progress: Callable[[], None]) -> None:
        base = self.cases[0].group
        reference: backends.Outputs = {}
        if base not in self.cases:  # only compared with
            with contextlib.suppress(Exception):  # `_compare` says that it fails
                reference = backends.prepare(base, self.settings.threads, folder).outputs()
            release(base.device)
        for case in self.cases:
            try:
                prepared = backends.prepare(case, self.settings.threads, folder)
                found = prepared.outputs()
                if case == base:
                    reference = found
                self._prepared[case] = prepared
                self._compare(case, found, reference)
                if prepared.saved_bytes is not None:
                    self.figures[case]["saved_mb"] = prepared.saved_bytes() / 1e6
            except Exception as error:
                self._fail(case, error)
            if case not in self._prepared:
                release(case.device)
            progress()

    def _compare(
        self, case: BenchmarkCase, found: backends.Outputs, reference: backends.Outputs
    ) -> None:
        if not reference:
            raise RuntimeError("the reference in eager fp32 fails, so nothing can be compared")
        for kind, outputs in found.items():
            gap = backends.difference(outputs, reference[kind])
            if gap == gap:  # a row holds no NaN
                self.figures[case].setdefault("difference", gap)  # of the most telling kind
            most = backends.tolerance(case, kind)
            if not gap <= most:  # nor is NaN
                raise ValueError(
                    f"{kind} differ from the reference's by {gap:.2g}, more than {most:g}"
                )

    def _time(self, progress: Callable[[], None]) -> None:
        load = OtherLoad()
        device = self.cases[0].device
        timings = interleave(
            {case: self._prepared[case].call for case in self.cases if case in self._prepared},
            self.settings.rounds,
            lambda call, times: stopwatch(call, times, device),
            self.settings.turn_seconds,
            after_turn=progress,
        )
        cores = load.cores()
        for case, error in timings.errors.items():
            self._fail(case, error)
        self.samples = timings.samples
        for case in self.samples:
            self.figures[case] |= {"other_load": cores, **self._times(case)}

    def _times(self, case: BenchmarkCase) -> dict[str, Any]:
        milliseconds = [1e3 * seconds for seconds in self.samples[case]]
        times = spread(milliseconds)
        base = self.cases[0]
        return {
            "rounds_ms": milliseconds,
            "median_ms": times.median,
            "p10_ms": times.p10,
            "p90_ms": times.p90,
            "base": base.label,
            "ratio": self.ratio(base, case),
            "form_ratio": self.ratio(case.path_reference, case),
        }

    def ratio(self, base: BenchmarkCase, case: BenchmarkCase) -> float | None:
        """How many times as fast as ``base`` a case is, by the median of the rounds."""
        if base not in self.samples:
            return None
        return spread(ratios(self.samples[base], self.samples[case])).median

    def verdict(self, a: BenchmarkCase, b: BenchmarkCase) -> str:
        """How many times as fast as ``a`` the case ``b`` is, in words with spread and interval.

        The interval is a bootstrap one of the median: where it holds 1, the run shows no
        difference.
        """
        failed = [
            f"{case.label}: {self.figures[case].get('error')}"
            for case in (a, b)
            if case not in self.samples
        ]
        if failed:
            return f"{a.input_words}: no comparison, since {'; '.join(failed)}"
        values = ratios(self.samples[a], self.samples[b])
        over_rounds, (low, high) = spread(values), interval_of_median(values)
        conclusion = " (no difference is shown)" if low <= 1 <= high else ""
        return (
            f"{a.input_words}: B ({b.label}) is {over_rounds.median:.3f} times as fast as "
            f"A ({a.label}){conclusion}\n"
            f"  over {len(values)} rounds: {over_rounds.p10:.3f} to {over_rounds.p90:.3f} "
            f"(10th and 90th percentile); 95 % interval of the median: {low:.3f} to {high:.3f}"
        )


def release(device: str) -> None:
    """Frees the memory of unused networks, which are often part of reference cycles."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def reason_of(error: Exception) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0].strip()}" if lines else name
