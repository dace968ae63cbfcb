"""Matching and AP against pycocotools: all recalls, overlaps, classes and sizes; resamples against
data sets that really hold images several times."""

import copy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from analysis_data import Script, invent_truth, write
from coco_results import invent
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casvit_dense.analysis.bootstrap import average_precision, rankings
from casvit_dense.analysis.coco_arrays import Detections, Truth, read_detections, read_truth
from casvit_dense.analysis.matching import THRESHOLDS, evaluate, matches_of, precision_curves


def reference(truth: dict, results: list[dict], kind: str) -> np.ndarray:
    """pycocotools' precision ``(A, T, 101, K)``, classes in the file's order; NaN without truth."""
    with redirect_stdout(StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        found = copy.deepcopy(results)
        for result in found:
            if kind == "segm":
                result.pop("bbox", None)  # else sizes are those of boxes
        evaluation = COCOeval(coco, coco.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    ids = [category["id"] for category in truth["categories"]]
    precision = evaluation.eval["precision"][..., -1]
    ours = precision[:, :, np.argsort(np.argsort(ids))].transpose(3, 0, 1, 2)
    return np.where(ours < 0, np.nan, ours)


def as_text(results: list[dict]) -> list[dict]:
    """Run lengths as JSON can hold them."""
    results = copy.deepcopy(results)
    for result in results:
        mask = result.get("segmentation")
        if isinstance(mask, dict) and isinstance(mask["counts"], bytes):
            mask["counts"] = mask["counts"].decode()
    return results


def read(folder: Path, truth: dict, results: list[dict], kind: str) -> tuple[Truth, Detections]:
    objects = read_truth(write(folder / "truth.json", truth), kind)
    return objects, read_detections(write(folder / "found.json", results), kind, objects)


def weighted_ap(objects: Truth, found: Detections, kind: str, weights: np.ndarray) -> np.ndarray:
    """AP ``(B, T, K)`` when images count as often as the weights say."""
    evaluation = evaluate(objects, found, kind)
    matches = [matches_of(evaluation, found, overlap) for overlap in THRESHOLDS]
    return np.stack([average_precision(r, weights) for r in rankings(objects, found, matches)], -1)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "difficulty",
    [{}, {"ties": True}, {"whole": True}, {"crowd": 0.5}, {"detections": 300}],
    ids=str,
)
def test_precision_equals_pycocotools(
    tmp_path: Path, kind: str, seed: int, difficulty: dict
) -> None:
    truth, results = invent(np.random.default_rng(seed), **difficulty)
    results = as_text(results)
    ours = precision_curves(evaluate(*read(tmp_path, truth, results, kind), kind))
    np.testing.assert_allclose(ours, reference(truth, results, kind), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_every_image_once_is_cocos_ap(tmp_path: Path, kind: str) -> None:
    truth = invent_truth(30, seed=1)
    results = Script(truth, kind).found
    objects, found = read(tmp_path, truth, results, kind)
    once = np.ones((1, len(objects.image_ids)), int)
    expected = reference(truth, results, kind)[0].mean(axis=1)
    ours = weighted_ap(objects, found, kind, once)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-9, rtol=0)


def repeated(truth: dict, results: list[dict], weights: np.ndarray) -> tuple[dict, list[dict]]:
    """A data set that holds the images so many times, each copy with a new id."""
    images, annotations, found = [], [], []
    for image, weight in zip(truth["images"], weights.tolist(), strict=True):
        for copied in range(weight):
            number = image["id"] * 1000 + copied
            images.append({**image, "id": number})
            for a in truth["annotations"]:
                if a["image_id"] == image["id"]:
                    annotations.append({**a, "id": len(annotations) + 1, "image_id": number})
            found += [{**r, "image_id": number} for r in results if r["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_resample_is_pycocotools_on_repeated_images(tmp_path: Path, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, results = invent(rng, crowd=0.3)
    truth["images"].sort(key=lambda image: image["id"])
    results = as_text(results)
    for number, result in enumerate(results):  # no equal scores: copies would change their order
        result["score"] = (result["score"] + 1e-6 * number) / 2
    objects, found = read(tmp_path, truth, results, kind)
    count = len(objects.image_ids)
    weights = np.stack(
        [np.bincount(rng.integers(count, size=count), minlength=count) for _ in "12"]
    )
    ours = weighted_ap(objects, found, kind, weights)
    for drawn, values in zip(weights, ours, strict=True):
        expected = reference(*repeated(truth, results, drawn), kind)[0].mean(axis=1)
        np.testing.assert_allclose(values, expected, atol=1e-9, rtol=0)


def test_more_detections_than_count(tmp_path: Path) -> None:
    """More than 100 of a class in one image, and more than 255 that are left."""
    truth = invent_truth(1, classes=5, objects=20)
    results = [r for seed in range(40) for r in Script(truth, "segm", seed).found]
    objects, found = read(tmp_path, truth, results, "segm")
    assert np.bincount([r["category_id"] for r in results]).max() > 100
    assert 255 < len(found.score) < len(results)
    ours = precision_curves(evaluate(objects, found, "segm"))
    np.testing.assert_allclose(ours, reference(truth, results, "segm"), atol=1e-12, rtol=0)
