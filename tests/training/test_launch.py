"""What torchrun is told, and what is told of its processes' ends."""

import io
import logging
from types import SimpleNamespace

import pytest

from casvit_dense.errors import UserError
from casvit_dense.training.launch import (
    LOST,
    check_gpus,
    main,
    quieten,
    say_why,
    torchrun_arguments,
)


def test_one_machine_finds_a_free_port() -> None:
    assert torchrun_arguments("2", {}) == ["--nproc_per_node=2", "--max_restarts=0", "--standalone"]
    assert torchrun_arguments("2", {"PORT": "5", "MAX_RESTARTS": "3"}) == [
        *("--nproc_per_node=2", "--max_restarts=3", "--nnodes=1", "--node_rank=0"),
        *("--master_addr=127.0.0.1", "--master_port=5"),
    ]


def test_machines_meet_at_the_first_one() -> None:
    machines = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "7"}
    assert torchrun_arguments("8", machines)[2:] == [
        *("--nnodes=2", "--node_rank=1", "--master_addr=a", "--master_port=7"),
    ]


@pytest.mark.parametrize(
    ("count", "environment", "message"),
    [
        ("two", {}, "'two' processes: give a number"),
        ("0", {}, "'0' processes: give a number"),
        ("2", {"MASTER_PORT": "x"}, "MASTER_PORT=x: give a number"),
        ("2", {"NNODES": "2"}, "NNODES=2: set MASTER_ADDR"),
    ],
)
def test_wrong_numbers_are_one_line(count: str, environment: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        torchrun_arguments(count, environment)


def test_a_mistake_ends_the_launcher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-1", "train", "config.py"]) == 2
    assert capsys.readouterr().err.startswith("error: '-1' processes: ")


def test_torchrun_tells_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its loggers have levels of their own."""
    from torch.distributed.elastic.agent.server import api

    told = io.StringIO()
    handler = logging.StreamHandler(told)
    monkeypatch.setattr(logging.getLogger("torch.distributed"), "handlers", [handler])
    api.logger.warning("Received 10 death signal, shutting down workers")
    assert told.getvalue()
    quieten("CRITICAL")
    api.logger.warning("Received 10 death signal, shutting down workers")
    assert told.getvalue().count("Received") == 1


def test_more_processes_than_gpus() -> None:
    check_gpus(2, 2)
    check_gpus(2, 0)  # on CPUs
    with pytest.raises(UserError, match="9 processes: this machine has 8 GPUs"):
        check_gpus(9, 8)


@pytest.mark.parametrize(
    ("ended", "command", "code", "said"),
    [
        (2, "train", 2, ""),  # it has said why itself
        (75, "train", 75, ""),
        (LOST, "train", 75, "the connection to a process of another machine is lost"),
        (-9, "train", 75, "rank 3 (process 42) was ended by SIGKILL, as the system does"),
        (-9, "test", 137, "rank 3 (process 42) was ended by SIGKILL, as the system does"),
        (-11, "train", 139, "rank 3 (process 42) was ended by SIGSEGV; the others were ended, too"),
    ],
)
def test_why_processes_ended(
    ended: int, command: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = SimpleNamespace(exitcode=LOST, pid=41, timestamp=1)
    failure = SimpleNamespace(exitcode=ended, pid=42, timestamp=2)
    error = SimpleNamespace(failures={0: lost, 3: failure})
    assert say_why(error, [command]) == code
    assert said in capsys.readouterr().err
