"""What srun is told."""

import pytest

from casvit_dense.errors import UserError
from casvit_dense.training.slurm import main, srun_command


def test_one_task_per_gpu_whose_exit_code_is_kept() -> None:
    environment = {"GPUS": "4", "CPUS_PER_TASK": "2", "SRUN_ARGS": "--comment 'a b'"}
    command = srun_command("x", ["train", "config.py"], environment)
    program = command.index("-u")
    assert command[:6] == [
        *("srun", "--job-name=x", "--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4"),
        "--cpus-per-task=2",
    ]
    assert command[6 : program - 1] == ["--kill-on-bad-exit=0", "--wait=60", "--comment", "a b"]
    assert command[program:] == [
        *("-u", "-m", "casvit_dense", "train", "config.py", "--launcher", "slurm"),
    ]


def test_tasks_without_gpus() -> None:
    command = srun_command("x", ["train"], {"DEVICE": "cpu", "GPUS": "2", "GPUS_PER_NODE": "1"})
    assert command[2:4] == ["--ntasks=2", "--ntasks-per-node=1"]


@pytest.mark.parametrize("name", ["GPUS", "GPUS_PER_NODE", "CPUS_PER_TASK"])
@pytest.mark.parametrize("number", ["0", "two"])
def test_wrong_numbers_are_one_line(name: str, number: str) -> None:
    with pytest.raises(UserError, match=f"{name}={number}: give a number from 1 up"):
        srun_command("x", [], {name: number})


def test_a_machine_without_slurm_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["gpu", "x", "train", "config.py"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no srun here: start from a node of Slurm's\n"
    )
