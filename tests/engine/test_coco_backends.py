"""Both evaluators against pycocotools driven by hand, on generated results and on real truth."""

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_results import Results, invent
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casvit_dense.coco_backends import CocoNumbers, coco_results, evaluate_coco
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import evaluators
from casvit_dense.engine.coco_metric import DenseCocoMetric
from casvit_dense.errors import UserError
from casvit_dense.options import COCO_BACKENDS, RunOptions

REAL = Path(os.environ.get("CASVIT_REAL_DATA", ""))
CONFIGS = Path(__file__).parents[2] / "configs"


def reference(
    truth: dict, results: Results, kind: str, categories: list[int], images: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The twelve numbers and every category's AP, by pycocotools alone."""
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    coco.createIndex()
    found = copy.deepcopy(results)
    if kind == "segm":
        for result in found:
            result.pop("bbox")  # else sizes are those of boxes
    evaluation = COCOeval(coco, coco.loadRes(found), kind)
    evaluation.params.imgIds = images
    evaluation.params.catIds = categories
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    by_id = {}
    for place, category in enumerate(sorted(categories)):
        precision = evaluation.eval["precision"][:, :, place, 0, 2]
        valid = precision[precision > -1]
        by_id[category] = valid.mean() if len(valid) else np.nan
    return evaluation.stats, np.array([by_id[category] for category in categories])


def ids(records: list[dict]) -> list[int]:
    return [record["id"] for record in records]


def assert_same(found: CocoNumbers, expected: tuple[np.ndarray, np.ndarray], note: object) -> None:
    np.testing.assert_allclose(found.stats, expected[0], atol=1e-6, rtol=0, err_msg=str(note))
    np.testing.assert_allclose(found.class_ap, expected[1], atol=1e-6, rtol=0, err_msg=str(note))
    assert len(found.summary) == 12


CASES: dict[str, dict] = {
    "plain": {},
    "whole": {"whole": True, "ties": True},
    "crowds": {"crowd": 0.6},
    "many": {"detections": 250, "ties": True},  # beyond 100 of a class in an image
    "few": {"detections": 3},
    "large ids": {"first_id": 900100259690},
}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("case", CASES)
def test_numbers_equal_pycocotools(case: str, kind: str) -> None:
    for seed in range(6):
        truth, results = invent(np.random.default_rng(seed), **CASES[case])
        chosen = ids(truth["categories"])[:: 1 + seed % 2]
        images = ids(truth["images"])[:: 1 + seed % 3]
        expected = reference(truth, results, kind, chosen, images)
        for backend in COCO_BACKENDS:
            found = evaluate_coco(
                copy.deepcopy(truth), results, kind, chosen, images, backend=backend
            )
            assert_same(found, expected, (backend, seed))


def test_the_cases_are_no_empty_ones() -> None:
    """Every one of the twelve numbers is neither 0 nor absent in some generated case."""
    seen = np.zeros(12, bool)
    for seed in range(6):
        truth, results = invent(np.random.default_rng(seed), **CASES["plain"])
        stats, class_ap = reference(
            truth, results, "bbox", ids(truth["categories"]), ids(truth["images"])
        )
        seen |= (stats > 0) & (stats < 1)
        assert np.isnan(class_ap[3])
    assert seen.all()


@pytest.mark.parametrize("backend", COCO_BACKENDS)
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_nothing_detected_and_nothing_true(kind: str, backend: str) -> None:
    truth, _ = invent(np.random.default_rng(0))
    images, chosen = ids(truth["images"]), ids(truth["categories"])
    found = evaluate_coco(truth, [], kind, chosen, images, backend)
    assert found.stats.max() == 0
    assert found.class_ap[:3].tolist() == [0, 0, 0]
    empty = {**truth, "annotations": []}
    found = evaluate_coco(empty, [], kind, chosen, images, backend)
    assert found.stats.tolist() == [-1] * 12
    assert np.isnan(found.class_ap).all()


def test_truth_can_be_evaluated_again_by_the_other_package() -> None:
    """Each package leaves its own marks in the truth, which is read once a training."""
    truth, results = invent(np.random.default_rng(1), crowd=0.4)
    images, chosen = ids(truth["images"]), ids(truth["categories"])
    expected = {k: reference(truth, results, k, chosen, images) for k in ("bbox", "segm")}
    for backend in (*COCO_BACKENDS, *reversed(COCO_BACKENDS)):
        for kind in ("bbox", "segm", "bbox"):
            found = evaluate_coco(truth, results, kind, chosen, images, backend)
            assert_same(found, expected[kind], (backend, kind))


#: name -> (ids of images, categories and annotations from their numbers 0, 1, …)
SCHEMES: dict[str, Callable[[int], int]] = {
    "64 bits": lambda n: 1_700_000_000_000_000_000 + 7 * n,
    "negative": lambda n: -1000 + 3 * n,
    "from 0": lambda n: n,
    "falling": lambda n: 500 - n,
}


@given(
    schemes=st.tuples(*[st.sampled_from(sorted(SCHEMES))] * 3),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["bbox", "segm"]),
    backend=st.sampled_from(COCO_BACKENDS),
)
@settings(max_examples=40, deadline=None)
def test_ids_of_any_kind_give_the_numbers_of_small_ones(
    schemes: tuple[str, str, str], seed: int, kind: str, backend: str
) -> None:
    """pycocotools on ids from 1 is the reference; images of equal score keep their order."""
    truth, results = invent(np.random.default_rng(seed), crowd=0.3)
    images, chosen = ids(truth["images"]), ids(truth["categories"])
    expected = reference(truth, results, kind, chosen, images)
    image_id, category_id, annotation_id = (SCHEMES[name] for name in schemes)
    renamed = {
        "images": [{**i, "id": image_id(i["id"])} for i in truth["images"]],
        "categories": [{**c, "id": category_id(c["id"])} for c in truth["categories"]],
        "annotations": [
            {
                **a,
                "id": annotation_id(n),
                "image_id": image_id(a["image_id"]),
                "category_id": category_id(a["category_id"]),
            }
            for n, a in enumerate(truth["annotations"])
        ],
    }
    found = evaluate_coco(
        renamed,
        [
            {**r, "image_id": image_id(r["image_id"]), "category_id": category_id(r["category_id"])}
            for r in results
        ],
        kind,
        [category_id(c) for c in chosen],
        [image_id(i) for i in images],
        backend,
    )
    assert_same(found, expected, (schemes, backend))


