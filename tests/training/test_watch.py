"""Who keeps the other processes waiting, and that they do not wait for long."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from processes import run_together
from torch import distributed

from casvit_dense.training.processes import on_main_process, open_process_group
from casvit_dense.training.watch import Watch, blame


def told(rank: int, beats: int, steps: int, where: str) -> dict[str, Any]:
    process = f"node{rank}, process {100 + rank}"
    about = {"rank": rank, "beats": beats, "steps": steps, "where": where}
    return {**about, "process": process, "code": f"file{rank}.py:7"}


@pytest.mark.parametrize(
    ("first", "second", "blamed"),
    [
        # beats then and now, steps, place
        ((1, 4, 9, "step 5"), (1, 1, 9, "step 5"), "rank 1 (node1, process 101) has not answered"),
        ((1, 4, 9, "step 5"), (1, 4, 8, "step 4"), "rank 1 (node1, process 101) hangs at step 4"),
        ((1, 4, 9, "step 5"), (1, 4, 9, "step 5"), "all processes wait at step 5: rank 0 in file0"),
        ((1, 1, 8, "step 4"), (1, 4, 9, "step 5"), "rank 0 (node0, process 100) has not answered"),
    ],
)
def test_the_process_behind_is_named(first: tuple, second: tuple, blamed: str) -> None:
    ranks = list(enumerate((first, second)))
    before = [told(rank, then, steps, where) for rank, (then, _, steps, where) in ranks]
    now = [told(rank, beats, steps, where) for rank, (_, beats, steps, where) in ranks]
    assert blame(before, now).startswith(blamed)


def test_a_store_that_is_gone_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = object.__new__(Watch)
    watch.bound, watch.rank, watch.period = 30.0, 1, 5.0

    class Ended(Exception):
        pass

    def gone(self: Watch) -> None:
        raise distributed.DistStoreError("Connection reset by peer")

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(Watch, "_ask", gone)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended, match="75"):
        watch._end()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no step for 30 s: rank 0, through which the processes talk, do")


def test_a_stopped_process_ends_the_others(tmp_path: Path) -> None:
    """In a collective operation that would wait for half an hour."""

    def work() -> int:
        cfg = Config(dict(launcher="pytorch", env_cfg=dict(dist_cfg=dict(timeout=1))))
        open_process_group(cfg)
        on_main_process(lambda: None)
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGSTOP)
        distributed.barrier()
        return 0

    assert run_together(work, 2, tmp_path, awaited=1) == [75]
    (line,) = (x for x in (tmp_path / "rank0.log").read_text().splitlines() if x[0] != "[")
    assert line.startswith("error: no step for 1 s: rank 1 (")
    assert "has not answered since start-up. The run ends here, and can be resumed" in line
