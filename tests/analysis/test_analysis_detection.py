"""Operating point, confusion, calibration, images and curves against hand arithmetic."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import hotcoco
import numpy as np
import pytest
from analysis_data import Script, invent_truth, write
from coco_results import invent
from test_analysis_errors import ELSEWHERE, HALF, OBJECT, Found, analysed, hand_results, hand_truth
from test_analysis_precision import as_text, reference

from casvit_dense.analysis import CocoSource, analyse_source

SECOND = (200, 100, 40, 40)
THIRD = (300, 100, 40, 40)

#: Two right, one of the wrong class, one in the wrong place, one of nothing, one in a crowd.
FOUND: list[Found] = [
    (1, OBJECT, 0.95),
    (2, SECOND, 0.85),  # of class 1
    (2, THIRD, 0.55),
    (1, HALF, 0.45),
    (2, ELSEWHERE, 0.15),
    (1, (20, 320, 20, 20), 0.99),
]
TRUTH = hand_truth([(1, OBJECT), (1, SECOND), (2, THIRD)], crowds=[(1, (0, 300, 90, 90))])


def test_confusion_by_hand(tmp_path: Path) -> None:
    confusion = analysed(tmp_path, TRUTH, hand_results(FOUND), "bbox").confusion
    assert confusion.names == ["class 1", "class 2", "background"]
    assert confusion.counts == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]  # from score .55 on


@pytest.mark.parametrize(
    ("score_thr", "counts"),
    [
        (0.0, [[1, 1, 0], [0, 1, 0], [1, 1, 0]]),
        (0.45, [[1, 1, 0], [0, 1, 0], [1, 0, 0]]),
        (0.9, [[1, 0, 1], [0, 0, 1], [0, 0, 0]]),
        (1.0, [[0, 0, 2], [0, 0, 1], [0, 0, 0]]),
    ],
)
def test_confusion_from_a_given_score(
    tmp_path: Path, score_thr: float, counts: list[list[int]]
) -> None:
    files = write(tmp_path / "t.json", TRUTH), write(tmp_path / "f.json", hand_results(FOUND))
    result = analyse_source(CocoSource("x", "bbox", *files), score_thr).detection["bbox"]
    assert result.confusion.counts == counts
    assert result.operating_point.score == score_thr
    hits = counts[0][0] + counts[1][1]
    found = hits + counts[0][1] + sum(counts[2])
    assert result.operating_point.recall == pytest.approx(hits / 3)
    assert result.operating_point.precision == pytest.approx(hits / found if found else 0)


def test_one_object_is_confused_once(tmp_path: Path) -> None:
    """Two detections of the wrong class: the higher score takes the object."""
    truth = hand_truth([(1, OBJECT)])
    found = hand_results([(2, OBJECT, 0.8), (2, (102, 100, 40, 40), 0.9)])
    files = write(tmp_path / "t.json", truth), write(tmp_path / "f.json", found)
    result = analyse_source(CocoSource("x", "bbox", *files), 0.0).detection["bbox"]
    assert result.confusion.counts == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_operating_point_is_the_best_f1(tmp_path: Path) -> None:
    point = analysed(tmp_path, TRUTH, hand_results(FOUND), "bbox").operating_point
    # F1 after each detection, of 3 objects: 2/4, 2/5, 4/6, 4/7, 4/8; the crowd's does not count.
    assert (point.score, point.chosen) == (0.55, "best F1")
    assert (point.precision, point.recall, point.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_calibration_by_hand(tmp_path: Path) -> None:
    result = analysed(tmp_path, TRUTH, hand_results(FOUND), "bbox").calibration
    assert result.counts == [0, 1, 0, 0, 1, 1, 0, 0, 1, 1]
    assert result.score[1] == pytest.approx(0.15) and result.precision[1] == 0
    assert result.score[9] == pytest.approx(0.95) and result.precision[9] == 1
    assert result.score[0] is None and result.precision[0] is None
    assert result.error == pytest.approx((0.15 + 0.45 + 0.45 + 0.85 + 0.05) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_equals_hotcoco(tmp_path: Path, seed: int) -> None:
    truth, results = invent(np.random.default_rng(seed))
    results = as_text(results)
    ours = analysed(tmp_path, truth, results, "bbox").calibration
    with redirect_stdout(StringIO()):
        objects = hotcoco.COCO(str(tmp_path / "truth.json"))
        evaluation = hotcoco.COCOeval(objects, objects.load_res(results), "bbox")
        evaluation.evaluate()
    theirs = evaluation.calibration()
    assert ours.counts == [b["count"] for b in theirs["bins"]]
    assert ours.error == pytest.approx(theirs["ece"], abs=1e-9)


def test_images_by_hand(tmp_path: Path) -> None:
    truth = hand_truth([(1, OBJECT), (1, SECOND)])
    truth["images"] += [{**truth["images"][0], "id": i, "file_name": f"{i}.jpg"} for i in (2, 3, 4)]
    truth["annotations"].append({**truth["annotations"][0], "id": 9, "image_id": 2})
    found = [
        *hand_results([(1, OBJECT, 0.9), (1, ELSEWHERE, 0.8)]),
        {**hand_results([(1, OBJECT, 0.9)])[0], "image_id": 2},
        {**hand_results([(1, OBJECT, 0.9)])[0], "image_id": 3},
    ]
    files = write(tmp_path / "t.json", truth), write(tmp_path / "f.json", found)
    result = analyse_source(CocoSource("x", "bbox", *files), 0.5).detection["bbox"]
    best = [(i.file, i.score, i.correct, i.wrong, i.missed) for i in result.best]
    assert best == [("2.jpg", 1.0, 1, 0, 0), ("1.jpg", 0.5, 1, 1, 1)]  # the others have no object
    assert [i.file for i in result.worst] == ["3.jpg", "1.jpg", "2.jpg"]  # 4 has nothing at all


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_curves_and_tables_are_those_of_pycocotools(tmp_path: Path, kind: str) -> None:
    truth = invent_truth(20, seed=2)
    truth["categories"].append({"id": 50, "name": "never seen"})
    results = Script(truth, kind).found
    result = analysed(tmp_path, truth, results, kind)
    expected = reference(truth, results, kind)
    for curve, at in zip(result.curves, ([0], [5], range(10)), strict=True):
        by_class = expected[0, list(at)].mean(axis=0)
        assert "never seen" not in curve.classes
        for k, name in enumerate(curve.classes):
            np.testing.assert_allclose(curve.classes[name], by_class[:, k], atol=5.1e-5)
        np.testing.assert_allclose(curve.mean, np.nanmean(by_class, axis=1), atol=5.1e-5)
    for a, size in enumerate(result.sizes):
        values = [size.ap, size.ap50, size.ap75]
        by_class = expected[a].mean(axis=1)[:, :-1]
        present = by_class[:, ~np.isnan(by_class[0])]
        if present.size:
            means = [present.mean(), present[0].mean(), present[5].mean()]
            np.testing.assert_allclose(values, means, atol=1e-6)
        else:
            assert values == [None] * 3
    assert result.classes[-1].ap is None and result.classes[-1].objects == 0


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_no_detection_at_all(tmp_path: Path, kind: str) -> None:
    truth = invent_truth(3)
    result = analysed(tmp_path, truth, [], kind)
    errors = {error.kind: error for error in result.error_kinds}
    assert result.sizes[0].ap == 0
    assert errors["missed"].count == result.objects == len(truth["annotations"])
    assert result.calibration.error is None
    assert result.operating_point.f1 == 0
    assert sum(row[-1] for row in result.confusion.counts) == result.objects
