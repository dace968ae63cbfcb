"""COCO's evaluation by one of two packages with the same classes and the same numbers.

pycocotools is the reference. faster-coco-eval (https://github.com/MiXaiLL76/faster_coco_eval,
Apache 2.0) matches detections and accumulates in C++. The tests compare the two to 1e-6 in all
numbers, over crowds, ties, subsets and empty parts.
"""

import contextlib
import gc
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask

from casvit_dense.errors import UserError
from casvit_dense.options import COCO_BACKENDS

#: How people name the twelve numbers of COCO.
COCO_TITLES = {
    "mAP": "AP",
    "mAP_50": "AP50",
    "mAP_75": "AP75",
    "mAP_s": "small",
    "mAP_m": "medium",
    "mAP_l": "large",
    "AR@1": "AR@1",
    "AR@10": "AR@10",
    "AR@100": "AR@100",
    "AR_s@100": "small",
    "AR_m@100": "medium",
    "AR_l@100": "large",
}
COCO_KINDS = {"bbox": "box", "segm": "mask"}

#: COCO's summary in its order: precision at 100 detections, then recall.
COCO_NUMBERS = tuple(COCO_TITLES)


class CocoNumbers(NamedTuple):
    """What one evaluation says.

    Attributes:
        stats: COCO's twelve numbers in its order, shape ``(12,)``; -1 where there is no truth.
        class_ap: AP of every category that was asked for, in that order; NaN without truth.
        summary: the twelve lines that both packages print.
    """

    stats: np.ndarray
    class_ap: np.ndarray
    summary: list[str]


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps Python's collector of cycles from running.

    While millions of dicts are made, none of them garbage, it looks through all of them again and
    again: that is two fifths of the time of an evaluation.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def evaluate_coco(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    category_ids: Sequence[int],
    image_ids: Sequence[int],
    backend: str = COCO_BACKENDS[0],
) -> CocoNumbers:
    """Evaluates detections at COCO's settings.

    Args:
        truth: content of an instances file.
        results: detections in COCO's results format.
        kind: ``'bbox'`` or ``'segm'``; sizes are those of boxes or of masks.
        backend: one of `options.COCO_BACKENDS`.
    """
    evaluation = open_evaluation(truth, results, kind, category_ids, image_ids, backend)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return read_numbers(evaluation, category_ids)


def load_backend(name: str) -> tuple[Callable[[], Any], Callable[..., Any]]:
    """The classes ``COCO`` and ``COCOeval`` of a package."""
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    if name == "faster-coco-eval":
        try:
            from faster_coco_eval import COCO as FasterCOCO
            from faster_coco_eval import COCOeval_faster
        except ImportError as error:
            raise UserError(
                f"faster-coco-eval cannot be imported ({error}): pip install faster-coco-eval, or "
                "evaluate with --coco-backend pycocotools"
            ) from error
        return FasterCOCO, partial(COCOeval_faster, print_function=print)
    raise UserError(f"unknown COCO backend '{name}'; choose from {', '.join(COCO_BACKENDS)}")


def open_evaluation(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    category_ids: Sequence[int],
    image_ids: Sequence[int],
    backend: str,
) -> Any:
    """A package's ``COCOeval``, loaded and not yet run; arguments as in `evaluate_coco`."""
    dataset, evaluator = load_backend(backend)
    images = _ranks(image["id"] for image in truth["images"])
    categories = _ranks(category["id"] for category in truth["categories"])
    small = {
        "images": [{**image, "id": images[image["id"]]} for image in truth["images"]],
        "categories": [{**c, "id": categories[c["id"]]} for c in truth["categories"]],
    }
    truths = {**small, "annotations": _renumbered(truth["annotations"], images, categories)}
    found = _renumbered(as_annotations(results, kind), images, categories)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(
            _indexed(dataset, truths), _indexed(dataset, {**small, "annotations": found}), kind
        )
    evaluation.params.catIds = [categories[category] for category in category_ids]
    evaluation.params.imgIds = [images[image] for image in image_ids]
    return evaluation


