"""Flags as a shell hands them over."""

import argparse
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_for

from casvit_dense.cli import main
from casvit_dense.cli.options import add_run_options, run_options
from casvit_dense.cli.parser import COMMANDS


def parse(*pairs: str) -> dict:
    parser = argparse.ArgumentParser()
    add_run_options(parser, "train")
    return run_options(parser.parse_args(["--cfg-options", *pairs])).cfg_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-3", 1e-3),
        ("True", True),
        ("true", True),
        ("None", None),
        ("SGD", "SGD"),
        ("(128,96)", (128, 96)),
        ("('traffic light','dog')", ("traffic light", "dog")),
        ("[a,b]", ["a", "b"]),
        ("{'type': 'SGD', 'lr': 0.1}", {"type": "SGD", "lr": 0.1}),
        ("my data/coco", "my data/coco"),
        ("a=b", "a=b"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse(f"key.part={text}") == {"key.part": value}


def test_several_pairs() -> None:
    assert parse("a=1", "b=x") == {"a": 1, "b": "x"}


@pytest.mark.parametrize("pair", ["train_cfg", "=3", "scale=(128,96"])
def test_malformed_pairs_exit_with_2_and_name_it(pair: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(pair)
    assert caught.value.code == 2
    assert pair in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "%%" not in text
    assert words or all(name in text for name in COMMANDS)


def test_help_of_no_command_needs_heavy_packages() -> None:
    heavy = ("torch", "mmengine", "mmcv", "mmdet", "numpy", "pydantic")
    program = (
        "import sys\n"
        "from casvit_dense.cli.parser import COMMANDS, build_parser\n"
        "build_parser().format_help()\n"
        "assert all(f'casvit_dense.cli.{name}' in sys.modules for name in COMMANDS)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_ctrl_c_while_torch_is_imported_is_one_line() -> None:
    """A shell's background jobs ignore SIGINT, and so would children of a suite among them."""
    child = subprocess.Popen(
        [sys.executable, "-m", "casvit_dense", "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    mapped = Path(f"/proc/{child.pid}/maps")
    wait_for(lambda: child.poll() is not None or "libtorch_cpu" in mapped.read_text())
    os.kill(child.pid, signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out, err) == (130, "", "interrupted\n")


def test_a_second_ctrl_c_ends_a_clean_up_without_a_word() -> None:
    code = (
        "import time, casvit_dense.cli as cli\n"
        "def main():\n"
        "    try:\n"
        "        print('up', flush=True)\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        print('cleaning up', flush=True)\n"
        "        time.sleep(600)\n"
        "cli.main = main\n"
        "cli.program()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in ("up\n", "cleaning up\n"):
        assert child.stdout.readline() == line
        os.kill(child.pid, signal.SIGINT)
    assert (child.wait(), child.stderr.read()) == (130, "")


PRINTS = """
import argparse, casvit_dense.cli as cli, casvit_dense.cli.parser
parser = argparse.ArgumentParser()
parser.set_defaults(run=lambda args: print("line\\n" * 10))
cli.parser.build_parser = lambda: parser
cli.program()
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("full", "expected"),
    [(False, (141, "")), (True, (2, "error: [Errno 28] No space left on device\n"))],
)
def test_output_that_cannot_be_written(full: bool, expected: tuple, unbuffered: str) -> None:
    """As into ``| head`` when it has enough, and to a full disk."""
    if full:
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        unread, output = os.pipe()
        os.close(unread)
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(output)
    assert (done.returncode, done.stderr) == expected


def test_the_exit_code_of_a_stop_needs_no_reader() -> None:
    """As of ``train 2>&1 | tee log`` after Ctrl-C, for who asks for its state (``pipefail``)."""
    code = PRINTS.replace('print("line\\n" * 10)', "(print(1), exec('raise cli.Stopped()'))")
    unread, output = os.pipe()
    os.close(unread)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=output,
        stderr=output,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    os.close(output)
    assert done.returncode == 75


def test_a_protected_disk_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mkdir(path: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert main(["demo", "--data-root", "new/shapes"]) == 2
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: 'new'\n"
