"""One group of cases: prepared side by side, compared with the reference, timed in turns."""

import gc
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from casvit_dense.benchmark import backends, memory
from casvit_dense.benchmark.cases import BenchmarkCase
from casvit_dense.benchmark.machine import OtherLoad, condition, now
from casvit_dense.benchmark.timing import (
    TURN_SECONDS,
    cpu_stopwatch,
    cuda_stopwatch,
    interleave,
    interval_of_median,
    ratios,
    spread,
)


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


#: Steps of a case that `Group.measure` reports, beside one for each round.
STEPS = 2


class Group:
    """Cases of one input, and what becomes of them.

    Args:
        cases: what is timed against each other; the first is the base of the ratios.
        settings: see `Settings`.

    Attributes:
        rows: the columns of each case's row; ``error`` says why there is no figure.
        samples: seconds of a call in each round, of those that did not fail.
    """

    def __init__(self, cases: Iterable[BenchmarkCase], settings: Settings) -> None:
        self.cases = list(cases)
        self.settings = settings
        self.rows: dict[BenchmarkCase, dict[str, Any]] = {s: condition(s) for s in self.cases}
        self.samples: dict[BenchmarkCase, list[float]] = {}
        self._prepared: dict[BenchmarkCase, backends.Prepared] = {}

    def measure(self, step: Callable[[], None]) -> None:
        """Fills ``rows`` and ``samples``.

        Args:
            step: is called after every step of the work.
        """
        torch.compiler.reset()  # other sizes would count as further shapes of the same network
        with tempfile.TemporaryDirectory(prefix="casvit-dense-") as folder:
            self._prepare(Path(folder), step)
            self._measure_memory(Path(folder), step)
            self._time(step)
        self._prepared.clear()
        release(self.cases[0].device)
        for case in self.cases:
            self.rows[case]["date"] = now()

    def _left(self) -> list[BenchmarkCase]:
        return [case for case in self.cases if case in self._prepared]

    def _fail(self, case: BenchmarkCase, error: Exception) -> None:
        self.rows[case]["error"] = reason_of(error)
        self._prepared.pop(case, None)

    def _prepare(self, folder: Path, step: Callable[[], None]) -> None:
        reference: backends.Outputs = {}
        for case in dict.fromkeys([self.cases[0].group, *self.cases]):
            try:
                prepared = backends.prepare(case, self.settings.threads, folder)
                found = prepared.outputs()
                if case == case.group:
                    reference = found
                if case not in self.rows:
                    continue
                self._prepared[case] = prepared
                self._compare(case, found, reference)
                if prepared.saved_bytes is not None:
                    self.rows[case]["saved_mb"] = prepared.saved_bytes() / 1e6
            except Exception as error:
                if case in self.rows:
                    self._fail(case, error)
            if case not in self._prepared:
                release(case.device)
            if case in self.rows:
                step()

    def _compare(
        self, case: BenchmarkCase, found: backends.Outputs, reference: backends.Outputs
    ) -> None:
        if not reference:
            raise RuntimeError("the reference in eager fp32 fails, so nothing can be compared")
        for kind, outputs in found.items():
            gap = backends.difference(outputs, reference[kind])
            self.rows[case].setdefault("difference", gap)  # of the most telling kind
            most = backends.tolerance(case, kind)
            if not gap <= most:  # nor is NaN
                raise ValueError(
                    f"{kind} differ from the reference's by {gap:.2g}, more than {most:g}"
                )

    def _measure_memory(self, folder: Path, step: Callable[[], None]) -> None:
        for case in self.cases:
            if self.settings.memory and case in self._prepared:
                try:
                    peak = memory.peak_bytes(case, self.settings.threads, folder)
                    self.rows[case]["peak_mb"] = peak / 1e6
                except Exception as error:
                    self._fail(case, error)
                if case not in self._prepared:
                    release(case.device)
            step()

    def _time(self, step: Callable[[], None]) -> None:
        load = OtherLoad()
        cuda = self.cases[0].device == "cuda"
        timings = interleave(
            {case: self._prepared[case].call for case in self._left()},
            self.settings.rounds,
            cuda_stopwatch if cuda else cpu_stopwatch,
            self.settings.turn_seconds,
            after_turn=step,
        )
        cores = load.cores()
        for case, error in timings.errors.items():
            self._fail(case, error)
        self.samples = timings.samples
        for case in self.samples:
            self.rows[case] |= {"other_load": cores, **self._time_columns(case)}

    def _time_columns(self, case: BenchmarkCase) -> dict[str, Any]:
        samples = self.samples[case]
        milliseconds = [1e3 * seconds for seconds in samples]
        times = spread(milliseconds)
        base = self.cases[0]
        return {
            "rounds": len(samples),
            "median_ms": times.median,
            "p10_ms": times.p10,
            "p90_ms": times.p90,
            "images_per_s": 1e3 * case.batch / times.median,
            "base": base.label,
            "ratio": self.ratio(base, case),
            "form_ratio": self.ratio(case.path_reference, case),
            "rounds_ms": " ".join(f"{value:.5g}" for value in milliseconds),
        }

    def ratio(self, base: BenchmarkCase, case: BenchmarkCase) -> float | None:
        """How many times as fast as ``base`` a case is, by the median of the rounds."""
        if base not in self.samples:
            return None
        return spread(ratios(self.samples[base], self.samples[case])).median


def release(device: str) -> None:
    """Gives back the memory of what nobody uses any more; networks lie in circles of references."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def reason_of(error: Exception) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0].strip()}" if lines else name


def verdict(group: Group, a: BenchmarkCase, b: BenchmarkCase) -> str:
    """How many times as fast as ``a`` the case ``b`` is, with spread and interval.

    The interval is a bootstrap one of the median: where it holds 1, the run shows no difference.
    """
    failed = [s for s in (a, b) if s not in group.samples]
    if failed:
        reasons = "; ".join(f"{s.label}: {group.rows[s].get('error')}" for s in failed)
        return f"{a.input_words}: no comparison, since {reasons}"
    values = ratios(group.samples[a], group.samples[b])
    over_rounds, (low, high) = spread(values), interval_of_median(values)
    verdict = " (no difference is shown)" if low <= 1 <= high else ""
    return (
        f"{a.input_words}: B ({b.label}) is {over_rounds.median:.3f} times as fast as "
        f"A ({a.label}){verdict}\n"
        f"  over {len(values)} rounds: {over_rounds.p10:.3f} to {over_rounds.p90:.3f} "
        f"(10th and 90th percentile); 95 % interval of the median: {low:.3f} to {high:.3f}"
    )
