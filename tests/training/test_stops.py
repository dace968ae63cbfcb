"""Signals: of the process itself, and those that reach its loaders' workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.dataset import worker_init_fn
from mmengine.runner import Runner
from processes import wait_for

from casvit_dense.config.read import read_config
from casvit_dense.errors import Stopped
from casvit_dense.signals import SIGNALS, stop_requests
from casvit_dense.training.stops import with_steady_workers


class Pids:
    """The process that loads each sample."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        return os.getpid()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_worker_stays_until_its_main_process_ends_it(number: int) -> None:
    config: dict[str, Any] = {
        "dataset": Pids(),
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 1,
        "num_workers": 1,
        "collate_fn": {"type": "pseudo_collate"},
    }
    batches = iter(Runner.build_dataloader(with_steady_workers(config, 0), seed=0))
    (worker,) = next(batches)
    assert worker != os.getpid()
    # From another process, as a batch system does.
    subprocess.run(["kill", f"-{int(number)}", str(worker)], check=True)
    for _ in range(20):
        assert next(batches) == [worker]
    process = batches._workers[0]
    os.kill(worker, signal.SIGTERM)
    with pytest.raises(RuntimeError, match="exited unexpectedly|killed"):
        process.join(60)  # torch tells it in whatever the main process does
        wait_for(lambda: not process.is_alive())
        list(batches)


def test_workers_have_seeds_however_large_the_runs_is() -> None:
    config = with_steady_workers({"num_workers": 2}, 2**32 - 1)
    seeds = {k: v for k, v in config["worker_init_fn"].items() if k != "type"}
    worker_init_fn(1, **seeds)


def test_after_a_training_a_signal_breaks_nothing_off(capfd: pytest.CaptureFixture[str]) -> None:
    """The program's own context is the outer one; what was trained is whole, and it ends now."""
    with stop_requests():
        with stop_requests() as request:
            request.waits = True
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_before_the_first_step_a_signal_ends_at_once() -> None:
    with pytest.raises(Stopped, match="SIGUSR1 before the first step"), stop_requests():
        os.kill(os.getpid(), signal.SIGUSR1)


EARLY = """if True:
    import os, sys
    number, imported, sys.argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]

    class Signal:
        def find_spec(self, name, *_):
            if name == imported:
                os.kill(os.getpid(), number)

    sys.meta_path.insert(0, Signal())
    if sys.argv[0] == "launch":
        from casvit_dense.training import launch
        sys.exit(launch.main(sys.argv[1:]))
    from casvit_dense.cli import program
    program()
"""


@pytest.mark.parametrize(
    ("words", "number", "imported", "code", "said"),
    [
        ("casvit-dense train x.py", signal.SIGUSR1, "argparse", 75, "stopped by SIGUSR1 before"),
        ("casvit-dense doctor", signal.SIGINT, "argparse", 130, "interrupted"),
        ("launch 2 train x.py", signal.SIGHUP, "torch", 75, "stopped by SIGHUP before"),
    ],
)
def test_a_signal_during_the_first_imports_is_one_line(
    words: str, number: int, imported: str, code: int, said: str
) -> None:
    command = [sys.executable, "-c", EARLY, str(int(number)), imported, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=awake)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def awake() -> None:
    """Takes signals that a suite in the background ignores, and its children would."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def test_a_signal_while_a_config_is_read_is_no_fault_of_it(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text("import os\nimport signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    with pytest.raises(Stopped, match="SIGTERM before the first step"), stop_requests():
        read_config(config)


def test_while_training_the_first_signal_is_noted_and_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with stop_requests() as request:
        request.waits = True
        os.kill(os.getpid(), signal.SIGTERM)
        # The same request again, as from Slurm and then from torchrun.
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == "SIGTERM"
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_a_signal_is_noted_where_nobody_reads_what_is_said_of_it() -> None:
    """As in ``train 2>&1 | tee log``: Ctrl-C ends ``tee`` first.

    By another signal here: the tests may run in the background, where SIGINT is ignored.
    """
    script = """if True:
        import os, signal
        from casvit_dense.signals import stop_requests
        with stop_requests() as request:
            request.waits = True
            os.kill(os.getpid(), signal.SIGUSR1)
            assert request.signal == "SIGUSR1"
    """
    unread, output = os.pipe()
    os.close(unread)
    assert subprocess.run([sys.executable, "-c", script], stderr=output).returncode == 0
    os.close(output)


def test_a_later_signal_ends_at_once() -> None:
    script = """if True:
        import os, signal
        from casvit_dense import signals
        signals.ECHO = 0.0
        with signals.stop_requests(speaks=False) as request:
            request.waits = True
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.signal == "SIGTERM"
            os.kill(os.getpid(), signal.SIGUSR1)
            raise AssertionError("it goes on")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGUSR1
    assert done.stderr == "SIGUSR1: ended at once, nothing saved\n"


def test_signals_that_are_ignored_stay_so() -> None:
    """A job in the background of a script ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as request:
            request.waits = True
            os.kill(os.getpid(), signal.SIGINT)
            assert request.signal is None
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)  # still ignored, or it would end the tests
            assert request.signal == "SIGTERM"
    finally:
        signal.signal(signal.SIGINT, before)
