"""What the console shows, and what only the log file keeps."""

import io
import logging
import math
import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
from mmengine.logging import print_log
from mmengine.model import BaseModel

from casvit_dense.engine.console import class_table, format_metrics, quiet_console, show_prints
from casvit_dense.engine.quiet_runner import QuietRunner
from casvit_dense.errors import UserError
from casvit_dense.files import short_path
from casvit_dense.log import LOG, log_entry
from casvit_dense.signals import stop_requests


class Nothing(BaseModel):
    """A model without a parameter."""

    def forward(self) -> None:  # type: ignore[override]
        raise NotImplementedError


def start(work_dir: Path) -> QuietRunner:
    # mmengine keeps one logger of a name in a process; names end in the second of their start.
    return QuietRunner(
        model=Nothing(), work_dir=str(work_dir), experiment_name=str(work_dir), cfg={"key": 7}
    )


def speak(when: str) -> None:
    """One message of every kind."""
    LOG.info(f"message {when}")
    print(f"print {when}\nsecond line of the print {when}")
    print_log(f"mmengine {when}", logger="current")
    logging.getLogger("another.package").warning("logged %s", when)
    warnings.warn(f"warning {when}", stacklevel=1)


def test_everything_is_in_the_log_file_and_only_messages_are_on_the_console(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    @quiet_console()
    def run() -> None:
        speak("early")
        runner = start(tmp_path)
        speak("late")
        runner.logger.error("error of mmengine")
        show_prints()
        print("print of a debugger")

    run()
    out, err = capsys.readouterr()
    assert err == ""
    shown = out.splitlines()
    assert shown[:2] == ["message early", "message late"]
    assert "error of mmengine" in shown[2]
    assert shown[3:] == ["print of a debugger"]

    (log_file,) = tmp_path.glob("*/*.log")
    log = log_file.read_text()
    for when in ("early", "late"):
        for kind in ("message", "print", "second line of the print", "mmengine", "warning"):
            assert log.count(f"- {kind} {when}\n") + log.count(f"Warning: {kind} {when}\n") == 1
        assert log.count(f"another.package - WARNING - logged {when}\n") == 1
    assert log.index("message early") < log.index("System environment:") < log.index("Config:\n")
    assert "print of a debugger" not in log

    # All is as before.
    print("print after the run")
    with pytest.warns(UserWarning, match="warning after the run"):
        warnings.warn("warning after the run", stacklevel=1)
    assert capsys.readouterr().out == "print after the run\n"
    LOG.info("message after the run")
    assert log_file.read_text() == log


def test_a_second_run_has_its_own_log(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("first", "second"):
        with quiet_console():
            speak(f"of {name}")
            start(tmp_path / name)
    for name, other in (("first", "second"), ("second", "first")):
        (log,) = (tmp_path / name).glob("*/*.log")
        assert f"mmengine of {name}" in log.read_text()
        assert f"of {other}" not in log.read_text()
    assert capsys.readouterr().out == "message of first\nmessage of second\n"


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_process_alone_speaks(
    variable: str, rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(variable, rank)
    with quiet_console():
        speak("early")
    assert capsys.readouterr().out == ("message early\n" if rank == "0" else "")


def test_a_refusal_stands_alone_and_a_crash_comes_with_what_was_held(
    capsys: pytest.CaptureFixture,
) -> None:
    with pytest.raises(UserError), quiet_console():
        speak("early")
        raise UserError("refused")
    assert tuple(capsys.readouterr()) == ("message early\n", "")

    with pytest.raises(ZeroDivisionError), quiet_console():
        speak("before")
        raise ZeroDivisionError
    out, err = capsys.readouterr()
    assert out == "message before\n"
    for kind in ("print", "mmengine", "logged"):
        assert f"{kind} before\n" in err
    assert "UserWarning: warning before" in err


@pytest.mark.parametrize("training", [True, False])
def test_a_reader_that_is_gone_ends_a_command_and_a_training_after_its_step(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread, output = os.pipe()
    os.close(unread)
    # As the interpreter's own, whose failing end nobody sees.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(output, "w"), write_through=True))
    expected = nullcontext() if training else pytest.raises(BrokenPipeError)
    with expected, stop_requests() as request, quiet_console():
        request.waits = training
        LOG.info("iteration 1")
        LOG.info("iteration 2")
        assert request.signal == "a closed output"


def test_facts_are_aligned(caplog: pytest.LogCaptureFixture) -> None:
    log_entry("config", "a.py")
    log_entry("data", "train: 5 images")
    assert caplog.messages == ["config       a.py", "data         train: 5 images"]


def test_paths_below_the_current_folder_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "work/a.log") == Path("work/a.log")
    assert short_path(str(tmp_path.parent / "a.log")) == tmp_path.parent / "a.log"
    assert short_path("work/a.log") == Path("work/a.log")


def test_metrics_are_shown_in_percent() -> None:
    boxes = {"mAP": 0.41234, "mAP_50": 0.6, "mAP_75": 0.5, "mAP_s": -1.0, "mAP_m": 0, "mAP_l": 1.0}
    recall = {"AR@1": 0.3, "AR@10": 0.4, "AR@100": 0.45}
    recall |= {"AR_s@100": -1.0, "AR_m@100": math.nan, "AR_l@100": 0.5}
    metrics = {f"coco/bbox_{name}": value for name, value in (boxes | recall).items()}
    assert format_metrics(metrics) == [
        "box AP 41.23, AP50 60.00, AP75 50.00, small -, medium 0.00, large 100.00 (percent)",
        "box AR@1 30.00, AR@10 40.00, AR@100 45.00, small -, medium -, large 50.00 (percent)",
    ]
    assert format_metrics({"coco/segm_mAP": 0.5}) == ["mask AP 50.00 (percent)"]
    assert format_metrics({"aAcc": 82.62111, "mIoU": 21.4, "mAcc": 25.0}) == [
        "aAcc 82.62, mIoU 21.40, mAcc 25.00 (percent)"
    ]


def test_metrics_of_other_evaluators_are_shown_as_they_are() -> None:
    metrics = {"coco/bbox_mAP": 0.5, "pascal_voc/mAP": 0.71234, "coco/proposal_AR": 0.1}
    assert format_metrics(metrics) == [
        "box AP 50.00 (percent)",
        "pascal_voc/mAP 0.7123, coco/proposal_AR 0.1",
    ]


def test_classes_have_a_line_each() -> None:
    assert class_table("box AP", {"cat": 61.234, "traffic light": math.nan}).splitlines() == [
        "box AP by class, percent:",
        "  cat             61.23",
        "  traffic light       -",
    ]
