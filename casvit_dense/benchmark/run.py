"""A run of the benchmark: group after group, every finished one written at once."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from casvit_dense.benchmark.cases import RUNTIMES, BenchmarkCase, groups
from casvit_dense.benchmark.counts import cost_columns, costs_of, share_columns
from casvit_dense.benchmark.group import STEPS, Group, Settings, reason_of
from casvit_dense.benchmark.machine import Rates, fixed_settings, measure_rates, now, provenance
from casvit_dense.benchmark.networks import check_model
from casvit_dense.counts import Cost
from casvit_dense.errors import UserError
from casvit_dense.files import check_writable
from casvit_dense.progress import Progress, format_duration
from casvit_dense.results.ledger import read_ledger, replace_rows
from casvit_dense.results.measurements import EvaluatorSpeed, LoadingSpeed, Speed

Log = Callable[[str], None]
DataRow = LoadingSpeed | EvaluatorSpeed
BUSY_CORES = 0.25  # with more of them at work for others, times are unreliable
PROGRESS_SECONDS = 10.0
#: Fields of a row that are the same in the whole run.
COMMON_FIELDS = {"date", "device", "threads", "software", "command"}

# For the estimate alone, on two cores: seconds until a case is ready and its process has
# imported everything, and the share of the best rate that slower forms reach.
READY_SECONDS = {"eager": 3, "compile": 45, "cudagraphs": 45, "onnxruntime": 12, "openvino": 12}
PROCESS_SECONDS = 5
SLOW_SHARE = 0.4


class Benchmark:
    """Measures cases and writes their rows.

    Args:
        ledger: file of rows to resume from and to write to; None keeps them in memory alone.
        settings: how to measure.
        log: takes a line for the user.
        command: what a user types to repeat the run, for the rows.

    Attributes:
        rows: all that are known by now, by their condition.
        failures: how many cases could not be measured or counted so far.

    Raises:
        UserError: the ledger cannot be read or written.
    """

    def __init__(
        self,
        ledger: Path | None,
        settings: Settings,
        log: Log = print,
        command: str | None = None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.log = log
        self.command = command
        self.failures = 0
        self.rows: dict[tuple[Any, ...], Speed] = {}
        self._started = now()
        self._rates: dict[tuple[str, str], Rates] = {}
        self._count = cache(count)
        self._measured: dict[BenchmarkCase, dict[str, Any]] = {}
        if ledger is None:
            return
        check_writable(ledger)
        if ledger.exists():
            rows, rejected = read_ledger(ledger)
            for line in rejected:
                self.log(f"warning: {line}")
            self.rows = {row.condition: row for row in rows if isinstance(row, Speed)}

    def run(self, cases: Sequence[BenchmarkCase], alone: bool = False) -> list[Group]:
        """Measures what the ledger does not hold yet; finished groups stay if the run is ended.

        Args:
            cases: what to measure.
            alone: time nothing beside them: a group's first is the base of its ratios. Otherwise
                the reference in eager fp32 is, which is timed whether its row is wanted or not.

        Returns:
            The groups that were timed.
        """
        for model in dict.fromkeys(case.model for case in cases):
            check_model(model)
        with fixed_settings(self.settings.threads):
            timed, stored = [], set()
            for base, members in groups(cases).items():
                new = self._unknown(members)
                if base.mode == "count":
                    self._count_all(new)
                elif new:
                    chosen = new if alone else beside(base, new, members)
                    timed.append(Group(chosen, self.settings))
                    stored.update(new)
            if timed:
                self._time(timed, stored)
        return timed

    def _count_all(self, cases: Iterable[BenchmarkCase]) -> None:
        for case in cases:
            columns, _ = self._count(case)
            self.failures += "error" in columns
            row = self._row_of(case, columns)
            self._put([row])
            self.log(f"{case.input_words}: {summary(row)}")

    def _unknown(self, cases: Iterable[BenchmarkCase]) -> list[BenchmarkCase]:
        """Those to measure: a failure is tried again, and changed files may behave otherwise."""
        unknown = []
        for case in cases:
            row = self.rows.get(self._row_of(case, {}).condition)
            if row is None or row.error or row.software.dirty or self.settings.again:
                unknown.append(case)
            else:
                self.log(f"already there: {case.input_words}, {case.label}: {summary(row)}")
        return unknown

    def _row_of(self, case: BenchmarkCase, figures: dict[str, Any]) -> Speed:
        """The row of a case on this machine as it is now."""
        height, width = case.size
        cuda = case.device == "cuda"
        fields = {
            "command": self.command,
            "model": case.name,
            "part": case.part,
            "mode": case.mode,
            "form": case.form,
            "backend": case.backend,
            "precision": case.dtype,
            "memory_format": case.memory_format,
            "size": f"{height}x{width}",
            "batch": case.batch,
            "device_type": case.device,
            "tf32": False if cuda else None,
            "cudnn_benchmark": True if cuda else None,
            **provenance(case.device, case.backend if case.backend in RUNTIMES else None),
        }
        return Speed(**{**fields, **figures})

    def _time(self, timed: Sequence[Group], stored: set[BenchmarkCase]) -> None:
        cases = [case for group in timed for case in group.cases]
        self.log("measuring the machine's best rates")
        self._measure_rates(cases)
        seconds = sum(map(self._expected_seconds, cases))
        self.log(f"{len(cases)} cases, about {format_duration(seconds)}")
        steps = len(cases) * (self.settings.rounds + STEPS)
        progress = Progress("step", steps, PROGRESS_SECONDS)

        def step() -> None:
            if (line := progress.step()) is not None:
                self.log(f"  {line}")

        for group in timed:
            self.log(group.cases[0].input_words)
            group.measure(step)
            self._measure_rates(group.cases)
            for case, figures in group.figures.items():
                self.failures += "error" in figures or "memory_error" in figures
                columns, _ = self._count(case.group)
                # An error of counting is none of the measurement.
                common = {**columns, "error": None, "run": self._started, "date": now()}
                figures.update({**common, **figures})
                if case in stored:
                    self._measured[case] = figures
            self._put(list(map(self._with_shares, self._measured, self._measured.values())))
            self._report(group)

    def _put(self, rows: Sequence[Speed]) -> None:
        self.rows.update((row.condition, row) for row in rows)
        if self.ledger is not None:
            replace_rows(self.ledger, rows)

    def _measure_rates(self, cases: Iterable[BenchmarkCase]) -> None:
        for kind in dict.fromkeys(map(rate_kind, cases)):
            rates = measure_rates(*kind)
            self._rates[kind] = rates.best(self._rates.get(kind, rates))

    def _with_shares(self, case: BenchmarkCase, figures: dict[str, Any]) -> Speed:
        """A measured case's row; its shares are of the best rates that the run has seen so far."""
        _, cost = self._count(case.group)
        if cost is None or not figures.get("median_ms"):
            return self._row_of(case, figures)
        rates = self._rates[rate_kind(case)]
        shares = share_columns(cost, figures["median_ms"] / 1e3, rates, case.dtype != "fp32")
        return self._row_of(case, {**figures, **shares})

    def _report(self, group: Group) -> None:
        load = 0.0
        for case, figures in group.figures.items():
            row = self._with_shares(case, figures)
            self.log(f"  {case.label:<32} {summary(row)}")
            if row.memory_error:
                self.log(f"    its memory was not measured: {row.memory_error}")
            load = max(load, row.other_load or 0.0)
        if load > BUSY_CORES:
            self.log(f"  other processes kept {load:.1f} cores busy: measure again when they rest")

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

    Of the members, all that were asked for, the references on the new ones' backends are needed.
    """
    needed = {*new, *(case.path_reference for case in new)}
    return list(dict.fromkeys([base, *(case for case in members if case in needed)]))


def count(case: BenchmarkCase) -> tuple[dict[str, Any], Cost | None]:
    """Fields of parameters and multiply-adds, and the cost of a call where it can be counted."""
    try:
        costs, rois = costs_of(case)
    except Exception as error:  # the networks of others meet operators without shapes
        return {"error": f"not counted: {reason_of(error)}"}, None
    return cost_columns(costs, rois, case), sum(costs.values(), Cost())


def rate_kind(case: BenchmarkCase) -> tuple[str, str]:
    """Device and precision of the products that a case makes."""
    autocast = "bf16" if case.device == "cpu" else "fp16"
    return case.device, autocast if case.dtype == "autocast" else case.dtype


def summary(row: Speed) -> str:
    """A row in few words."""
    if row.error:
        return f"failed: {row.error}"
    forms = {
        "median_ms": "{:.2f} ms",
        "p10_ms": "({:.2f}",
        "p90_ms": "to {:.2f})",
        "ratio": "x{:.2f}",
        "matmul_share": "{:.0%} of the matrix product's rate",
        "peak_mb": "{:.0f} MB at most",
        "saved_mb": "{:.1f} MB saved",
    }
    if row.median_ms is None:
        forms = {"params_m": "{:.2f} M parameters", "gmacs": "{:.2f} GMACs"}
    values = {name: getattr(row, name) for name in forms}
    return " ".join(forms[name].format(v) for name, v in values.items() if v is not None)


def run_jobs(
    jobs: Iterable[tuple[DataRow, Callable[[], Sequence[DataRow]]]],
    ledger: Path,
    log: Log,
    command: str | None = None,
) -> int:
    """Runs measurements of data loading or evaluation; the rows of each are written at once.

    A `UserError` ends the run.

    Args:
        jobs: each with the row that it has if it fails, whose error is still missing.
        ledger: file of rows.
        log: takes a line for the user.
        command: what a user types to repeat the run, for the rows.

    Returns:
        How many rows say that something could not be measured.
    """
    failures = 0
    for template, job in jobs:
        try:
            rows = job()
        except UserError:
            raise
        except Exception as error:  # the other jobs can still be done
            rows = [template.model_copy(update={"error": reason_of(error)})]
        rows = [row.model_copy(update={"command": command}) for row in rows]
        for row in rows:
            fields = row.model_dump(exclude=COMMON_FIELDS, exclude_defaults=True)
            log("  ".join(f"{name} {value}" for name, value in fields.items()))
        failures += sum(row.error is not None for row in rows)
        replace_rows(ledger, rows)
    return failures
