"""One group of subjects: prepared side by side, compared with the reference, timed in turns."""

import gc
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from casvit_dense.measure import backends, memory
from casvit_dense.measure.conditions import condition, now
from casvit_dense.measure.machine import OtherLoad
from casvit_dense.measure.subject import Subject
from casvit_dense.measure.timing import (
    TURN_SECONDS,
    cpu_stopwatch,
    cuda_stopwatch,
    interleave,
    ratios,
    spread,
)


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    Attributes:
        rounds: timed turns of each subject.
        threads: CPU threads of every backend.
        again: measure rows that are there.
        memory: measure peak memory, in a process for each subject.
        turn_seconds: least time of a timed turn.
    """

    rounds: int = 9
    threads: int = field(default_factory=torch.get_num_threads)
    again: bool = False
    memory: bool = True
    turn_seconds: float = TURN_SECONDS


#: Steps of a subject that `Group.measure` reports, beside one for each round.
STEPS = 2


class Group:
    """Subjects of one input, and what becomes of them.

    Args:
        subjects: what is timed against each other; the first is the base of the ratios.
        settings: see `Settings`.

    Attributes:
        rows: the columns of each subject's row; ``error`` says why there is no figure.
        samples: seconds of a call in each round, of those that did not fail.
    """

    def __init__(self, subjects: Iterable[Subject], settings: Settings) -> None:
        self.subjects = list(subjects)
        self.settings = settings
        self.rows: dict[Subject, dict[str, Any]] = {s: condition(s) for s in self.subjects}
        self.samples: dict[Subject, list[float]] = {}
        self._prepared: dict[Subject, backends.Prepared] = {}

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
        release(self.subjects[0].device)
        for subject in self.subjects:
            self.rows[subject]["date"] = now()

    def _left(self) -> list[Subject]:
        return [subject for subject in self.subjects if subject in self._prepared]

    def _fail(self, subject: Subject, error: Exception) -> None:
        self.rows[subject]["error"] = reason_of(error)
        self._prepared.pop(subject, None)

    def _prepare(self, folder: Path, step: Callable[[], None]) -> None:
        reference: backends.Outputs = {}
        for subject in dict.fromkeys([self.subjects[0].group, *self.subjects]):
            try:
                prepared = backends.prepare(subject, self.settings.threads, folder)
                found = prepared.outputs()
                if subject == subject.group:
                    reference = found
                if subject not in self.rows:
                    continue
                self._prepared[subject] = prepared
                self._compare(subject, found, reference)
                if prepared.saved_bytes is not None:
                    self.rows[subject]["saved_mb"] = prepared.saved_bytes() / 1e6
            except Exception as error:
                if subject in self.rows:
                    self._fail(subject, error)
            if subject not in self._prepared:
                release(subject.device)
            if subject in self.rows:
                step()

    def _compare(
        self, subject: Subject, found: backends.Outputs, reference: backends.Outputs
    ) -> None:
        if not reference:
            raise RuntimeError("the reference in eager fp32 fails, so nothing can be compared")
        for kind, outputs in found.items():
            gap = backends.difference(outputs, reference[kind])
            self.rows[subject].setdefault("difference", gap)  # of the most telling kind
            most = backends.tolerance(subject, kind)
            if not gap <= most:  # nor is NaN
                raise ValueError(
                    f"{kind} differ from the reference's by {gap:.2g}, more than {most:g}"
                )

    def _measure_memory(self, folder: Path, step: Callable[[], None]) -> None:
        for subject in self.subjects:
            if self.settings.memory and subject in self._prepared:
                try:
                    peak = memory.peak_bytes(subject, self.settings.threads, folder)
                    self.rows[subject]["peak_mb"] = peak / 1e6
                except Exception as error:
                    self._fail(subject, error)
                if subject not in self._prepared:
                    release(subject.device)
            step()

    def _time(self, step: Callable[[], None]) -> None:
        load = OtherLoad()
        cuda = self.subjects[0].device == "cuda"
        timings = interleave(
            {subject: self._prepared[subject].call for subject in self._left()},
            self.settings.rounds,
            cuda_stopwatch if cuda else cpu_stopwatch,
            self.settings.turn_seconds,
            after_turn=step,
        )
        cores = load.cores()
        for subject, error in timings.errors.items():
            self._fail(subject, error)
        self.samples = timings.samples
        for subject in self.samples:
            self.rows[subject] |= {"other_load": cores, **self._time_columns(subject)}

    def _time_columns(self, subject: Subject) -> dict[str, Any]:
        samples = self.samples[subject]
        milliseconds = [1e3 * seconds for seconds in samples]
        times = spread(milliseconds)
        base = self.subjects[0]
        return {
            "rounds": len(samples),
            "median_ms": times.median,
            "p10_ms": times.p10,
            "p90_ms": times.p90,
            "images_per_s": 1e3 * subject.batch / times.median,
            "base": base.label,
            "ratio": self.ratio(base, subject),
            "form_ratio": self.ratio(subject.path_reference, subject),
            "rounds_ms": " ".join(f"{value:.5g}" for value in milliseconds),
        }

    def ratio(self, base: Subject, subject: Subject) -> float | None:
        """How many times as fast as ``base`` a subject is, by the median of the rounds."""
        if base not in self.samples:
            return None
        return spread(ratios(self.samples[base], self.samples[subject])).median


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
