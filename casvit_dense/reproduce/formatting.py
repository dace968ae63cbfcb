"""The text that `reproduce` prints: what is there, what is missing, what will run, how long."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from casvit_dense.progress import counted, format_bytes, format_duration
from casvit_dense.reproduce.estimate import Estimate
from casvit_dense.reproduce.plan import Settings
from casvit_dense.reproduce.recipe import published_images
from casvit_dense.reproduce.state import State
from casvit_dense.results.row import Evaluation
from casvit_dense.results.table import NOTHING, Table, shown
from casvit_dense.results.targets import read_targets
from casvit_dense.results.verify import Finding, percent, verify
from casvit_dense.zoo import MAIN_METRICS

#: Runs, each with what is left of it.
Work = Sequence[tuple[State, Estimate]]


class Step(NamedTuple):
    """One process to run."""

    state: State
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.state.run.name}"


def steps_of(states: Iterable[State]) -> list[Step]:
    """What can run now, in order."""
    return [Step(state, kind) for state in states if not state.missing for kind in state.todo]


def inventory(states: Sequence[State], settings: Settings) -> list[str]:
    """What is there of every run, and below it what is missing."""
    count = len({state.run.model.stem for state in states})
    models, runs = counted(count, "model"), counted(len(states), "run")
    head = f"{models}, {runs} in {settings.work_dirs}, rows in {settings.rows}"
    columns = ["model", "seed", "weights", "data", "checkpoint", "row"]
    cells = [
        [
            state.run.model.stem,
            str(state.run.seed),
            NOTHING if state.row or state.progress.checkpoint else availability(state, "weights"),
            NOTHING if state.row else availability(state, "data"),
            checkpoint_status(state),
            f"{state.row.date:%Y-%m-%d}" if state.row else NOTHING,
        ]
        for state in states
    ]
    table = Table(columns, cells, align="l" * len(columns)).text()
    return [head, "", *table, *missing(states), *unchecked(states)]


def availability(state: State, kind: str) -> str:
    return "missing" if kind in state.missing else "there"


def checkpoint_status(state: State) -> str:
    """How far the checkpoints are, and whether one of them is damaged."""
    progress, damaged = state.progress, len(state.progress.damaged)
    if "folder" in state.missing:
        return "of another run"
    text = NOTHING
    if progress.last is not None:
        text = "complete"
    elif progress.training is not None:
        text = f"step {progress.training.iterations:,} of {progress.training.planned_iterations:,}"
        text = (
            "stopped at " * progress.stopped + text + ", not validated" * (not progress.validated)
        )
    return text + f", {damaged} damaged" * bool(damaged)


def missing(states: Iterable[State]) -> list[str]:
    """Each thing that is missing, and for how many runs."""
    waiting = Counter(message for state in states for message in state.missing.values())
    found = [f"  {counted(count, 'run')}: {message}" for message, count in waiting.items()]
    return ["", "missing:", *found] if found else []


def unchecked(states: Iterable[State]) -> list[str]:
    """The rows that count without a comparison with their data."""
    names = [str(state.run.name) for state in states if state.unchecked]
    if not names:
        return []
    title = "these rows count, though their data cannot be read to be compared with them:"
    return ["", title, *(f"  {name}" for name in names)]


def subsets(work: Work) -> list[str]:
    """Incomplete data sets, whose results will not be comparable with published ones."""
    lines = []
    for state, estimate in work:
        whole = published_images(state.recipe.cfg)
        if whole and estimate.images and estimate.images.value != whole.value:
            lines.append(
                f"  {state.run.model.stem}: {estimate.images.value:,} images, not {whole.value:,}"
            )
    title = ["", "another training set than the published one; results will not be comparable:"]
    return [*title, *dict.fromkeys(lines)] if lines else []


def order(work: Work) -> list[str]:
    """The steps that will run, in order."""
    steps = [(step, estimate) for state, estimate in work for step in steps_of([state])]
    lines = [
        f"  {number:>3} {step}{_amount(step, estimate)}"
        for number, (step, estimate) in enumerate(steps, 1)
    ]
    return ["", "will run, in this order:", *lines] if lines else []


def _amount(step: Step, estimate: Estimate) -> str:
    """The steps of a training and their images."""
    if step.kind == "test":
        return ""
    batch = step.state.recipe.cfg.train_dataloader.batch_size
    steps = "steps" if estimate.steps is None else f"{estimate.steps:,} steps"
    return f": {steps} of {estimate.gpus} x {batch} images"


def totals(work: Work, free: int | None) -> list[str]:
    """Steps, time and disk of what is left, by run and in total, with their sources."""
    work = [(s, e) for s, e in work if s.todo]
    if not work:
        return ["", "nothing is left to do"]
    columns = ["model", "seed", "steps", "s/step", "GPU-hours", "disk"]
    cells = [
        [
            state.run.model.stem,
            str(state.run.seed),
            "?" if e.steps is None else f"{e.steps:,}",
            f"{e.step.value:.3f}" if e.step and e.steps else NOTHING,
            "?" if e.gpu_hours is None else hours(e.gpu_hours),
            format_bytes(e.disk),
        ]
        for state, e in work
    ]
    found = [e for _, e in work]
    steps = [e.steps for e in found if e.steps is not None]
    known = [e.gpu_hours for e in found if e.gpu_hours is not None]
    cells.append(
        [
            "total",
            "",
            at_least(f"{sum(steps):,}", len(steps) < len(found)),
            "",
            at_least(hours(sum(known)), len(known) < len(found)) if known else "?",
            format_bytes(sum(e.disk for e in found)),
        ]
    )
    table = Table(columns, cells, align="l" * len(columns)).text()
    return ["", "left to do:", *table, "", *sources(work, free)]


def at_least(text: str, more: bool) -> str:
    return f"{text} + ?" if more else text


def sources(work: Work, free: int | None) -> list[str]:
    """Where the figures are from, what they leave out, and how to get those that are unknown."""
    images = [e.images for _, e in work if e.images and e.steps]
    notes = [f"training images: {known.value:,.0f}, {known.source}" for known in images]
    notes += [f"step of {s.run.model.stem}: {e.step.source}" for s, e in work if e.step and e.steps]
    unknown = sum(e.steps != 0 and e.step is None for _, e in work)
    if unknown:
        notes.append(
            f"no time of a step is known for {counted(unknown, 'run')}: give --step-time "
            "STEM=SECONDS, or train for some minutes, and the log is read"
        )
    untimed = sum(e.test is None for _, e in work)
    if untimed:
        notes.append(
            f"evaluations are not in the hours of {counted(untimed, 'run')}: none was measured yet"
        )
    notes.append(
        "disk: the checkpoints that are kept, with the optimiser's state, without logs and "
        "predictions" + ("" if free is None else f"; free: {format_bytes(free)}")
    )
    return list(dict.fromkeys(notes))


def hours(count: float) -> str:
    """Hours in three digits."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def time_left(estimates: Iterable[Estimate]) -> str:
    """The time that runs will still take, as far as it is known."""
    seconds = [estimate.seconds for estimate in estimates]
    known = sum(s for s in seconds if s is not None)
    if not known:
        return "time left unknown"
    return f"{format_duration(known)} left" + " at least" * (None in seconds)


