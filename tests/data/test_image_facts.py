"""Facts of image files against Pillow and OpenCV, and how they are kept."""

import io
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from casvit_dense.data.checks import file_cache
from casvit_dense.data.checks import image_facts as facts_room
from casvit_dense.data.checks.file_cache import look_at
from casvit_dense.data.checks.image_facts import (
    ORIENTATION,
    digests,
    image_facts,
    read_deep,
    read_header,
)
from casvit_dense.errors import UserError


def picture(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(noise).convert(mode)


def content(format: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    picture().save(buffer, format, exif=exif)
    return buffer.getvalue()


def decoded(path: Path) -> Any:
    """An image as mmcv reads it; None if it cannot."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def aged(*paths: Path) -> None:
    """Makes files old enough to be kept."""
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_sizes_are_those_that_opencv_reads(tmp_path: Path, format: str, orientation: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(content(format, orientation))
    height, width = decoded(path).shape[:2]
    facts = read_header(str(path))
    assert (facts.problem, facts.format) == ("", format)
    assert (facts.width, facts.height) == (width, height)
    assert read_deep(str(path)) == facts


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    if mode == "CMYK":
        path = path.with_suffix(".jpg")
    image = picture(mode="L" if mode == "I;16" else mode)
    (image.convert("I;16") if mode == "I;16" else image).save(path)
    assert str(read_deep(str(path))) == f"{'JPEG' if mode == 'CMYK' else 'PNG'} 48 x 32"


JPEG, PNG = content("JPEG"), content("PNG")


@pytest.mark.parametrize(
    ("bytes_", "problem"),
    [
        (b"", "empty"),
        (b"no picture", "no-image"),
        (b"<html>404</html>" * 100, "no-image"),
        (JPEG[:20], "no-image"),
        (JPEG[: len(JPEG) // 2], "damaged"),
        (JPEG[:-2], "damaged"),
        (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), "damaged"),
        (PNG[: len(PNG) // 2], "damaged"),
        (PNG[:-12], "damaged"),
        (content("WEBP")[:-50], "no-image"),
        (content("BMP")[:-500], "damaged"),
        (content("ICO"), "damaged"),  # which OpenCV does not read
        (JPEG + b"\n", ""),
        (PNG + b"more", ""),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, bytes_: bytes, problem: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(bytes_)
    assert read_header(str(path)).problem == problem


@pytest.mark.parametrize(
    "damaged",
    [
        JPEG[: len(JPEG) // 2] + JPEG[-2:],  # OpenCV makes up the rest, and says so
        PNG[: len(PNG) // 2] + bytes([PNG[len(PNG) // 2] ^ 255]) + PNG[len(PNG) // 2 + 1 :],
    ],
)
def test_damage_inside_is_found_by_decoding(
    tmp_path: Path, damaged: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image"
    path.write_bytes(damaged)
    assert read_header(str(path)).problem == ""
    assert read_deep(str(path)).problem == "damaged"
    assert capfd.readouterr().err == ""


def test_places_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    names = [
        "folder.jpg",
        "pipe.jpg",
        "link.jpg",
        "loop.jpg",
        "none.jpg",
        "nul\0.jpg",
        "\ud800.jpg",
    ]
    facts = image_facts([tmp_path / name for name in names])
    assert [found.problem for found in facts.values()] == [
        *("no-file", "no-file", "missing", "denied", "missing", "missing", "missing")
    ]
    assert str(facts[tmp_path / "link.jpg"]) == "does not exist (a broken link)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    assert str(read_header(str(path))) == "may not be read (Permission denied)"


def test_more_pixels_than_pillow_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 / 1.5)  # a warning
    assert read_header(str(path)).problem == ""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 / 2.5)
    assert read_header(str(path)).problem == "huge"


def test_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content("JPEG", 6).replace(b"Exif\0\0MM", b"Exif\0\0XX"))
    assert str(read_header(str(path))) == "JPEG 48 x 32"


looks: list[str] = []


def look(path: str) -> list[int]:
    looks.append(path)
    if path.endswith("stop"):
        raise KeyboardInterrupt
    return [Path(path).stat().st_size]


def die(path: str) -> None:
    os._exit(9)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of 0, 1, 2, … bytes."""
    looks.clear()
    paths = [tmp_path / f"{number}.bin" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number))
    aged(*paths)
    return paths


def test_a_file_is_read_once_until_it_changes(files: list[Path]) -> None:
    for _ in range(2):
        assert look_at(files, look, "size", "file") == {p: [n] for n, p in enumerate(files)}
        assert len(looks) == 5
    files[0].write_bytes(b"longer")
    os.utime(files[1], ns=(10**18, 10**18 + 1))
    aged(files[0])
    assert look_at(files, look, "size", "file")[files[0]] == [6]
    assert looks[5:] == [str(files[0]), str(files[1])]
    look_at(files, look, "another kind", "file")
    assert len(looks) == 12


def test_a_file_of_this_moment_is_not_kept(files: list[Path]) -> None:
    """It may change again within the grain of the clock."""
    now = time.time_ns()
    os.utime(files[0], ns=(now, now))
    for _ in range(2):
        look_at(files, look, "size", "file")
    assert looks.count(str(files[0])) == 2


def test_an_interrupted_check_goes_on(files: list[Path], tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        look_at([*files[:3], stop, *files[3:]], look, "size", "file")
    look_at(files, look, "size", "file")
    assert [Path(path).name for path in looks[4:]] == ["3.bin", "4.bin"]


def test_a_damaged_cache_is_done_without_and_made_anew(files: list[Path]) -> None:
    file_cache.cache_file().write_bytes(b"not a database, " * 500)
    for _ in range(3):
        assert look_at(files, look, "size", "file")[files[4]] == [4]
    assert len(looks) == 10


def test_a_cache_does_not_grow_for_ever(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        look_at(files, look, f"a question of an earlier time {number}", "file")
    size = file_cache.cache_file().stat().st_size
    monkeypatch.setattr(file_cache, "LARGEST_BYTES", size - 1)
    looks.clear()
    for _ in range(2):
        assert look_at(files, look, "size", "file")[files[4]] == [4]
    assert len(looks) == 5  # what it found after it had begun anew is kept
    assert file_cache.cache_file().stat().st_size < size / 2


def test_a_cache_that_cannot_be_written_is_done_without(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_cache, "cache_file", lambda: files[1] / "inside a file")
    assert look_at(files, look, "size", "file")[files[4]] == [4]


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert file_cache.cache_file().parent == tmp_path / "casvit-dense"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert file_cache.cache_file().parent == tmp_path / ".cache/casvit-dense"


def test_checks_at_once(files: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: look_at(files, look, "size", "file"), range(8)))
    assert found == [{p: [n] for n, p in enumerate(files)}] * 8
    with sqlite3.connect(file_cache.cache_file()) as database:
        assert database.execute("SELECT count(*) FROM facts").fetchone() == (5,)


def test_many_files_are_read_by_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_cache, "usable_cores", lambda: (2, "test"))
    monkeypatch.setattr(file_cache, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(file_cache, "POOL_FROM", 8)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        path.write_bytes(PNG if path != paths[3] else PNG[:50])
    with caplog.at_level("INFO", "casvit_dense"):
        found = image_facts(paths)
    assert list(found) == paths
    assert found == {path: facts_room.read_header(str(path)) for path in paths}
    assert "image 9 of 9" in caplog.text
    with pytest.raises(UserError, match="was killed: is memory short"):
        look_at(paths, die, "death", "file")


def test_digests_tell_contents_apart(files: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(files[3].read_bytes())
    found = digests([*files, copy, tmp_path / "none"])
    assert found[copy] == found[files[3]]
    assert len(set(found.values())) == 6
    assert found[tmp_path / "none"] == ""
