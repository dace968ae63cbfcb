"""Fetching a published data set over a server that misbehaves, onto a disk that fills up."""

import errno
import hashlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from casvit_dense.cli import main
from casvit_dense.data import download, prepare
from casvit_dense.data.prepare import Archive, Published
from casvit_dense.errors import UserError

PICTURES = 40


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return file.getvalue()


CONTENT = {f"train2017/{i:03}.jpg": random.Random(i).randbytes(50_000) for i in range(PICTURES)}
ZIP = zip_of(CONTENT)


class Server(ThreadingHTTPServer):
    """Serves one file; tests say how it misbehaves.

    Attributes:
        files: by path, in place of that one.
        cuts: absolute positions at which the connection is cut, each once.
        answers: codes that are given before the file.
        ranges: whether it knows ranges.
        requests: the ranges that were asked for.
    """

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.answers: list[int] = []
        self.ranges = True
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if server.answers:
            return self.send_error(server.answers.pop(0))
        data = server.files.get(self.path, server.data)
        start = int(re.findall(r"\d+", asked)[0]) if asked and server.ranges else 0
        if start >= len(data) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cut = next((cut for cut in server.cuts if cut > start), len(data))
        if cut in server.cuts:
            server.cuts.remove(cut)
        self.wfile.write(data[start:cut])
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(ZIP) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0))


def data_set(url: str, data: bytes = ZIP, size: int | None = len(ZIP)) -> Published:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    archive = Archive(f"{url}/train2017.zip", "train2017", digest, size, {"*.jpg": PICTURES})
    return Published("pictures", Path("data"), (archive,))


def fetch(url: str, out: Path, data: bytes = ZIP, **options: Any) -> list[str]:
    lines: list[str] = []
    prepare.prepare(data_set(url, data), out, lines.append, **options)
    return lines


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_whole(out: Path) -> None:
    found = files_below(out)
    found.pop(".prepare.lock")
    assert found == CONTENT


def test_fetches_unpacks_and_removes_the_archive(server: Server, tmp_path: Path) -> None:
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)
    fetch(server.url, tmp_path)  # nothing is left to do
    assert server.requests == [None]


def test_archives_are_kept_where_asked(server: Server, tmp_path: Path) -> None:
    fetch(server.url, tmp_path, keep_archives=True)
    assert (tmp_path / "train2017.zip").read_bytes() == ZIP


@pytest.mark.parametrize("seed", range(3))
def test_ten_cuts_at_random_points(server: Server, tmp_path: Path, seed: int) -> None:
    server.cuts = sorted(random.Random(seed).sample(range(len(ZIP)), 10))
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)
    assert len(server.requests) > 5  # cuts close together may bring less than a block
    starts = [int(re.findall(r"\d+", asked)[0]) for asked in server.requests if asked]
    assert starts == sorted(starts) and starts[-1] > 0  # each went on where the last one ended


def test_a_later_run_goes_on_where_an_earlier_one_was_cut(server: Server, tmp_path: Path) -> None:
    half = len(ZIP) // 2
    (tmp_path / "train2017.zip.part").write_bytes(ZIP[:half])
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)
    assert server.requests == [f"bytes={half}-"]


def test_a_server_without_ranges_sends_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [1_000_000]
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize("extra", [0, 1000])
def test_what_was_fetched_as_a_whole_is_verified(
    server: Server, tmp_path: Path, extra: int
) -> None:
    """Killed before the name was given; or more bytes than the file has."""
    (tmp_path / "train2017.zip.part").write_bytes(ZIP + bytes(extra))
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)


def test_wrong_bytes_are_fetched_anew_then_refused(server: Server, tmp_path: Path) -> None:
    server.data = bytes([ZIP[0] ^ 1]) + ZIP[1:]
    with pytest.raises(UserError, match="not the published file"):
        fetch(server.url, tmp_path)
    assert len(server.requests) == 2
    assert set(files_below(tmp_path)) == {".prepare.lock"}


def test_a_damaged_beginning_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "train2017.zip.part").write_bytes(bytes(1000))
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)


def test_another_size_is_refused_before_it_is_read(server: Server, tmp_path: Path) -> None:
    server.data = ZIP + b"more"
    with pytest.raises(UserError, match="another file"):
        fetch(server.url, tmp_path)
    assert len(server.requests) == 1


def test_a_refusal_says_what_to_put_where(server: Server, tmp_path: Path) -> None:
    server.answers = [404]
    with pytest.raises(UserError, match="404") as caught:
        fetch(server.url, tmp_path)
    assert f"put into {tmp_path}" in str(caught.value)
    assert f"{server.url}/train2017.zip (2.0 MB)" in str(caught.value)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429]
    fetch(server.url, tmp_path)
    assert_whole(tmp_path)


def test_without_a_network_there_is_one_message_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="connection refused.*--mirror"):
        fetch("http://127.0.0.1:9", tmp_path)


def test_an_archive_fetched_by_hand_is_used(tmp_path: Path) -> None:
    (tmp_path / "train2017.zip").write_bytes(ZIP)
    fetch("http://127.0.0.1:9", tmp_path)
    assert_whole(tmp_path)


def test_a_mirror_takes_the_place_of_the_publisher(server: Server, tmp_path: Path) -> None:
    fetch("http://127.0.0.1:9", tmp_path, mirror=f"{server.url}/")
    assert_whole(tmp_path)


def test_a_mirror_that_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nonsense"):
        fetch("http://127.0.0.1:9", tmp_path, mirror="nonsense")


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


def test_a_folder_that_is_not_as_published(server: Server, tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "000.jpg").touch()
    with pytest.raises(UserError, match="1 files, 40 were published"):
        fetch(server.url, tmp_path)
    assert server.requests == []


@pytest.fixture
def small_coco(server: Server, shapes: Path) -> Published:
    """The generated shapes as three archives below one server."""
    archives = []
    for folder, pattern in (("annotations", "*.json"), ("train2017", "*"), ("val2017", "*")):
        files = sorted((shapes / "coco" / folder).glob(pattern))
        data = zip_of({f"{folder}/{file.name}": file.read_bytes() for file in files})
        server.files[f"/{folder}.zip"] = data
        digest = f"md5:{hashlib.md5(data).hexdigest()}"
        count = {pattern: len(files)}
        archives.append(
            Archive(f"http://127.0.0.1:9/{folder}.zip", folder, digest, len(data), count)
        )
    return Published("shapes", Path("data"), tuple(archives))


def test_the_command(
    server: Server,
    small_coco: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setitem(prepare.PUBLISHED, "coco", small_coco)
    out = tmp_path / "out"
    arguments = ["data", "prepare", "coco", "--out", str(out)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 1 and said.count("\n  http://127.0.0.1:9/") == 3
    assert main([*arguments, "--mirror", server.url]) == 0
    assert capsys.readouterr().out.endswith(f"shapes: ready in {out}\n")
    assert len(list((out / "val2017").iterdir())) == 5
    picture = next((out / "train2017").iterdir())
    picture.write_bytes(picture.read_bytes()[:50])
    assert main([*arguments, "--mirror", server.url]) == 1  # as many files, but one is damaged
    assert "image-damaged" in capsys.readouterr().out