def failure(step: Step, reason: str, log: Path, lines: Sequence[str]) -> str:
    """The message about a step that failed, with the end of its log."""
    lines_text = "\n".join(f"    {line}" for line in lines)
    return f"failed: {step}: {reason}; log {log}" + (
        f", which ends with:\n{lines_text}" if lines_text else ""
    )


def summary(states: Sequence[State]) -> list[str]:
    """One line per model and metric, in percent; spread is the sample standard deviation."""
    rows: dict[str, list[Evaluation]] = {}
    for state in states:
        if state.row is not None:
            rows.setdefault(state.run.model.stem, []).append(state.row)
    if not rows:
        return []
    found = verify([row for of_model in rows.values() for row in of_model], read_targets())
    findings = {(finding.target.config, finding.metric): finding for finding in found}
    columns = ["model", "metric", "seeds", "mean", "spread", "published", "verdict"]
    cells = [
        result_cells(stem, metric, of_model, findings.get((stem, metric)))
        for stem, of_model in rows.items()
        for metric in MAIN_METRICS
        if any(percent(row, metric) is not None for row in of_model)
    ]
    reasons = {
        f"{finding.target.config}: {reason}"
        for finding in found
        if finding.target.config in rows
        for reason in finding.reasons
    }
    return [*Table(columns, cells, align="l" * 7).text(), *sorted(reasons)]


def result_cells(
    stem: str, metric: str, rows: Sequence[Evaluation], finding: Finding | None
) -> list[str]:
    """The cells of one line of the summary."""
    values = [value for row in rows if (value := percent(row, metric)) is not None]
    return [
        stem,
        metric,
        str(len(values)),
        f"{mean(values):.2f}",
        shown(stdev(values) if len(values) > 1 else None),
        shown(finding.published if finding else None, "{:.1f}"),
        finding.verdict.value if finding else NOTHING,
    ]
