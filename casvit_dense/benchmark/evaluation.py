"""How long COCO's evaluation takes, by either package, on generated truth and detections."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask

from casvit_dense.benchmark.machine import provenance
from casvit_dense.benchmark.memory import status_bytes
from casvit_dense.benchmark.tables import PHASES
from casvit_dense.coco_backends import (
    COCO_NUMBERS,
    coco_results,
    collector_paused,
    open_evaluation,
    read_numbers,
)
from casvit_dense.options import COCO_BACKENDS
from casvit_dense.results.measurements import EvaluatorSpeed

REFERENCE = "pycocotools"
HEIGHT, WIDTH = 480, 640
#: Corners of an octagon as fractions of its box.
OCTAGON = np.array([(0, 1), (1, 0), (2, 0), (3, 1), (3, 2), (2, 3), (1, 3), (0, 2)]) / 3


@dataclass(frozen=True)
class EvaluationSize:
    """What is generated; the defaults are COCO's validation set at 100 detections an image.

    Attributes:
        images: images of 640x480 pixels.
        categories: their categories, some frequent and most rare.
        detections: detections over all images.
        seed: of the generated data.
    """

    images: int = 5000
    categories: int = 80
    detections: int = 500_000
    seed: int = 0


DEFAULT_SIZE = EvaluationSize()


def evaluator_jobs() -> list[tuple[EvaluatorSpeed, Callable[[], list[EvaluatorSpeed]]]]:
    """A measurement for each task, with the row that it has if it fails; see `run.run_jobs`."""
    return [
        (EvaluatorSpeed(**provenance("cpu"), task=task), partial(measure_evaluation, task))
        for task in ("bbox", "segm")
    ]


def measure_evaluation(task: str, size: EvaluationSize = DEFAULT_SIZE) -> list[EvaluatorSpeed]:
    """Runs every package on the same data, one after the other, each in its own process.

    Args:
        task: ``'bbox'`` or ``'segm'``.
        size: what is generated.

    Returns:
        One row for every package and phase. Phases: ``results`` (predictions to COCO's results
        format), ``load`` (the package's data structures), ``evaluate`` (overlaps and matching; all
        of faster-coco-eval's work), ``accumulate`` (the twelve numbers), ``total``.
    """
    runs = {backend: _in_own_process(size, task, backend) for backend in COCO_BACKENDS}
    reference, expected = runs[REFERENCE]
    return [
        EvaluatorSpeed(
            **provenance("cpu"),
            **vars(size),
            task=task,
            backend=backend,
            phase=phase,
            seconds=seconds,
            peak_mib=peak,
            speedup=reference[phase][0] / max(seconds, 1e-9),
            largest_difference=float(np.abs(numbers - expected).max()),
            metrics=dict(zip(COCO_NUMBERS, map(float, numbers), strict=True)),
        )
        for backend, (phases, numbers) in runs.items()
        for phase, (seconds, peak) in phases.items()
    ]


Phases = dict[str, tuple[float, float]]


def _in_own_process(size: EvaluationSize, task: str, backend: str) -> tuple[Phases, np.ndarray]:
    context = multiprocessing.get_context("spawn")  # a forked one would inherit our peak
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_evaluation, size, task, backend).result()


@collector_paused()
def run_evaluation(size: EvaluationSize, task: str, backend: str) -> tuple[Phases, np.ndarray]:
    """Evaluates once in this process: seconds and peak MiB of every phase, and twelve numbers."""
    truth, predictions = generate(size, masks=task == "segm")
    category_ids = [category["id"] for category in truth["categories"]]
    image_ids = [image["id"] for image in truth["images"]]
    ends = [(time.perf_counter(), 0.0)]

    def phase_ended() -> None:
        ends.append((time.perf_counter(), status_bytes("VmHWM") / 2**20))

    with redirect_stdout(StringIO()):
        results = coco_results(predictions, task, category_ids)
        phase_ended()
        evaluation = open_evaluation(truth, results, task, category_ids, image_ids, backend)
        phase_ended()
        evaluation.evaluate()
        phase_ended()
        evaluation.accumulate()
        numbers = read_numbers(evaluation, category_ids)
        phase_ended()
    phases = {
        name: (end - begin, peak)
        for name, ((begin, _), (end, peak)) in zip(PHASES[:-1], pairwise(ends), strict=True)
    }
    phases[PHASES[-1]] = (ends[-1][0] - ends[0][0], ends[-1][1])
    return phases, numbers.stats


def generate(size: EvaluationSize, masks: bool = False) -> tuple[dict, list[dict]]:
    """Truth and detections with COCO's proportions, invented.

    Seven instances an image, log-normal areas, a hundredth of crowds, a hundredth of the images
    without truth; detections are disturbed boxes of the truth, six in ten of the right category.

    Args:
        size: how much.
        masks: also masks, octagons in the boxes.

    Returns:
        The content of an instances file, and predictions as `coco_results` takes them.
    """
    rng = np.random.default_rng(size.seed)
    image_of = np.repeat(np.arange(size.images), rng.geometric(1 / 7.3, size.images))
    count = len(image_of)
    area = np.exp(rng.normal(8, 1.9, count)).clip(16, 250_000)
    aspect = np.exp(rng.normal(0, 0.5, count))
    sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1)
    sides = sides.clip(2, (WIDTH - 1, HEIGHT - 1))
    corners = rng.random((count, 2)) * ((WIDTH, HEIGHT) - sides)
    boxes = np.concatenate([corners, sides], axis=1).round(2)
    labels = rng.zipf(1.5, count) % size.categories
    crowd = rng.random(count) < 0.012
    kept = rng.random(size.images)[image_of] >= 0.01

    truth = {
        "images": [
            {"id": i + 1, "width": WIDTH, "height": HEIGHT, "file_name": f"{i + 1:012}.jpg"}
            for i in range(size.images)
        ],
        "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(size.categories)],
        "annotations": _annotations(image_of[kept], boxes[kept], labels[kept], crowd[kept], masks),
    }
    # The truth of image i begins at first[i]; every image has some before `kept` thins it out.
    first = np.searchsorted(image_of, np.arange(size.images + 1))
    found_in = np.sort(np.arange(size.detections) % size.images)
    span = np.diff(first)[found_in]
    source = first[found_in] + (rng.random(size.detections) * span).astype(int)
    disturbed = boxes[source] * np.exp(rng.normal(0, 0.1, (size.detections, 4)))
    invented = rng.integers(size.categories, size=size.detections)
    named = np.where(rng.random(size.detections) < 0.6, labels[source], invented)
    scores = rng.random(size.detections, dtype=np.float32)
    bounds = np.searchsorted(found_in, np.arange(size.images + 1))
    predictions = [
        _prediction(i + 1, disturbed[a:b], named[a:b], scores[a:b], masks)
        for i, (a, b) in enumerate(pairwise(bounds))
    ]
    return truth, predictions


def _annotations(
    image_of: np.ndarray, boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray, masks: bool
) -> list[dict[str, Any]]:
    area = boxes[:, 2] * boxes[:, 3] * 7 / 9  # of the octagon
    columns = [image_of + 1, labels + 1, boxes, area, crowd.astype(int)]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    annotations: list[dict[str, Any]] = [
        dict(id=number, image_id=image, category_id=category, bbox=box, area=area, iscrowd=is_crowd)
        for number, (image, category, box, area, is_crowd) in enumerate(rows, 1)
    ]
    if masks:
        for annotation, polygon in zip(annotations, octagons(boxes), strict=True):
            annotation["segmentation"] = [polygon]
    return annotations


def _prediction(
    image_id: int, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, masks: bool
) -> dict[str, Any]:
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    prediction = {
        "img_id": image_id,
        "bboxes": corners.astype(np.float32),
        "labels": labels,
        "scores": scores,
    }
    if masks:
        prediction["masks"] = mask.frPyObjects(octagons(boxes), HEIGHT, WIDTH) if len(boxes) else []
    return prediction


def octagons(boxes: np.ndarray) -> list[list[float]]:
    """Polygons in boxes ``(N, 4)`` as corner and sides, each as x and y in turn."""
    points = boxes[:, None, :2] + OCTAGON * boxes[:, None, 2:]
    return points.reshape(len(boxes), -1).tolist()
