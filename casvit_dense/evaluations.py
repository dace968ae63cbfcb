"""Names of files and folders in a work directory; every evaluation has a folder there.

``test`` writes ``work_dirs/X/test/20261127T141530Z``: the time in UTC, so that names sort by age.
Until it has finished, the name has a dot before it: what has no dot is whole.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Final

from casvit_dense.errors import UserError

#: Folder of all evaluations in a work directory.
TEST_FOLDER: Final = "test"

#: File that every finished evaluation has.
METRICS_FILE: Final = "metrics.json"

#: Predictions in the folder of an evaluation: index maps; the start of the names of COCO results.
MAPS_FOLDER: Final = "maps"
PREDICTIONS: Final = "predictions"

#: mmengine's training logs in a work directory.
LOGS: Final = "*/vis_data/scalars.json"

#: Start of the names of the work directories of further seeds, which lie in that of the first.
SEED_PREFIX: Final = "seed-"

_NAMES: Final = "[0-9]*T[0-9]*Z*"


def new_evaluation(work_dir: Path) -> Path:
    """Makes the folder of an evaluation that begins now; `finish_evaluation` gives it its name.

    Evaluations that begin in the same second get ``-02``, ``-03`` and so on behind it.
    """
    parent = work_dir / TEST_FOLDER
    name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = parent / (f".{name}" if number == 1 else f".{name}-{number:02}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            if not finished_name(folder).exists():
                break
            folder.rmdir()
    except OSError as error:
        raise UserError(f"work directory {work_dir} cannot be made: {error}") from error
    return folder


def finished_name(folder: Path) -> Path:
    """The path that an unfinished evaluation's folder will have."""
    return folder.with_name(folder.name.removeprefix("."))


def finish_evaluation(folder: Path) -> Path:
    """Gives a whole evaluation its name, also in the config that ran, and returns its path."""
    finished = finished_name(folder)
    for config in folder.rglob("*.py"):
        config.write_text(config.read_text().replace(str(folder), str(finished)))
    return folder.rename(finished)


@contextmanager
def removed_unless_finished(folder: Path) -> Iterator[None]:
    """Removes the folder of an evaluation that fails."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a finished one has another name


def find_evaluation(folder: Path) -> Path:
    """The folder of the newest finished evaluation in a work directory or its folder ``test``.

    Args:
        folder: one of these, or the folder of an evaluation, which is returned as it is. So is a
            folder without evaluations.
    """
    for parent in (folder, folder / TEST_FOLDER):
        finished = sorted(parent.glob(f"{_NAMES}/{METRICS_FILE}"))
        if finished:
            return finished[-1].parent
        if (parent / METRICS_FILE).is_file():  # also those of versions before 0.2
            return parent
    return folder