@pytest.mark.skipif(not REAL.name, reason="CASVIT_REAL_DATA names no folder of real images")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_numbers_equal_on_real_truth(kind: str, split: str) -> None:
    truth = json.loads((REAL / f"coco-mini/annotations/instances_{split}.json").read_bytes())
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    rng = np.random.default_rng(0)
    results = []
    for annotation in truth["annotations"]:
        mask = coco.annToMask(annotation)
        for shift in rng.integers(-12, 13, 3):
            encoded = rle.encode(np.asfortranarray(np.roll(mask, shift, axis=1)))
            results.append(
                {
                    "image_id": annotation["image_id"],
                    "bbox": (np.array(annotation["bbox"]) + shift).tolist(),
                    "score": round(rng.random(), 2),
                    "category_id": annotation["category_id"],
                    "segmentation": {**encoded, "counts": encoded["counts"].decode()},
                }
            )
    chosen, images = ids(truth["categories"]), ids(truth["images"])
    expected = reference(truth, results, kind, chosen, images)
    assert 0 < expected[0][0] < 1
    for backend in COCO_BACKENDS:
        found = evaluate_coco(copy.deepcopy(truth), results, kind, chosen, images, backend)
        assert_same(found, expected, backend)


@pytest.mark.parametrize("backend", COCO_BACKENDS)
def test_class_ap_belongs_to_its_class_whatever_the_ids(backend: str, tmp_path: Path) -> None:
    """Both packages sort the ids; the file's order, which is the classes', may be another."""
    box = [10.0, 10.0, 40.0, 40.0]
    truth = {
        "images": [{"id": 1, "width": 100, "height": 100, "file_name": "1.jpg"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 5, "name": "ox"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": c, "bbox": box, "area": 1600, "iscrowd": 0}
            for i, c in ((1, 9), (2, 2))
        ],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    metric = DenseCocoMetric(str(file), backend=backend)
    metric.dataset_meta = {"classes": ("dog", "cat", "ox")}
    only_dogs = {
        "bboxes": torch.tensor([[10.0, 10.0, 50.0, 50.0]]),
        "scores": torch.ones(1),
        "labels": torch.zeros(1, dtype=torch.long),
    }
    metric.process({}, [{"img_id": 1, "ori_shape": (100, 100), "pred_instances": only_dogs}])
    metric.evaluate(size=1)
    ap = metric.per_class["bbox"]
    assert (ap["dog"], ap["cat"]) == pytest.approx((1, 0))
    assert np.isnan(ap["ox"])


def test_results_by_hand() -> None:
    counts = {"size": [2, 2], "counts": b"04"}
    prediction = {
        "img_id": 7,
        "bboxes": np.array([[1, 2, 4, 8]], np.float32),
        "scores": np.array([0.5], np.float32),
        "mask_scores": np.array([0.25], np.float32),
        "labels": np.array([1]),
        "masks": [counts],
    }
    empty = {**prediction, **{k: prediction[k][:0] for k in prediction if k != "img_id"}}
    box = {"image_id": 7, "bbox": [1, 2, 3, 6], "score": 0.5, "category_id": 30}
    assert coco_results([empty, prediction], "bbox", [20, 30]) == [box]
    mask = {**box, "score": 0.25, "segmentation": {"size": [2, 2], "counts": "04"}}
    assert coco_results([prediction], "segm", [20, 30]) == [mask]
    assert counts["counts"] == b"04"
    del prediction["masks"]
    with pytest.raises(UserError, match="predicts no masks"):
        coco_results([prediction], "segm", [20, 30])


def test_missing_package_is_said_before_the_test(
    monkeypatch: pytest.MonkeyPatch, shapes: Path
) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    truth = str(shapes / "coco/annotations/instances_train2017.json")
    with pytest.raises(UserError, match="pip install faster-coco-eval, or .*pycocotools"):
        DenseCocoMetric(truth)
    assert DenseCocoMetric(truth, backend="pycocotools").backend == "pycocotools"
    with pytest.raises(UserError, match="unknown COCO backend 'cocoapi'"):
        DenseCocoMetric(truth, backend="cocoapi")


def test_flag_reaches_every_metric() -> None:
    config = CONFIGS / "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py"
    cfg = resolve(config, RunOptions(coco_backend="pycocotools")).config
    assert [metric.backend for metric in evaluators(cfg)] == ["pycocotools"] * 2
    maps = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"
    with pytest.raises(UserError, match="no evaluator of type DenseCocoMetric"):
        resolve(maps, RunOptions(coco_backend="pycocotools"))
