"""A fetched archive is unpacked whole, inside its folder, whatever the disk does."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from file_server import (
    CONTENT,
    PICTURES,
    ZIP,
    Server,
    assert_whole,
    data_set,
    fetch,
    files_below,
    zip_of,
)

from casvit_dense.data import prepare
from casvit_dense.errors import UserError


class FullDisk(io.FileIO):
    """A file that takes so many bytes, then the disk is full."""

    def __init__(self, path: Path, mode: str, room: int) -> None:
        super().__init__(path, mode)
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize(
    "suffix, left",
    [(".part", {"train2017.zip.part"}), (".jpg", {"train2017.zip", ".train2017.unfinished"})],
)
def test_a_full_disk(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    left: set[str],
) -> None:
    plain = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if self.suffix == suffix and set(mode) & set("wa"):
            return FullDisk(self, mode.replace("b", ""), room=30_000)
        return plain(self, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(UserError, match="No space left.*goes on from there"):
            fetch(server.url, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {".prepare.lock"} == left
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)


def test_too_little_room_is_said_before_unpacking(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="2.0 MB are needed.*1.0 MB are free"):
        fetch(server.url, tmp_path)
    assert not (tmp_path / "train2017").exists()


SLOW_UNPACKING = """
import sys, time
from pathlib import Path
from casvit_dense.data import prepare
from casvit_dense.data.prepare import Archive, Published

plain = prepare.shutil.copyfileobj
def slow(source, file, length):
    file.write(source.read(20_000)); file.flush(); time.sleep(0.02); plain(source, file, length)
prepare.shutil.copyfileobj = slow
url, digest, count, out = sys.argv[1:]
archive = Archive(f"{url}/train2017.zip", "train2017", digest, None, {"*.jpg": int(count)})
prepare.prepare(Published("pictures", Path("data"), (archive,)), Path(out), print)
"""


def test_killed_while_unpacking(server: Server, tmp_path: Path) -> None:
    digest = data_set("").archives[0].digest
    command = [sys.executable, "-c", SLOW_UNPACKING, server.url, digest, str(PICTURES)]
    process = subprocess.Popen([*command, str(tmp_path)])
    unfinished = tmp_path / ".train2017.unfinished" / "train2017"
    deadline = time.monotonic() + 60
    while len(list(unfinished.glob("*"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "train2017").exists()
    written = {path: path.stat().st_mtime_ns for path in unfinished.iterdir()}
    first = min(written)
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)
    assert (tmp_path / "train2017" / first.name).stat().st_mtime_ns == written[first]  # kept
    assert server.requests == [None]  # not fetched again


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "/outside.jpg",
        "train2017/../../outside.jpg",
        "other/outside.jpg",
        "train2017/..\\..\\outside.jpg",
    ],
)
def test_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    data = zip_of({"train2017/000.jpg": b"picture", name: b"harm"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "train2017.zip").write_bytes(data)
    with pytest.raises(UserError, match="not a file inside train2017/"):
        fetch("", out, data)
    assert set(files_below(tmp_path)) == {"out/.prepare.lock", "out/train2017.zip"}


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train2017/000.jpg")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        content.writestr(link, "/etc/passwd")
    (tmp_path / "train2017.zip").write_bytes(file.getvalue())
    with pytest.raises(UserError, match="not a file inside"):
        fetch("", tmp_path, file.getvalue())


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    """The archive's own CRC, for a publisher whose digest is of a damaged file."""
    at = ZIP.index(CONTENT["train2017/007.jpg"]) + 100
    data = ZIP[:at] + bytes([ZIP[at] ^ 1]) + ZIP[at + 1 :]
    (tmp_path / "train2017.zip").write_bytes(data)
    with pytest.raises(UserError, match="007.jpg"):
        fetch("", tmp_path, data)
    assert not (tmp_path / "train2017").exists()
