"""Fetches a published data set, unpacks it and lays it out as the recipes expect it.

Every step leaves either the whole of its result or none of it: a folder appears under its name
when the last file in it was written and verified, so a run that was killed is simply repeated.
"""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from filelock import FileLock, Timeout

from casvit_dense.data.download import Unreachable, download, matches
from casvit_dense.errors import UserError
from casvit_dense.progress import Progress, format_bytes

#: Copied at a time while unpacking.
BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A published zip file.

    Attributes:
        url: where its publisher keeps it.
        folder: the one folder that it holds.
        digest: ``sha256:…`` where one was published, else ``md5:…``.
        size: bytes, where published.
        contents: number of files that match a pattern, once unpacked.
    """

    url: str
    folder: str
    digest: str
    size: int | None
    contents: dict[str, int]

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class Published:
    """A published data set: its title, where recipes look for it, and its archives."""

    title: str
    out: Path
    archives: tuple[Archive, ...]


#: Sizes and SHA-256 of COCO as TensorFlow Datasets lists them (url_checksums/coco.txt). Of ADE20K
#: nobody published a SHA-256: its MD5 is the one that many projects check against.
PUBLISHED: Final = {
    "coco": Published(
        "COCO 2017",
        Path("data/coco"),
        (
            Archive(
                "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
                "annotations",
                "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                252_907_541,
                {"instances_train2017.json": 1, "instances_val2017.json": 1},
            ),
            Archive(
                "http://images.cocodataset.org/zips/val2017.zip",
                "val2017",
                "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                815_585_330,
                {"*.jpg": 5_000},
            ),
            Archive(
                "http://images.cocodataset.org/zips/train2017.zip",
                "train2017",
                "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                19_336_861_798,
                {"*.jpg": 118_287},
            ),
        ),
    ),
    "ade": Published(
        "ADE20K (SceneParsing release)",
        Path("data/ade"),
        (
            Archive(
                "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                "ADEChallengeData2016",
                "md5:7328b3957e407ddae1d3cbf487f149ef",
                None,
                {
                    "images/training/*.jpg": 20_210,
                    "annotations/training/*.png": 20_210,
                    "images/validation/*.jpg": 2_000,
                    "annotations/validation/*.png": 2_000,
                },
            ),
        ),
    ),
}


def prepare(
    published: Published,
    out: Path,
    log: Callable[[str], None],
    mirror: str | None = None,
    keep_archives: bool = False,
) -> None:
    """Makes ``out`` hold a whole data set; what is there already is not fetched again.

    Args:
        out: folder for the data set. An archive in it, fetched by hand, is verified and used.
        log: gets lines of progress.
        mirror: address of a folder with the same archives, in place of their publishers'.
        keep_archives: do not remove the archives once they are unpacked.

    Raises:
        UserError: an archive cannot be fetched, is another file, names files outside its folder;
            the disk is full; ``out`` holds a part of the data set that is not as published; or
            another process prepares the same folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".prepare.lock", timeout=0):
            for archive in published.archives:
                if (out / archive.folder).exists():
                    check_contents(out, archive)
                    log(f"{out / archive.folder}: complete")
                    continue
                _fetch(archive, out, mirror, log)
                unpack(archive, out, log)
                if not keep_archives:
                    (out / archive.name).unlink()
    except Unreachable as error:
        raise UserError(f"{error}. {by_hand(published, out)}") from error
    except Timeout as error:
        raise UserError(f"{out}: another process prepares this folder; wait for it") from error
    except FileExistsError as error:
        raise UserError(f"{error.filename} is a file; give another folder by --out") from error
    except OSError as error:
        free = format_bytes(shutil.disk_usage(out).free) if out.is_dir() else "no"
        raise UserError(
            f"{error.filename or out}: {error.strerror or error} ({free} free). What was fetched "
            "is kept, and the same command goes on from there"
        ) from error


