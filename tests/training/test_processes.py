"""What the processes of a run pass on to each other."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.evaluator import BaseMetric
from processes import run_together

import casvit_dense.engine  # noqa: F401  its import changes how metrics gather
from casvit_dense.errors import UserError
from casvit_dense.training.processes import (
    on_main_process,
    open_process_group,
    process_group_closed,
)

FAULTS = Path(__file__).parents[1] / "faults"


def in_group(work: Callable[[], None]) -> Callable[[], int]:
    def run() -> int:
        with process_group_closed():
            open_process_group(Config(dict(launcher="pytorch")))
            work()
        return 0

    return run


class Images(BaseMetric):
    """A metric of somebody's own: which images there were, in which order."""

    default_prefix = "own"

    def process(self, data_batch: object, data_samples: object) -> None: ...

    def compute_metrics(self, results: list) -> dict:
        return {"images": results}


@pytest.mark.parametrize("count", [2, 3])
def test_results_come_together_in_order_without_files(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven images dealt out in turn, filled up with the first ones; one has None as its result.

    A file of the name of mmengine's folder keeps it from making one.
    """
    monkeypatch.chdir(tmp_path)
    Path(".dist_test").touch()
    images = [0, 1, None, 3, 4, 5, 6]

    def work() -> None:
        rank, _ = get_dist_info()
        metric = Images()
        metric.results = (images + images)[rank : -(-len(images) // count) * count : count]
        assert metric.evaluate(len(images)) == {"own/images": images}

    codes = run_together(in_group(work), count, tmp_path)
    assert codes == [0] * count, (tmp_path / "rank0.log").read_text()


def test_the_first_process_works_for_all(tmp_path: Path) -> None:
    """Only it runs the task; the others get its result, or its error."""

    def fail() -> None:
        raise UserError("no such folder")

    def work() -> None:
        assert on_main_process(os.getpid) == int(Path(tmp_path, "pid").read_text())
        with pytest.raises(UserError, match="no such folder"):
            on_main_process(fail)

    def start() -> int:
        if os.environ["RANK"] == "0":
            Path(tmp_path, "pid").write_text(str(os.getpid()))
        return in_group(work)()

    assert run_together(start, 2, tmp_path) == [0, 0], (tmp_path / "rank1.log").read_text()


@pytest.mark.slow  # starts up to eleven launchers, each with two processes
@pytest.mark.parametrize("script", ["world_sizes.py", "lost_processes.py"])
def test_runs_of_several_processes(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FAULTS / script), "--quick"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
