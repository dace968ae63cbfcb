"""Downloads large files: a download that was cut is taken up again, and bytes are verified."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from casvit_dense.errors import UserError
from casvit_dense.progress import format_bytes

#: Bytes that are read from a connection at a time.
CHUNK: Final = 1 << 16

#: Seconds without an answer after which a connection counts as cut.
TIMEOUT: Final = 30

#: Least time between two lines of progress.
SECONDS: Final = 5

#: Pauses in seconds before further trials; a trial that brought bytes begins the list anew.
PAUSES = (1, 3, 9, 27)

#: Answers of a server that is busy, which a later trial may change.
BUSY: Final = (408, 429, 500, 502, 503, 504)


class Unreachable(UserError):
    """A file that could not be fetched: no connection, or a server that refuses it."""


def download(url: str, file: Path, size: int | None, log: Callable[[str], None]) -> None:
    """Fetches a file; what arrived before a cut, or in an earlier run, is kept in ``NAME.part``.

    Args:
        size: bytes, where known: another answer is refused before it is read.
        log: gets a line of progress every few seconds.

    Raises:
        Unreachable: see there.
        UserError: the server has a file of another size.
        OSError: the disk is full.
    """
    import requests

    part = file.with_name(f"{file.name}.part")
    trials, first = iter(PAUSES), True
    while True:
        before = _size_of(part)
        try:
            _fetch_rest(url, part, size, log)
            break
        except requests.RequestException as error:
            answer = error.response
            refused = answer is not None and answer.status_code not in BUSY
            wrong = isinstance(error, ValueError)  # not an address
            if _size_of(part) > before:
                trials, first = iter(PAUSES), False
            pause = next(trials, None)
            # Without any network a repetition helps nobody.
            offline = first and isinstance(error, requests.ConnectionError)
            if refused or wrong or offline or pause is None:
                raise Unreachable(f"{url} cannot be fetched ({_reason(error)})") from error
            log(f"{file.name}: {_reason(error)}; taken up again in {pause} s")
            time.sleep(pause)
    part.replace(file)


def _fetch_rest(url: str, part: Path, size: int | None, log: Callable[[str], None]) -> None:
    """One request for what is missing.

    Raises:
        requests.RequestException: no connection, an answer of failure, or a cut.
    """
    import requests

    have = _size_of(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if have == size:
                return
            part.unlink()
            raise requests.exceptions.ChunkedEncodingError("what was there is not of this file")
        answer.raise_for_status()
        # A server that knows no ranges sends the whole file again.
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else size
        if size is not None and total != size:
            raise UserError(
                f"{url}: the server has {total:,} bytes, the published file {size:,}; this is "
                "another file. Give another address by --mirror"
            )
        arrived, started = start, time.monotonic()
        last = started
        with part.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                arrived += len(chunk)
                now = time.monotonic()
                if now - last >= SECONDS:
                    last = now
                    rate = format_bytes((arrived - start) / (now - started))
                    of = f" of {format_bytes(total)}" if total else ""
                    log(f"{part.stem}: {format_bytes(arrived)}{of}, {rate} a second")
    if total is not None and _size_of(part) != total:
        raise requests.exceptions.ChunkedEncodingError("the connection was cut")


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _reason(error: Exception) -> str:
    """Why a request failed, without the objects that the messages of urllib3 name."""
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server says {answer.status_code} {answer.reason}"
    text = str(error)
    if isinstance(error, ValueError):
        return text
    if "Name or service" in text or "name resolution" in text or "getaddrinfo" in text:
        return "its name cannot be resolved: no network?"
    if "refused" in text:
        return "connection refused"
    if "timed out" in text:
        return "no answer in time"
    return "the connection was cut"


def matches(file: Path, digest: str) -> bool:
    """Whether a file has a digest, given as ``'sha256:…'`` or ``'md5:…'``."""
    kind, _, wanted = digest.partition(":")
    found = hashlib.new(kind)
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            found.update(block)
    return found.hexdigest() == wanted