def by_hand(published: Published, out: Path) -> str:
    """What to fetch on another machine, and where to put it."""
    missing = [archive for archive in published.archives if not (out / archive.folder).exists()]
    sizes = [f" ({format_bytes(a.size)})" if a.size else "" for a in missing]
    lines = [f"\n  {archive.url}{size}" for archive, size in zip(missing, sizes, strict=True)]
    return (
        f"Name a mirror by --mirror, or fetch by hand and put into {out}, as they are:"
        f"{''.join(lines)}\nThen the same command verifies and unpacks them"
    )


def check_contents(out: Path, archive: Archive) -> None:
    """Counts the files of an unpacked archive.

    Raises:
        UserError: there are fewer or more than published.
    """
    folder = out / archive.folder
    for pattern, count in archive.contents.items():
        found = sum(1 for _ in folder.glob(pattern))
        if found != count:
            raise UserError(
                f"{folder / pattern}: {found:,} files, {count:,} were published. It was not made "
                "by this command or was changed since: move the folder away, or give another --out"
            )


def _fetch(archive: Archive, out: Path, mirror: str | None, log: Callable[[str], None]) -> None:
    """Makes the archive lie in ``out``, verified."""
    file = out / archive.name
    url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url
    for last in (False, True):
        fetched = not file.exists()
        if fetched:
            log(f"{archive.name}: from {url}")
            download(url, file, archive.size, log)
        log(f"{archive.name}: its {archive.digest.partition(':')[0].upper()} is compared")
        if matches(file, archive.digest):
            return
        file.unlink()
        log(f"{archive.name}: is not the published file and was removed")
        if last:
            raise UserError(
                f"{url}: what it serves is not the published file ({archive.digest}). Give another "
                "address by --mirror"
            )


def unpack(archive: Archive, out: Path, log: Callable[[str], None]) -> None:
    """Unpacks beside the target and renames; files that an interrupted run left are kept.

    Raises:
        UserError: damaged, names outside its folder, or not as many files as published.
        OSError: the disk is full.
    """
    unfinished = out / f".{archive.folder}.unfinished"
    try:
        with zipfile.ZipFile(out / archive.name) as content:
            members = [member for member in content.infolist() if not member.is_dir()]
            for member in members:
                _refuse_outside(member, archive)
            missing = [m for m in members if not _is_there(unfinished / m.filename, m)]
            needed = sum(member.file_size for member in missing)
            if needed > (free := shutil.disk_usage(out).free):
                raise UserError(
                    f"{out}: {format_bytes(needed)} are needed to unpack {archive.name}, "
                    f"{format_bytes(free)} are free. Make room and repeat the command"
                )
            done = len(members) - len(missing)
            progress = Progress(f"{archive.name}: file", len(members), seconds=5, done=done)
            for member in progress.track(missing, log):
                target = unfinished / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(
            f"{out / archive.name}: a damaged archive ({error}); remove it and repeat the command"
        ) from error
    check_contents(unfinished, archive)
    (unfinished / archive.folder).rename(out / archive.folder)
    unfinished.rmdir()


def _refuse_outside(member: zipfile.ZipInfo, archive: Archive) -> None:
    """Nothing is written outside the archive's own folder, and no links."""
    path, mode = PurePosixPath(member.filename), member.external_attr >> 16
    windows = PureWindowsPath(member.filename)
    inside = path.parts[:1] == (archive.folder,) and ".." not in windows.parts
    if not inside or windows.drive or stat.S_ISLNK(mode):
        raise UserError(
            f"{archive.name}: names {member.filename!r}, which is not a file inside "
            f"{archive.folder}/; nothing of it was unpacked"
        )


def _is_there(file: Path, member: zipfile.ZipInfo) -> bool:
    """Whether an earlier run wrote this file as a whole."""
    if not file.is_file() or file.stat().st_size != member.file_size:
        return False
    crc = 0
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == member.CRC
