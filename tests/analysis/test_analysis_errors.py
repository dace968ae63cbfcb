"""Kinds of error: by hand, and errors made by a script at known rates."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from analysis_data import Script, invent_truth, write
from test_analysis_precision import reference

from casvit_dense.analysis import CocoSource, DetectionAnalysis, analyse_source
from casvit_dense.analysis.detection import ERROR_KINDS
from casvit_dense.files import read_json

#: Kinds of wrong detections; missed are objects.
WRONG = ("classification", "localisation", "both", "duplicate", "background")

REAL = Path(os.environ.get("CASVIT_REAL_DATA", ""))

Box = tuple[float, float, float, float]
#: An object (class, box) or a detection (class, box, score).
Object = tuple[int, Box]
Found = tuple[int, Box, float]

OBJECT: Box = (100, 100, 40, 40)
HALF: Box = (120, 100, 40, 40)  # overlaps it by a third
ELSEWHERE: Box = (300, 300, 40, 40)


def hand_truth(objects: Sequence[Object], crowds: Sequence[Object] = ()) -> dict:
    return {
        "images": [{"id": 1, "width": 400, "height": 400, "file_name": "1.jpg"}],
        "categories": [{"id": i, "name": f"class {i}"} for i in (1, 2)],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": label,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": int(number > len(objects)),
            }
            for number, (label, box) in enumerate([*objects, *crowds], 1)
        ],
    }


def hand_results(found: Sequence[Found]) -> list[dict]:
    return [
        {"image_id": 1, "category_id": label, "bbox": list(box), "score": score}
        for label, box, score in found
    ]


def analysed(folder: Path, truth: dict, results: list[dict], kind: str) -> DetectionAnalysis:
    files = write(folder / "truth.json", truth), write(folder / "found.json", results)
    return analyse_source(CocoSource("x", kind, *files)).detection[kind]


def counts(analysis: DetectionAnalysis) -> dict[str, int]:
    return {error.kind: error.count for error in analysis.error_kinds}


@pytest.mark.parametrize(
    ("found", "kind", "missed"),
    [
        ((1, OBJECT, 0.9), None, 0),
        ((1, HALF, 0.9), "localisation", 0),
        ((2, OBJECT, 0.9), "classification", 0),
        ((2, HALF, 0.9), "both", 1),
        ((1, ELSEWHERE, 0.9), "background", 1),
        ((2, ELSEWHERE, 0.9), "background", 1),
        ((1, (136, 100, 40, 40), 0.9), "background", 1),  # overlaps by 4/76, less than .1
        ((1, (100, 100, 40, 20), 0.9), None, 0),  # by exactly .5
    ],
)
def test_one_object_one_detection(
    tmp_path: Path, found: Found, kind: str | None, missed: int
) -> None:
    result = counts(analysed(tmp_path, hand_truth([(1, OBJECT)]), hand_results([found]), "bbox"))
    expected = {name: int(name == kind) for name in WRONG}
    assert result == {
        **expected,
        "missed": missed,
        "false positive": int(kind is not None),
        "false negative": int(kind is not None),
    }


def test_second_detection_is_a_duplicate(tmp_path: Path) -> None:
    results = hand_results([(1, OBJECT, 0.5), (1, OBJECT, 0.9)])
    result = analysed(tmp_path, hand_truth([(1, OBJECT)]), results, "bbox")
    assert {kind: n for kind, n in counts(result).items() if n} == {
        "duplicate": 1,
        "false positive": 1,
    }
    assert result.sizes[0].ap == pytest.approx(1)  # the higher score is the correct one


def test_crowds_make_no_error(tmp_path: Path) -> None:
    truth = hand_truth([(1, ELSEWHERE)], crowds=[(1, (100, 100, 150, 150))])
    inside = [(1, OBJECT, 0.9), (1, HALF, 0.8)]
    partly = [(1, (60, 60, 60, 60), 0.7)]  # a ninth of it: neither ignored nor near an object
    other = [(2, OBJECT, 0.6)]  # the crowd is of another class
    result = counts(analysed(tmp_path, truth, hand_results([*inside, *partly, *other]), "bbox"))
    assert {kind: result[kind] for kind in ERROR_KINDS} == {
        "classification": 0,
        "localisation": 0,
        "both": 0,
        "duplicate": 0,
        "background": 2,
        "missed": 1,
    }


def test_gains_by_hand(tmp_path: Path) -> None:
    """Four objects of one class; by falling score: wrong place, right, nothing, right, twice."""
    places: list[Box] = [(100 * i, 10, 40, 40) for i in range(4)]
    truth = hand_truth([(1, place) for place in places])
    found = [
        (1, (20, 10, 40, 40), 0.9),  # a third of the first object
        (1, places[1], 0.8),
        (1, ELSEWHERE, 0.7),
        (1, places[2], 0.6),
        (1, places[2], 0.5),
    ]
    result = analysed(tmp_path, truth, hand_results(found), "bbox")
    gain = {error.kind: error.gain for error in result.error_kinds}

    def ap(steps: list[tuple[float, float]]) -> float:
        """From (recall, highest precision from there on), at recalls 0, .01, … 1."""
        at = np.arange(101) / 100
        return float(np.mean([next((p for r, p in steps if r >= x), 0.0) for x in at]))

    base = ap([(1 / 4, 1 / 2), (2 / 4, 2 / 4)])  # right at places 2 and 4 of the ranking
    expected = {
        "localisation": ap([(1 / 4, 1), (2 / 4, 1), (3 / 4, 3 / 4)]),
        "classification": base,
        "both": base,
        "duplicate": base,
        "background": ap([(1 / 4, 2 / 3), (2 / 4, 2 / 3)]),
        "missed": ap([(1 / 3, 1 / 2), (2 / 3, 1 / 2)]),  # the fourth; the first is misplaced
        "false positive": ap([(2 / 4, 1)]),
        "false negative": ap([(1, 1 / 2)]),
    }
    for kind, value in expected.items():
        assert gain[kind] == pytest.approx(value - base, abs=1e-12), kind


def test_wrong_class_is_mended_for_the_best_score_only(tmp_path: Path) -> None:
    truth = hand_truth([(1, OBJECT), (2, ELSEWHERE)])
    found = [(2, OBJECT, 0.9), (2, OBJECT, 0.8), (2, ELSEWHERE, 0.7)]
    result = analysed(tmp_path, truth, hand_results(found), "bbox")
    # AP50 of class 1 is 0, of class 2 1/3; mended, one detection of each is left.
    assert result.sizes[0].ap50 == pytest.approx(1 / 6)
    assert (result.error_kinds[0].kind, result.error_kinds[0].count) == ("classification", 2)
    assert result.error_kinds[0].gain == pytest.approx(1 - 1 / 6)
    assert [c.false_positives for c in result.classes] == [0, 2]
    assert [c.false_negatives for c in result.classes] == [1, 0]


def test_crowds_leave_gains_alone(tmp_path: Path) -> None:
    """Detections in a crowd do not count; without crowd and detections the figures are the same."""
    objects: list[Object] = [(1, OBJECT), (2, ELSEWHERE)]
    found: list[Found] = [(1, HALF, 0.9), (1, ELSEWHERE, 0.8), (1, OBJECT, 0.7)]
    crowd: list[Object] = [(1, (0, 300, 90, 90))]
    in_crowd: list[Found] = [(1, (20, 320, 20, 20), 0.95), (1, (50, 340, 20, 20), 0.6)]
    (tmp_path / "crowd").mkdir()
    plain = analysed(tmp_path, hand_truth(objects), hand_results(found), "bbox")
    crowded = analysed(
        tmp_path / "crowd", hand_truth(objects, crowd), hand_results(found + in_crowd), "bbox"
    )
    assert crowded.error_kinds == plain.error_kinds
    # AP50 of the classes is 1/3 and 0; with the right class 1/2 and 1.
    assert plain.error_kinds[0].gain == pytest.approx(3 / 4 - 1 / 6)


def assert_attributed(folder: Path, truth: dict, kind: str) -> None:
    """Every kind of error within 2 points of its rate, and AP equal to pycocotools."""
    script = Script(truth, kind)
    result = analysed(folder, truth, script.found, kind)
    found, objects = counts(result), result.objects
    for error in ERROR_KINDS:  # seen with pytest -s
        made, seen = (100 * count[error] / objects for count in (script.made, found))
        print(f"{kind} {error}: made {made:.1f}, attributed {seen:.1f} in 100 objects")
    for error in ERROR_KINDS:
        assert abs(found[error] - script.made[error]) / objects <= 0.02, error
    by_class = reference(truth, script.found, kind).mean(axis=(1, 2))  # (A, K)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(by_class, axis=1) / (~np.isnan(by_class)).sum(axis=1)
    assert_close([size.ap for size in result.sizes], expected)
    for i, ours in enumerate(result.classes):
        assert_close((ours.ap, ours.small, ours.medium, ours.large), by_class[:, i])


def assert_close(ours: Sequence[float | None], theirs: np.ndarray) -> None:
    np.testing.assert_allclose(np.array(ours, float), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_scripted_errors_are_attributed(tmp_path: Path, kind: str) -> None:
    assert_attributed(tmp_path, invent_truth(60, classes=20, objects=5), kind)


@pytest.mark.skipif(not REAL.name, reason="CASVIT_REAL_DATA names no folder of real images")
@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_scripted_errors_are_attributed_on_real_truth(
    tmp_path: Path, split: str, kind: str
) -> None:
    truth = read_json(REAL / f"coco-mini/annotations/instances_{split}2017.json")
    assert_attributed(tmp_path, truth, kind)
