"""Any value of an annotation file may be anything: nothing fails, nothing changes in silence.

By default a few mutations; with ``--slow`` two thousand.
"""

import copy
import json
from pathlib import Path
from typing import Any

import coco_files
import pytest
from coco_files import CLASSES, content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset

from casvit_dense.config.coco_api import read_by_us
from casvit_dense.data.checks.check import check_path
from casvit_dense.data.findings import Findings
from casvit_dense.errors import UserError

NAN, INFINITY = float("nan"), float("inf")
VALUES = (
    *(None, "", "0", "x", "\u202eé\n", "a" * 300, "../001.png", True, False, [], {}, [0], {"a": 0}),
    *(-1, 0, 1.5, 1e30, 1e-30, NAN, INFINITY, -INFINITY, 2**70, [[0, 0]], [[[1, 2]]]),
)
#: Changes to another sound file, which no check can tell from what was meant.
SOUND = {
    *(("iscrowd", True), ("iscrowd", 0), ("iscrowd", False)),
    *(("delete", "annotations"), ("repeat", "segmentation")),  # an object less, a polygon twice
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    coco_files.write(root)
    coco_files.write(root, split="val")
    for path in (root / "val").iterdir():  # not the same images
        path.write_bytes(path.read_bytes() + b"val")
    return root


@st.composite
def mutations(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[str, Any]]:
    """A changed content, and what was done: the key and its new value, or the kind of change."""
    made: Any = content()
    node, key, above = made, draw(st.sampled_from(["annotations", "categories", "images"])), ""
    while isinstance(node[key], (dict, list)) and node[key] and draw(st.integers(0, 5)):
        above, node = str(key) if isinstance(key, str) else above, node[key]
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = draw(st.sampled_from(keys))
    kind = draw(st.sampled_from(["set", "set", "set", "delete", "repeat"]))
    if kind == "set":
        node[key] = value = copy.deepcopy(draw(st.sampled_from(VALUES)))
        name = key if isinstance(key, str) else above
        return made, (name, value if isinstance(value, (int, bool)) else repr(value))
    if kind == "repeat" and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
        return made, ("repeat", above)
    del node[key]
    return made, ("delete", above if isinstance(node, list) else key)


def delivered(file: Path) -> list[tuple[Any, ...]]:
    """What a training gets from the file: size, boxes, labels, masks of each image."""
    loaded = CocoDataset(
        ann_file=str(file),
        metainfo={"classes": CLASSES},
        data_prefix={"img": "train"},
        filter_cfg={"filter_empty_gt": True, "min_size": 32},
        pipeline=[],
    )
    infos = [loaded.get_data_info(i) for i in range(len(loaded))]
    return [(i["img_path"], i["height"], i["width"], i["instances"]) for i in infos]


def judge(root: Path, mutation: tuple[dict[str, Any], tuple[str, Any]]) -> None:
    made, change = mutation
    file = root / "annotations/train.json"
    file.write_text(json.dumps(content()), encoding="utf-8")
    expected = delivered(file)
    file.write_text(text := json.dumps(made), encoding="utf-8")
    findings = Findings()
    try:
        check_path(root, findings)
    except UserError:
        return
    assert file.read_text(encoding="utf-8") == text
    if findings.errors():
        return
    found = delivered(file)  # what the check accepts, the loader reads
    if found != expected and change not in SOUND:
        assert findings.all() or findings.notes, change


@pytest.fixture(autouse=True)
def _reader() -> None:
    read_by_us()


LOOSE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(mutation=mutations())
@settings(max_examples=20, **LOOSE)
def test_mutations(sound: Path, mutation: Any) -> None:
    judge(sound, mutation)


@pytest.mark.slow
@given(mutation=mutations())
@settings(max_examples=2000, **LOOSE)
def test_two_thousand_mutations(sound: Path, mutation: Any) -> None:
    judge(sound, mutation)


@given(place=st.floats(0, 1), bytes_=st.binary(min_size=0, max_size=4), cut=st.integers(0, 40))
@settings(max_examples=30, **LOOSE)
def test_changed_bytes(sound: Path, place: float, bytes_: bytes, cut: int) -> None:
    file = sound / "annotations/train.json"
    text = json.dumps(content()).encode()
    start = int(place * len(text))
    file.write_bytes(text[:start] + bytes_ + text[start + cut :])
    findings = Findings()
    try:
        check_path(sound, findings)
    except UserError:
        return
    if not findings.errors():
        delivered(file)
