"""A server of one archive that misbehaves as it is told."""

import hashlib
import io
import random
import re
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from casvit_dense.data import prepare
from casvit_dense.data.prepare import Archive, Published

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
