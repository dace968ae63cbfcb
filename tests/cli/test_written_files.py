"""Files that commands write: what is at their place."""

import os
import threading
from pathlib import Path

import pytest

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for content in (b"new", b"newer"):
        write_whole(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == content


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"  # as /dev/stdout
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, b"content")
    reader.join(10)
    assert read == [b"content"]
    assert pipe.is_fifo()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give a file"):
        write_whole(tmp_path, b"content")


@pytest.mark.parametrize(
    "command",
    [
        "analyze x --out",
        "compare x y --out",
        "report --out",
        "report --tables",
        "verify --json",
        "benchmark --csv",
        "data check x --json",
        "data describe x --out",
        "data show x --out",
        "export x --out",
        "predict x y --out",
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), str(tmp_path / "file/x")])
    assert ended.value.code == 2
    assert f"{tmp_path / 'file/x'} cannot be written: " in capsys.readouterr().err
