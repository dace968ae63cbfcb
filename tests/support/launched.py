"""Trainings of several processes, started as users do, for what happens to one of them."""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from demo_runs import config_of, options_of

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def words_of(task: str, shapes: Path, work_dir: Path, rounds: int = 1) -> list[str]:
    """Config and flags of a short run on the command line."""
    options = options_of(task, shapes, work_dir, rounds)
    overrides = [f"{key}={value!r}" for key, value in options.cfg_options.items()]
    flags = ["--work-dir", str(work_dir), "--data-root", str(options.data_root), "--seed", "0"]
    return [str(config_of(task)), *flags, "--cfg-options", *overrides]


class Launched:
    """A command in a session of its own, with what it says in a file.

    Args:
        folder: the current one of the command.
        environment: more variables.
    """

    def __init__(
        self, command: Sequence[str], log: Path, folder: Path | None = None, **environment: str
    ) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=file,
                stderr=file,
                env={**os.environ, **ENVIRONMENT, **environment},
                start_new_session=True,
            )

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *_: object) -> None:
        started = self._started()
        self.process.kill()
        for one in started:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def _started(self) -> list[psutil.Process]:
        """The processes that the command started, and those that they did."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, seconds: float = 300) -> str:
        """The first thing said that fits a pattern."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.said())) is None:
            assert self.process.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.02)
        return found[0]

    def rank(self, number: int) -> int:
        """The process id of a rank."""
        for one in self._started():
            with suppress(psutil.Error):
                if one.environ().get("RANK") == str(number):
                    return one.pid
        raise AssertionError(f"no rank {number}: {self.said()}")