def _ranks(ids: Iterable[int]) -> dict[int, int]:
    """Numbers from 1 in the order of the ids.

    Both packages mark a match by the annotation's id and take 0 for none, so that an annotation
    with id 0 would never be found; faster-coco-eval doubles the AP where image ids are near 2**60,
    and gives 0 for negative annotation ids.
    """
    return {value: number for number, value in enumerate(sorted(set(ids)), 1)}


def _renumbered(
    annotations: Iterable[Mapping[str, Any]],
    images: Mapping[int, int],
    categories: Mapping[int, int],
) -> list[dict[str, Any]]:
    """Annotations of known images and categories, numbered from 1 in their order."""
    known = (a for a in annotations if a["image_id"] in images and a["category_id"] in categories)
    return [
        {
            **annotation,
            "id": number,
            "image_id": images[annotation["image_id"]],
            "category_id": categories[annotation["category_id"]],
        }
        for number, annotation in enumerate(known, 1)
    ]


def as_annotations(results: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Detections with the keys that evaluation reads: number, area, no crowd.

    The packages' own ``loadRes`` does the same, but takes the area of the box for masks wherever
    a result has both, draws a polygon for every box, and fails on an empty list.
    """
    if kind == "segm":
        # One by one: with numpy 2, pycocotools cannot take the area of more than 255 masks at once.
        areas = [int(mask.area(result["segmentation"])) for result in results]
    else:
        areas = [result["bbox"][2] * result["bbox"][3] for result in results]
    return [
        {**result, "id": number, "area": area, "iscrowd": 0}
        for number, (result, area) in enumerate(zip(results, areas, strict=True), 1)
    ]


def read_numbers(evaluation: Any, category_ids: Sequence[int]) -> CocoNumbers:
    """The numbers of an accumulated ``COCOeval``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluation.summarize()
    lines = [line for line in printed.getvalue().splitlines() if " Average " in line]
    # (IoU, recall, category, area, detections): over all areas, at 100 detections
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    places = np.searchsorted(np.unique(category_ids), category_ids)  # both packages sort the ids
    values = [precision[:, :, place] for place in places]
    means = [v[v > -1].mean() if (v > -1).any() else np.nan for v in values]
    return CocoNumbers(np.asarray(evaluation.stats[:12]), np.array(means), lines[:12])


def _indexed(dataset: Callable[[], Any], content: Mapping[str, Any]) -> Any:
    coco = dataset()
    coco.dataset = content
    coco.createIndex()
    return coco


def coco_results(
    predictions: Sequence[Mapping[str, Any]], kind: str, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Predictions in COCO's results format.

    Args:
        predictions: of every image ``img_id``, ``bboxes`` ``(N, 4)`` as corners, ``scores``,
            ``labels`` and, for masks, ``masks`` (compressed RLE) and perhaps ``mask_scores``.
        kind: ``'bbox'`` or ``'segm'``.
        category_ids: id of every label.

    Raises:
        UserError: masks are asked for and there are none.
    """
    return [
        result
        for prediction in predictions
        for result in _results_of_image(prediction, kind, category_ids)
    ]


def _results_of_image(
    prediction: Mapping[str, Any], kind: str, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    image_id = prediction["img_id"]
    boxes = prediction["bboxes"].astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    scores = prediction["scores"]
    if kind == "segm":
        scores = prediction.get("mask_scores", scores)
    rows = zip(boxes.tolist(), scores.tolist(), prediction["labels"].tolist(), strict=True)
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "bbox": box, "score": score, "category_id": category_ids[label]}
        for box, score, label in rows
    ]
    if kind == "segm":
        for result, mask in zip(results, _masks_of(prediction), strict=True):
            result["segmentation"] = mask
    return results


def _masks_of(prediction: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "masks" not in prediction:
        raise UserError("the metric asks for 'segm', but the model predicts no masks")
    # Text can be written as JSON, bytes cannot.
    return [
        {**m, "counts": m["counts"].decode() if isinstance(m["counts"], bytes) else m["counts"]}
        for m in prediction["masks"]
    ]
