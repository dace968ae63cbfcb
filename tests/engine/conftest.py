"""Runs that the tests of this folder share."""

import shutil
from pathlib import Path

import pytest
from demo_runs import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Runs:
    """Short trainings of the demo's heads. Not to be changed; see `copied`."""
    return Runs(tmp_path_factory.mktemp("runs"), shapes)


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> "Copies":
    """Copies of these trainings' work directories, to go on with."""
    return Copies(runs, tmp_path)


class Copies:
    def __init__(self, runs: Runs, folder: Path) -> None:
        self.runs = runs
        self.folder = folder

    def __call__(self, task: str) -> Path:
        """The last checkpoint in a copy of a task's work directory."""
        checkpoint = self.runs[task]
        target = self.folder / f"{task}-copy"
        shutil.copytree(checkpoint.parent, target)
        return target / checkpoint.name
