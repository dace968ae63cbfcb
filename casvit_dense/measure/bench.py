"""A run of the benchmark: group after group, every finished one written at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from casvit_dense.engine.hooks import Progress, format_duration
from casvit_dense.measure.conditions import COLUMNS, condition, now
from casvit_dense.measure.costs import cost_columns, costs_of, share_columns
from casvit_dense.measure.counts import Cost
from casvit_dense.measure.group import STEPS, Group, Settings, reason_of
from casvit_dense.measure.machine import Rates, measure_rates
from casvit_dense.measure.networks import check_model
from casvit_dense.measure.rows import Ledger
from casvit_dense.measure.subject import Subject, groups

Say = Callable[[str], None]
Record = Callable[[Sequence[Mapping[str, Any]]], None]
BUSY_CORES = 0.25  # more of them at work for others, and the times are worth little
PROGRESS_SECONDS = 10.0

# For the estimate alone, on two cores: seconds until a subject is ready and its process has
# imported everything, and the share of the best rate that slower forms reach.
READY_SECONDS = {"eager": 3, "compile": 45, "cudagraphs": 45, "onnxruntime": 12, "openvino": 12}
PROCESS_SECONDS = 5
SLOW_SHARE = 0.4


class Benchmark:
    """Measures subjects and writes their rows.

    Args:
        ledger: where rows go.
        settings: see `Settings`.
        say: takes a line for the user.
        record: takes rows once, when they are measured; its shares are of the best rates till then.

    Attributes:
        failures: how many subjects could not be measured or counted so far.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        say: Say = print,
        record: Record = lambda rows: None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.say = say
        self.record = record
        self.failures = 0
        self._started = now()
        self._rates: dict[tuple[str, str], Rates] = {}
        self._count = cache(count)
        self._rows: dict[Subject, dict[str, Any]] = {}

    def run(self, subjects: Sequence[Subject], alone: bool = False) -> list[Group]:
        """Measures what the ledger does not hold yet; finished groups stay, whatever ends the run.

        Args:
            subjects: what to measure.
            alone: time nothing beside them: a group's first is the base of its ratios. Otherwise
                the reference in eager fp32 is, which is timed whether its row is wanted or not.

        Returns:
            The groups that were timed.

        Raises:
            UserError: there is no such model.
        """
        for model in dict.fromkeys(subject.model for subject in subjects):
            check_model(model)
        torch.set_num_threads(self.settings.threads)
        members = groups(subjects)
        new = {first: self._unknown(members[first]) for first in members}
        for subject in (s for first in new for s in new[first] if s.mode == "count"):
            columns, _ = self._count(subject)
            self.failures += "error" in columns
            row = {**condition(subject), "date": now(), **columns}
            self._put([row])
            self.record([row])
            self.say(f"{subject.input_words}: {summary(columns)}")
        timed = [
            Group(new[first] if alone else beside(first, new[first], members[first]), self.settings)
            for first in new
            if new[first] and first.mode != "count"
        ]
        if timed:
            self._say_estimate(timed)
            self._time(timed, {s for first in new for s in new[first]})
        return timed

    def _unknown(self, subjects: Iterable[Subject]) -> list[Subject]:
        unknown = []
        for subject in subjects:
            if not self.settings.again and self.ledger.holds(condition(subject)):
                self.say(f"already there: {subject.input_words}, {subject.label}")
            else:
                unknown.append(subject)
        return unknown

    def _time(self, timed: Sequence[Group], stored: set[Subject]) -> None:
        steps = sum(len(group.subjects) for group in timed) * (self.settings.rounds + STEPS)
        progress = Progress("step", steps, PROGRESS_SECONDS)

        def step() -> None:
            if (line := progress.step()) is not None:
                self.say(f"  {line}")

        for group in timed:
            self.say(group.subjects[0].input_words)
            group.measure(step)
            self._measure_rates(group.subjects)
            for subject, row in group.rows.items():
                if subject in stored:
                    columns, _ = self._count(subject.group)
                    # An error of counting is none of the measurement.
                    self._rows[subject] = {**columns, "error": None, **row, "run": self._started}
            self.failures += sum("error" in row for row in group.rows.values())
            self._put(self._rows_with_shares().values())
            self.record([row for s, row in self._rows_with_shares().items() if s in group.rows])
            self._report(group)

    def _put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.ledger.put([{name: row.get(name) for name in COLUMNS} for row in rows])

    def _measure_rates(self, subjects: Iterable[Subject]) -> None:
        for kind in dict.fromkeys(map(rate_kind, subjects)):
            rates = measure_rates(*kind)
            self._rates[kind] = rates.best(self._rates.get(kind, rates))

    def _rows_with_shares(self) -> dict[Subject, dict[str, Any]]:
        """All rows of this run: each share is of the best rates that the run has seen so far."""
        rows = {}
        for subject, row in self._rows.items():
            _, cost = self._count(subject.group)
            if cost is not None and row.get("median_ms"):
                seconds, rates = row["median_ms"] / 1e3, self._rates[rate_kind(subject)]
                row = {**row, **share_columns(cost, seconds, rates, subject.dtype != "fp32")}
            rows[subject] = row
        return rows

    def _report(self, group: Group) -> None:
        known = self._rows_with_shares()
        for subject in group.subjects:
            row = known.get(subject, group.rows[subject])
            self.say(f"  {subject.label:<32} {summary(row)}")
        load = max((row.get("other_load") or 0.0 for row in group.rows.values()), default=0.0)
        if load > BUSY_CORES:
            self.say(f"  other processes kept {load:.1f} cores busy: measure again when they rest")

    def _say_estimate(self, timed: Sequence[Group]) -> None:
        subjects = [subject for group in timed for subject in group.subjects]
        self._measure_rates(subjects)
        seconds = sum(map(self._expected_seconds, subjects))
        self.say(f"{len(subjects)} subjects, about {format_duration(seconds)}")

    def _expected_seconds(self, subject: Subject) -> float:
        _, cost = self._count(subject.group)
        rate = self._rates[rate_kind(subject)].matmul * SLOW_SHARE
        call = 2 * cost.macs / rate if cost is not None else self.settings.turn_seconds
        turn = 2 * max(call, self.settings.turn_seconds)
        ready = READY_SECONDS[subject.backend]
        processes = (PROCESS_SECONDS + ready + 4 * call) * self.settings.memory
        return ready + processes + self.settings.rounds * turn


