"""What is said of a plan: what is there, what is missing, what will run, how long it takes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from casvit_dense.progress import format_duration
from casvit_dense.reproduce.counting import published_images
from casvit_dense.reproduce.estimate import Estimate
from casvit_dense.reproduce.plan import Settings
from casvit_dense.reproduce.state import State


class Step(NamedTuple):
    """One process to run."""

    state: State
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.state.run.name}"


def steps_of(states: Iterable[State]) -> list[Step]:
    """What can run now, in order."""
    return [Step(state, kind) for state in states if not state.missing for kind in state.todo]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as aligned lines; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def inventory(states: Sequence[State], settings: Settings) -> list[str]:
    """What is there of every run, and below it what is missing."""
    count = len({state.run.model.stem for state in states})
    models = f"{count} model" + "s" * (count != 1)
    head = f"{models}, {runs(len(states))} in {settings.work_dirs}, rows in {settings.rows}"
    table = [("model", "seed", "weights", "data", "checkpoint", "row")]
    table += [
        (
            state.run.model.stem,
            str(state.run.seed),
            "-" if state.row or state.progress.checkpoint else there(state, "weights"),
            "-" if state.row else there(state, "data"),
            checkpoint_words(state),
            f"{state.row.date:%Y-%m-%d}" if state.row else "-",
        )
        for state in states
    ]
    return [head, "", *columns(table), *missing(states), *unchecked(states)]


def there(state: State, kind: str) -> str:
    return "missing" if kind in state.missing else "there"


def checkpoint_words(state: State) -> str:
    """How far the checkpoints are, and whether one of them is damaged."""
    progress, damaged = state.progress, len(state.progress.damaged)
    if "folder" in state.missing:
        return "of another run"
    words = "-"
    if progress.last is not None:
        words = "whole"
    elif progress.training is not None:
        words = f"step {progress.training.iterations:,} of {progress.training.planned_iterations:,}"
    return words + f", {damaged} damaged" * bool(damaged)


def missing(states: Iterable[State]) -> list[str]:
    """Each thing that is missing, and for how many runs."""
    waiting = Counter(message for state in states for message in state.missing.values())
    found = [f"  {runs(count)}: {message}" for message, count in waiting.items()]
    return ["", "missing:", *found] if found else []


def unchecked(states: Iterable[State]) -> list[str]:
    """The rows that count on their own word."""
    names = [str(state.run.name) for state in states if state.unchecked]
    if not names:
        return []
    title = (
        "not compared with data, which are not there or cannot be read, but counted, the rows of:"
    )
    return ["", title, *(f"  {name}" for name in names)]


def runs(count: int) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} run" + "s" * (count != 1)


def subsets(states: Iterable[State], estimates: Iterable[Estimate]) -> list[str]:
    """Data sets that are not whole, whose results will not be comparable with published ones."""
    lines = []
    for state, estimate in zip(states, estimates, strict=True):
        whole = published_images(state.facts.cfg)
        if whole and estimate.images and estimate.images.value != whole.value:
            lines.append(
                f"  {state.run.model.stem}: {estimate.images.value:,} images, not {whole.value:,}"
            )
    title = ["", "another training set than the published one, so not comparable with it:"]
    return [*title, *dict.fromkeys(lines)] if lines else []


def order(states: Sequence[State], estimates: Sequence[Estimate]) -> list[str]:
    """The steps that will run, and what they take."""
    found = dict(zip(map(id, states), estimates, strict=True))
    lines = [
        f"  {number:>3} {step}{_takes(step, found[id(step.state)])}"
        for number, step in enumerate(steps_of(states), 1)
    ]
    return ["", "will run, in this order:", *lines] if lines else []


def _takes(step: Step, estimate: Estimate) -> str:
    """What a training takes: its steps and their images."""
    if step.kind == "test":
        return ""
    batch = step.state.facts.cfg.train_dataloader.batch_size
    steps = "steps" if estimate.steps is None else f"{estimate.steps:,} steps"
    return f": {steps} of {estimate.gpus} x {batch} images"


def totals(states: Sequence[State], estimates: Sequence[Estimate], free: int | None) -> list[str]:
    """Steps, time and disk of what is left, by run and in all, and where the figures are from."""
    work = [(s, e) for s, e in zip(states, estimates, strict=True) if s.todo]
    if not work:
        return ["", "nothing is left to do"]
    table = [("model", "seed", "steps", "s/step", "GPU-hours", "disk")]
    table += [
        (
            state.run.model.stem,
            str(state.run.seed),
            "?" if e.steps is None else f"{e.steps:,}",
            f"{e.step.value:.3f}" if e.step and e.steps else "-",
            "?" if e.gpu_hours is None else hours(e.gpu_hours),
            size(e.disk),
        )
        for state, e in work
    ]
    found = [e for _, e in work]
    steps = [e.steps for e in found if e.steps is not None]
    known = [e.gpu_hours for e in found if e.gpu_hours is not None]
    table.append(
        (
            "in all",
            "",
            at_least(f"{sum(steps):,}", len(steps) < len(found)),
            "",
            at_least(hours(sum(known)), len(known) < len(found)) if known else "?",
            size(sum(e.disk for e in found)),
        )
    )
    return ["", "left to do:", *columns(table), "", *sources(work, free)]


def at_least(text: str, more: bool) -> str:
    return f"{text} + ?" if more else text


def sources(work: Sequence[tuple[State, Estimate]], free: int | None) -> list[str]:
    """Where the figures are from, what is not in them, and what would help."""
    images = [e.images for _, e in work if e.images and e.steps]
    said = [f"training images: {known.value:,.0f}, {known.source}" for known in images]
    said += [f"step of {s.run.model.stem}: {e.step.source}" for s, e in work if e.step and e.steps]
    unknown = sum(e.steps != 0 and e.step is None for _, e in work)
    if unknown:
        said.append(
            f"no time of a step is known for {runs(unknown)}: give --step-time STEM=SECONDS, or "
            "train for some minutes, and the log is read"
        )
    untimed = sum(e.test is None for _, e in work)
    if untimed:
        said.append(f"evaluations are not in the hours of {runs(untimed)}: none was measured yet")
    said.append(
        "disk: the checkpoints that are kept, with the optimiser's state; logs and predictions "
        "come on top" + ("" if free is None else f"; free: {size(free)}")
    )
    return list(dict.fromkeys(said))


def hours(count: float) -> str:
    """Hours in three digits."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def size(count: int) -> str:
    """Bytes in GB or MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def time_left(estimates: Iterable[Estimate]) -> str:
    """The time that runs will still take, as far as it is known."""
    seconds = [estimate.seconds for estimate in estimates]
    known = sum(s for s in seconds if s is not None)
    if not known:
        return "time left unknown"
    return f"{format_duration(known)} left" + " at least" * (None in seconds)


def failure(step: Step, reason: str, log: Path, lines: Sequence[str]) -> str:
    """What is said of a step that failed."""
    shown = "\n".join(f"    {line}" for line in lines)
    return f"failed: {step}: {reason}; log {log}" + (f", which ends so:\n{shown}" if shown else "")
