"""Any file of a set of maps may be anything: what a loader fails at is found."""

import hashlib
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_files import check, described, write_set
from PIL import Image


def loaded(root: Path) -> tuple[int, str]:
    """What a loader makes of a set: how many images, and the first fault, as mmcv and torch see it.

    Not by the code under test: OpenCV's and Pillow's decoders and numpy.
    """
    images = sorted((root / "images").rglob("*.png"))
    files = [path for path in images if path.is_file() and path.name[0] != "."]
    for path in files:
        image = (
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), 1)
            if path.stat().st_size
            else None
        )
        if image is None:
            return len(files), "image"
        try:
            label_map = (root / "maps" / path.relative_to(root / "images")).read_bytes()
            array = np.array(Image.open(io.BytesIO(label_map))).squeeze()
        except Exception:
            return len(files), "map"
        if array.shape != image.shape[:2]:
            return len(files), "size"
        if not set(np.unique(array).tolist()) <= {0, 1, 2, 255}:
            return len(files), "label"
    return len(files), ""


def state_of(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def mutate(path: Path, kind: str, number: int) -> None:
    content = path.read_bytes()
    if kind == "delete":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: number % len(content)])
    elif kind == "flip":
        place = number % len(content)
        path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 + number % 255)]) + content[place + 1 :]
        )
    elif kind == "label":
        array = np.array(Image.open(path))
        array.flat[number % array.size] = number % 256
        Image.fromarray(array).save(path)
    elif kind == "mode":
        modes = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "I")
        Image.open(path).convert("L").convert(modes[number % len(modes)]).save(path)
    elif kind == "size":
        Image.open(path).resize((1 + number % 40, 12), Image.Resampling.NEAREST).save(path)
    elif kind == "rename":
        path.rename(path.with_name(("1.PNG", "1.jpg", "other.png", ".1.png")[number % 4]))
    elif kind == "format":
        format = ("JPEG", "BMP", "TIFF", "GIF", "WEBP")[number % 5]
        Image.open(path).save(path, format)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.with_name(f"more-{number % 3}.png").write_bytes(content)


KINDS = ("delete", "cut", "flip", "label", "mode", "size", "rename", "format", "folder", "add")


@pytest.mark.parametrize("examples", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_mutations_of_a_set(examples: int) -> None:
    """What a loader fails at, or leaves out, is found; what it reads is not refused."""

    @settings(max_examples=examples, deadline=None, derandomize=examples < 100, database=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["images/1.png", "maps/1.png"]),
                st.sampled_from(KINDS),
                st.integers(0, 100_000),
            ),
            min_size=1,
            max_size=2,
        )
    )
    def holds(mutations: list[tuple[str, str, int]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_set(root)
            for file, kind, number in mutations:
                if (root / file).is_file() and (root / file).stat().st_size:
                    try:
                        mutate(root / file, kind, number)
                    except OSError:  # a file that an earlier mutation made unreadable
                        continue
            before = state_of(root)
            quick, deep = check(described(root)), check(described(root), deep=True)
            assert state_of(root) == before
            images, fault = loaded(root)
            assert bool(deep.errors()) >= bool(fault), fault
            if images < 4 and (root / "maps/1.png").is_file():  # else both are gone
                assert deep.all()
            if not fault:
                assert {f.kind.code for f in deep.errors()} <= {"map-lossy"}
                assert {f.kind.code for f in quick.errors()} <= {"map-lossy"}

    holds()