def beside(base: Subject, new: Sequence[Subject], members: Sequence[Subject]) -> list[Subject]:
    """New subjects of a group, and what their ratios need; known rows of the latter stay.

    Args:
        base: the group's reference.
        new: those without a row.
        members: all that were asked for; of these, the references on the new ones' backends.
    """
    needed = {*new, *(subject.path_reference for subject in new)}
    return list(dict.fromkeys([base, *(subject for subject in members if subject in needed)]))


def count(subject: Subject) -> tuple[dict[str, Any], Cost | None]:
    """Columns of parameters and multiply-adds, and the cost of a call where it can be counted."""
    try:
        costs, rois = costs_of(subject)
    except Exception as error:  # the networks of others meet operators without shapes
        return {"error": f"not counted: {reason_of(error)}"}, None
    return cost_columns(costs, rois, subject), sum(costs.values(), Cost())


def rate_kind(subject: Subject) -> tuple[str, str]:
    """Device and precision of the products that a subject makes."""
    autocast = "bf16" if subject.device == "cpu" else "fp16"
    return subject.device, autocast if subject.dtype == "autocast" else subject.dtype


def summary(row: Mapping[str, Any]) -> str:
    """A row in few words."""
    if row.get("error"):
        return f"failed: {row['error']}"
    words = {
        "median_ms": "{:.2f} ms",
        "p10_ms": "({:.2f}",
        "p90_ms": "to {:.2f})",
        "ratio": "x{:.2f}",
        "matmul_share": "{:.0%} of the matrix product's rate",
        "peak_mb": "{:.0f} MB at most",
        "saved_mb": "{:.1f} MB saved",
        "params_m": "{:.2f} M parameters",
        "gmacs": "{:.2f} GMACs",
    }
    shown = {**row, **dict.fromkeys(("params_m", "gmacs"))} if row.get("median_ms") else row
    return " ".join(form.format(shown[k]) for k, form in words.items() if shown.get(k) is not None)
