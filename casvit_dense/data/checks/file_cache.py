"""What was found out about files, kept by path, size and time of change: nothing is read twice."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from casvit_dense.doctor import usable_cores
from casvit_dense.errors import UserError
from casvit_dense.log import LOG
from casvit_dense.progress import Progress

#: Increased when the facts that are kept change.
VERSION: Final = 3

#: Fewer files than this are read by this process itself.
POOL_FROM: Final = 128

#: Files whose facts are written together: what an interrupted check loses.
BATCH: Final = 512

#: A file may change again within the grain of its file system's clock; younger ones are not kept.
SETTLED_SECONDS: Final = 2.0

#: A larger cache begins anew: some five million files, or a hundred checks of COCO's.
LARGEST_BYTES: Final = 1 << 30

PROGRESS_SECONDS: Final = 5.0

#: Size in bytes and time of change in nanoseconds.
State = tuple[int, int]


def look_at(
    paths: Iterable[Path], look: Callable[[str], Any], kind: str, noun: str
) -> dict[Path, Any]:
    """What ``look`` says of each file: as kept from an earlier check, else by all cores.

    Args:
        look: function of a module; takes a path and returns what JSON can hold. May not fail.
        kind: name of these facts in the cache.
        noun: a file in lines of progress, e.g. ``'image'``.
    """
    states = {path: _state(path) for path in paths}
    with FileCache() as cache:
        facts = cache.get(kind, {path: state for path, state in states.items() if state})
        new = [path for path in states if path not in facts]
        tracked = Progress(noun, len(states), PROGRESS_SECONDS, done=len(facts)).track(
            _look_at_each(new, look), LOG.info
        )
        batch: dict[Path, Any] = {}
        latest = time.time_ns() - SETTLED_SECONDS * 1e9
        try:
            for path, found in tracked:
                facts[path] = found
                state = states[path]
                if state and state[1] < latest:
                    batch[path] = found
                if len(batch) == BATCH:
                    cache.put(kind, batch, states)
                    batch = {}
        finally:
            cache.put(kind, batch, states)
    return {path: facts[path] for path in states}


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _look_at_each(paths: Sequence[Path], look: Callable[[str], Any]) -> Iterator[tuple[Path, Any]]:
    workers = usable_cores()[0]
    if len(paths) < POOL_FROM or workers == 1:
        for path in paths:
            yield path, look(str(path))
        return
    pool = ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_the_parent)
    try:
        yield from zip(paths, pool.map(look, map(str, paths), chunksize=32), strict=True)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads the files was killed: is memory short? Free some, and check again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class FileCache:
    """One SQLite file in the user's cache folder. Where that cannot be used, nothing is kept."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        with self._tolerant():
            file = cache_file()
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, timeout=10.0)
            self._database.execute("PRAGMA synchronous = OFF")  # a lost cache is no loss
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS facts (kind TEXT, path BLOB, size INTEGER, "
                "changed INTEGER, found TEXT, PRIMARY KEY (kind, path)) WITHOUT ROWID"
            )
            if file.stat().st_size > LARGEST_BYTES:
                self._database.executescript("DELETE FROM facts; VACUUM")

    def __enter__(self) -> "FileCache":
        return self

    def __exit__(self, *error: object) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, kind: str, states: Mapping[Path, State]) -> dict[Path, Any]:
        """What is kept about those files that have not changed since."""
        facts: dict[Path, Any] = {}
        names = {_key(path): path for path in states}
        keys = list(names)
        with self._tolerant():
            for start in range(0, len(keys), BATCH):
                if self._database is None:
                    break
                part = keys[start : start + BATCH]
                rows = self._database.execute(
                    "SELECT path, size, changed, found FROM facts WHERE kind = ? "
                    f"AND path IN ({','.join('?' * len(part))})",
                    (kind, *part),
                )
                for key, size, changed, found in rows:
                    if states[names[key]] == (size, changed):
                        facts[names[key]] = json.loads(found)
        return facts

    def put(self, kind: str, facts: Mapping[Path, Any], states: Mapping[Path, Any]) -> None:
        """Keeps facts, all or none."""
        if self._database is None or not facts:
            return
        rows = [
            (kind, _key(path), *states[path], json.dumps(found)) for path, found in facts.items()
        ]
        with self._tolerant(), self._database as transaction:
            transaction.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Goes on without a cache; a damaged one is removed, and the next check makes another."""
        try:
            yield
        except (OSError, RuntimeError, ValueError, sqlite3.Error) as error:
            if self._database is not None:
                self._database.close()
                self._database = None
            # Its subclasses mean: locked, read-only, no space.
            if type(error) is sqlite3.DatabaseError or isinstance(error, ValueError):
                cache_file().unlink(missing_ok=True)


def cache_file() -> Path:
    """Where facts are kept.

    Raises:
        RuntimeError: the user has no home folder.
    """
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "casvit-dense" / f"files-{VERSION}.sqlite"


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 (links stay; names of any encoding)
