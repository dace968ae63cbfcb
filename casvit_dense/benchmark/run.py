"""A run of the benchmark: group after group, every finished one written at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from casvit_dense.benchmark.cases import BenchmarkCase, groups
from casvit_dense.benchmark.counts import Cost, cost_columns, costs_of, share_columns
from casvit_dense.benchmark.group import STEPS, Group, Settings, reason_of
from casvit_dense.benchmark.machine import COLUMNS, Rates, condition, measure_rates, now
from casvit_dense.benchmark.networks import check_model
from casvit_dense.benchmark.rows import Ledger
from casvit_dense.progress import Progress, format_duration

Say = Callable[[str], None]
Record = Callable[[Sequence[Mapping[str, Any]]], None]
BUSY_CORES = 0.25  # more of them at work for others, and the times are worth little
PROGRESS_SECONDS = 10.0

# For the estimate alone, on two cores: seconds until a case is ready and its process has
# imported everything, and the share of the best rate that slower forms reach.
READY_SECONDS = {"eager": 3, "compile": 45, "cudagraphs": 45, "onnxruntime": 12, "openvino": 12}
PROCESS_SECONDS = 5
SLOW_SHARE = 0.4


class Benchmark:
    """Measures cases and writes their rows.

    Args:
        ledger: where rows go.
        settings: see `Settings`.
        say: takes a line for the user.
        record: takes rows once, when they are measured; its shares are of the best rates till then.

    Attributes:
        failures: how many cases could not be measured or counted so far.
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
        self._rows: dict[BenchmarkCase, dict[str, Any]] = {}

    def run(self, cases: Sequence[BenchmarkCase], alone: bool = False) -> list[Group]:
        """Measures what the ledger does not hold yet; finished groups stay, whatever ends the run.

        Args:
            cases: what to measure.
            alone: time nothing beside them: a group's first is the base of its ratios. Otherwise
                the reference in eager fp32 is, which is timed whether its row is wanted or not.

        Returns:
            The groups that were timed.

        Raises:
            UserError: there is no such model.
        """
        for model in dict.fromkeys(case.model for case in cases):
            check_model(model)
        torch.set_num_threads(self.settings.threads)
        members = groups(cases)
        new = {first: self._unknown(members[first]) for first in members}
        for case in (s for first in new for s in new[first] if s.mode == "count"):
            columns, _ = self._count(case)
            self.failures += "error" in columns
            row = {**condition(case), "date": now(), **columns}
            self._put([row])
            self.record([row])
            self.say(f"{case.input_words}: {summary(columns)}")
        timed = [
            Group(new[first] if alone else beside(first, new[first], members[first]), self.settings)
            for first in new
            if new[first] and first.mode != "count"
        ]
        if timed:
            self._say_estimate(timed)
            self._time(timed, {s for first in new for s in new[first]})
        return timed

    def _unknown(self, cases: Iterable[BenchmarkCase]) -> list[BenchmarkCase]:
        unknown = []
        for case in cases:
            if not self.settings.again and self.ledger.holds(condition(case)):
                self.say(f"already there: {case.input_words}, {case.label}")
            else:
                unknown.append(case)
        return unknown

    def _time(self, timed: Sequence[Group], stored: set[BenchmarkCase]) -> None:
        steps = sum(len(group.cases) for group in timed) * (self.settings.rounds + STEPS)
        progress = Progress("step", steps, PROGRESS_SECONDS)

        def step() -> None:
            if (line := progress.step()) is not None:
                self.say(f"  {line}")

        for group in timed:
            self.say(group.cases[0].input_words)
            group.measure(step)
            self._measure_rates(group.cases)
            for case, row in group.rows.items():
                if case in stored:
                    columns, _ = self._count(case.group)
                    # An error of counting is none of the measurement.
                    self._rows[case] = {**columns, "error": None, **row, "run": self._started}
            self.failures += sum("error" in row for row in group.rows.values())
            self._put(self._rows_with_shares().values())
            self.record([row for s, row in self._rows_with_shares().items() if s in group.rows])
            self._report(group)

    def _put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.ledger.put([{name: row.get(name) for name in COLUMNS} for row in rows])

    def _measure_rates(self, cases: Iterable[BenchmarkCase]) -> None:
        for kind in dict.fromkeys(map(rate_kind, cases)):
            rates = measure_rates(*kind)
            self._rates[kind] = rates.best(self._rates.get(kind, rates))

    def _rows_with_shares(self) -> dict[BenchmarkCase, dict[str, Any]]:
        """All rows of this run: each share is of the best rates that the run has seen so far."""
        rows = {}
        for case, row in self._rows.items():
            _, cost = self._count(case.group)
            if cost is not None and row.get("median_ms"):
                seconds, rates = row["median_ms"] / 1e3, self._rates[rate_kind(case)]
                row = {**row, **share_columns(cost, seconds, rates, case.dtype != "fp32")}
            rows[case] = row
        return rows

    def _report(self, group: Group) -> None:
        known = self._rows_with_shares()
        for case in group.cases:
            row = known.get(case, group.rows[case])
            self.say(f"  {case.label:<32} {summary(row)}")
        load = max((row.get("other_load") or 0.0 for row in group.rows.values()), default=0.0)
        if load > BUSY_CORES:
            self.say(f"  other processes kept {load:.1f} cores busy: measure again when they rest")

    def _say_estimate(self, timed: Sequence[Group]) -> None:
        cases = [case for group in timed for case in group.cases]
        self._measure_rates(cases)
        seconds = sum(map(self._expected_seconds, cases))
        self.say(f"{len(cases)} cases, about {format_duration(seconds)}")

    def _expected_seconds(self, case: BenchmarkCase) -> float:
        _, cost = self._count(case.group)
        rate = self._rates[rate_kind(case)].matmul * SLOW_SHARE
        call = 2 * cost.macs / rate if cost is not None else self.settings.turn_seconds
        turn = 2 * max(call, self.settings.turn_seconds)
        ready = READY_SECONDS[case.backend]
        processes = (PROCESS_SECONDS + ready + 4 * call) * self.settings.memory
        return ready + processes + self.settings.rounds * turn


def beside(
    base: BenchmarkCase, new: Sequence[BenchmarkCase], members: Sequence[BenchmarkCase]
) -> list[BenchmarkCase]:
    """New cases of a group, and what their ratios need; known rows of the latter stay.

    Args:
        base: the group's reference.
        new: those without a row.
        members: all that were asked for; of these, the references on the new ones' backends.
    """
    needed = {*new, *(case.path_reference for case in new)}
    return list(dict.fromkeys([base, *(case for case in members if case in needed)]))


def count(case: BenchmarkCase) -> tuple[dict[str, Any], Cost | None]:
    """Columns of parameters and multiply-adds, and the cost of a call where it can be counted."""
    try:
        costs, rois = costs_of(case)
    except Exception as error:  # the networks of others meet operators without shapes
        return {"error": f"not counted: {reason_of(error)}"}, None
    return cost_columns(costs, rois, case), sum(costs.values(), Cost())


def rate_kind(case: BenchmarkCase) -> tuple[str, str]:
    """Device and precision of the products that a case makes."""
    autocast = "bf16" if case.device == "cpu" else "fp16"
    return case.device, autocast if case.dtype == "autocast" else case.dtype


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
