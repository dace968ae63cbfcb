"""The evaluator benchmark: generated data, and rows of both packages."""

import multiprocessing

import pytest
from pycocotools import mask as rle

from casvit_dense.benchmark.evaluation import EvaluationSize, generate, measure_evaluation
from casvit_dense.options import COCO_BACKENDS


def test_generated_data_have_the_stated_size() -> None:
    size = EvaluationSize(images=40, categories=5, detections=1003)
    truth, predictions = generate(size, masks=True)
    assert len(truth["images"]) == len(predictions) == 40
    assert sum(len(p["labels"]) for p in predictions) == 1003
    assert {a["category_id"] for a in truth["annotations"]} <= set(
        {c["id"] for c in truth["categories"]}
    )
    first = truth["annotations"][0]
    area = rle.area(rle.frPyObjects(first["segmentation"], 480, 640)).sum()
    assert area == pytest.approx(first["area"], rel=0.05)
    again = generate(size, masks=True)
    assert again[0] == truth


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_measured_rows(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork has the peak of this process, and spares the seconds of all imports."""
    context = multiprocessing.get_context(method)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
    rows = measure_evaluation("bbox", EvaluationSize(images=60, categories=4, detections=1200))
    phases = ["results", "load", "evaluate", "accumulate", "total"]
    assert [(row.task, row.backend, row.phase) for row in rows] == [
        ("bbox", backend, phase) for backend in COCO_BACKENDS for phase in phases
    ]
    total = {row.backend: row for row in rows if row.phase == "total"}
    for backend, row in total.items():
        parts = [r.seconds for r in rows if r.backend == backend and r.phase != "total"]
        assert all(0 < seconds <= row.seconds for seconds in parts)
        assert row.seconds >= 0.999 * sum(parts)
        assert row.largest_difference <= 1e-6
        assert row.peak_mib > 50  # of Python with its libraries alone
        assert len(row.metrics) == 12 and row.metrics["mAP"] > 0
    assert total["pycocotools"].speedup == 1
    fast, slow = (total[backend].seconds for backend in COCO_BACKENDS)
    assert total["faster-coco-eval"].speedup == pytest.approx(slow / fast, rel=1e-3)
