"""Fetching a published data set over a server that misbehaves."""

import hashlib
import random
import re
from pathlib import Path
from typing import Any

import pytest
from file_server import ZIP, Server, assert_whole, fetch, files_below, zip_of

from casvit_dense.cli import main
from casvit_dense.data import prepare
from casvit_dense.data.prepare import Archive, Published
from casvit_dense.errors import UserError


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
