"""Runs a plan: the steps that are left of each run, one after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from casvit_dense.config.schedule import moments_of, schedule_of
from casvit_dense.errors import Stopped, UserError
from casvit_dense.files import free_bytes
from casvit_dense.reproduce.estimate import Estimate, evaluation_time, evaluations_left, step_time
from casvit_dense.reproduce.formatting import (
    Step,
    failure,
    inventory,
    missing,
    order,
    steps_of,
    subsets,
    summary,
    time_left,
    totals,
    unchecked,
)
from casvit_dense.reproduce.plan import Plan, Settings, runs_of
from casvit_dense.reproduce.recipe import count_parameters
from casvit_dense.reproduce.state import Inspector, State
from casvit_dense.reproduce.steps import (
    interrupt,
    latest_progress,
    plan_lock,
    run_step,
    signals_handled,
    tail,
    test_command,
    train_command,
)

#: Lines of a log that a failure shows.
SHOWN = 15

#: How the line about a step begins that was stopped from outside, as by a time limit.
STOPPED = "stopped:"


def show(plan: Plan, settings: Settings, log: Callable[[str], None] = print) -> None:
    """Reports what is there, what is missing, what would run and how long; writes nothing.

    Raises:
        UserError: plan or settings are wrong.
    """
    job = Job(plan, settings, log)
    states = job.look()
    work = [(state, job.estimate(state)) for state in states]
    lines = [*inventory(states, settings), *subsets(work), *order(work)]
    log("\n".join([*lines, *totals(work, free_bytes(settings.work_dirs))]))


def reproduce(plan: Plan, settings: Settings, log: Callable[[str], None] = print) -> int:
    """Trains and evaluates what is missing of a plan.

    A step that fails or is stopped ends its run, not the others. An interrupted run continues
    where it stopped.

    Args:
        plan: models and seeds.
        settings: see `Settings`.
        log: takes each line for the user.

    Returns:
        0 if every run has its row at the end; `Stopped.exit_code` if a step was stopped; else 1.

    Raises:
        UserError: plan or settings are wrong, nothing can run, or another `reproduce` works in
            the folder.
        KeyboardInterrupt: the process was asked to end; its step has ended then.
    """
    settings.check_gpus()
    with signals_handled(interrupt), plan_lock(settings.work_dirs) as lock:
        job = Job(plan, settings, log)
        states = job.look()
        work = [(state, job.estimate(state)) for state in states]
        log("\n".join([*inventory(states, settings), *subsets(work), *order(work)]))
        if not steps_of(states) and any(state.missing for state in states):
            raise UserError("nothing can run: see what is missing above")
        ends = job.run(states, lock)
        states = job.look()
        log("\n".join(["", *summary(states), *ends, *missing(states), *unchecked(states)]))
        done = sum(state.row is not None for state in states)
        log(f"reproduce: {done} of {len(states)} runs have their row in {settings.rows}")
        if any(end.startswith(STOPPED) for end in ends):
            return Stopped.exit_code
        return int(done < len(states))


class Job:
    """A plan under its settings; a `UserError` if they contradict each other.

    ``log`` takes each line for the user.
    """

    def __init__(self, plan: Plan, settings: Settings, log: Callable[[str], None]) -> None:
        settings.check()
        self.settings = settings
        self.log = log
        self.runs = runs_of(plan, settings.work_dirs)
        stems = [run.model.stem for run in self.runs]
        for stem in settings.step_times:
            if stem not in stems:
                raise UserError(f"--step-time {stem}=…: the plan has no such model")
        self.inspector = Inspector(settings, log)
        for rejected in self.inspector.rows()[1]:
            log(str(rejected))

    def look(self) -> list[State]:
        """The state of every run; a `UserError` if a config or its overrides are wrong."""
        return [self.inspector.look(run) for run in self.runs]

    def run(self, states: Sequence[State], lock: int) -> list[str]:
        """Runs the steps that are left; returns a line about each without its product."""
        steps = steps_of(states)
        ends: dict[Path, str] = {}  # by work directory
        for number, step in enumerate(steps, 1):
            folder = step.state.run.work_dir
            if folder in ends:  # there is nothing to evaluate
                continue
            heading = f"[{number} of {len(steps)}] {step}"
            message = self._step(step, heading, steps[number - 1 :], lock)
            if message is not None:
                self.log(message)
                ends[folder] = message
        return [message.splitlines()[0] for message in ends.values()]

    def _step(self, step: Step, heading: str, left: Sequence[Step], lock: int) -> str | None:
        """Runs one step; returns a message if its product is not there."""
        state = self.inspector.look(step.state.run)  # an earlier step may have changed it
        if step.kind not in state.todo:
            return None
        log = state.run.work_dir / f"reproduce-{step.kind}.log"
        states = {one.state.run.work_dir: one.state for one in left} | {state.run.work_dir: state}
        self.log(f"{heading}: log {log}; {time_left(map(self.estimate, states.values()))}")

        def report() -> None:
            self.log(f"{heading}: {latest_progress(log) or 'no progress reported yet'}")

        if step.kind == "train":
            self._set_aside(state)
            command = train_command(state.run, state.recipe, self.settings)
        else:
            assert state.progress.last is not None
            command = test_command(state.run, state.recipe, self.settings, state.progress.last)
        status = run_step(command, log, lock, report)
        if step.kind not in self.inspector.look(state.run).todo:
            return None  # the product is there, so the exit status does not matter
        if status == Stopped.exit_code:
            return f"{STOPPED} {step}: the same command goes on with it; log {log}"
        product = "a last checkpoint" if step.kind == "train" else "its row"
        reason = (
            f"exit status {status}"
            if status
            else f"it ended without an error, but {product} is not there"
        )
        return failure(step, reason, log, tail(log)[-SHOWN:])

    def _set_aside(self, state: State) -> None:
        """Renames checkpoints that cannot be read: half-written ones of an interrupted run."""
        for path in state.progress.damaged:
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            self.log(f"{path} cannot be read; it is renamed to {aside.name}")

    def estimate(self, state: State) -> Estimate:
        """What is left of a run."""
        if not state.todo:
            return Estimate(0, None, None, None, 0, self.settings.gpus, 0)
        once, cfg, stem = self.inspector.once, state.recipe.cfg, state.run.model.stem
        rows = self.inspector.rows()[0]
        schedule = schedule_of(cfg)
        images = self.inspector.images(state.recipe).images
        steps = schedule.steps(int(images.value) if images else None, self.settings.gpus)
        done = state.progress.training.iterations if state.progress.training else None
        left = 0 if "train" not in state.todo else steps and max(0, steps - (done or 0))
        folders = [run.work_dir for run in self.runs if run.model.stem == stem]
        weights, trained = once(f"parameters {stem}", count_parameters, cfg)
        return Estimate(
            steps=left,
            images=images,
            step=step_time(stem, cfg, self.settings.step_times, folders, rows),
            test=evaluation_time(stem, rows),
            tests=evaluations_left(schedule, steps, left, state.todo),
            gpus=self.settings.gpus,
            disk=schedule.disk(weights, trained, moments_of(cfg)),
        )
