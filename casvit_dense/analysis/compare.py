"""Comparison of two systems on the same images."""

from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from casvit_dense.analysis import bootstrap
from casvit_dense.analysis.coco_arrays import Detections, Truth, read_detections, read_truth
from casvit_dense.analysis.detection import LISTED, image_scores, operating_point
from casvit_dense.analysis.maps import Pixels, count_pixels, image_overlaps, overlaps
from casvit_dense.analysis.matching import THRESHOLDS, evaluate, matches_of, mean_over_classes
from casvit_dense.analysis.records import Comparison, ImageChange
from casvit_dense.analysis.sources import (
    CocoSource,
    Log,
    MapSource,
    Source,
    check_reported_metric,
    find_sources,
    no_log,
)
from casvit_dense.errors import UserError
from casvit_dense.results.labels import unique_labels


@dataclass(frozen=True)
class System:
    """One system, prepared for a comparison.

    Attributes:
        truth: arrays that must be equal in both systems.
        values: value of every class for any weights of the images.
        scores: ``(N,)``, scores of the images.
    """

    name: str
    classes: tuple[str, ...]
    images: list[int] | list[str]
    files: tuple[str, ...]
    truth: dict[str, np.ndarray]
    values: bootstrap.ClassValues
    scores: np.ndarray


def compare(
    first: Path,
    second: Path,
    data_root: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    log: Log = no_log,
) -> list[Comparison]:
    """Compares the predictions of two evaluations, for each kind that both have.

    Args:
        first, second: folders of A and B, as `analyse` takes them.
        data_root: folder of the data set, if it was moved since the evaluations.
        resamples: draws of the bootstrap.
        seed: of the draws.
        log: gets lines of progress.

    Raises:
        UserError: a folder cannot be read, the two have no kind in common, or they are of
            different images or truth.
    """
    ours = {kind_of(source): source for source in find_sources(first, data_root)}
    theirs = {kind_of(source): source for source in find_sources(second, data_root)}
    common = [kind for kind in ours if kind in theirs]
    if not common:
        raise UserError(
            f"{first} holds {', '.join(ours)} and {second} {', '.join(theirs)}: nothing to compare"
        )
    return [compare_sources(ours[k], theirs[k], resamples, seed, log) for k in common]


def compare_sources(
    first: Source,
    second: Source,
    resamples: int = 1000,
    seed: int = 0,
    log: Log = no_log,
) -> Comparison:
    """Compares two sets of predictions of one kind; arguments and errors as in `compare`."""
    pair = (first, second)
    folders = [str(source.predictions.parent) for source in pair]
    traits = list(zip_longest(first.traits, second.traits, fillvalue=""))
    names = unique_labels([source.name for source in pair], traits, [folders])
    a, b = (_system(replace(s, name=name), log) for s, name in zip(pair, names, strict=True))
    result = compare_systems(a, b, kind_of(first), resamples, seed, log)
    found = {"A": (first, result.total.first), "B": (second, result.total.second)}
    notes = [
        f"{label}: {note}"
        for label, (source, value) in found.items()
        for note in check_reported_metric(source, value)
    ]
    return replace(result, notes=notes)


def compare_systems(
    a: System,
    b: System,
    kind: str,
    resamples: int = 1000,
    seed: int = 0,
    log: Log = no_log,
) -> Comparison:
    """Compares two systems of one kind; arguments and errors as in `compare`."""
    check_same_truth(a, b)
    systems, count = (a.values, b.values), len(a.images)
    once = np.ones((1, count), int)
    whole = np.stack([values(once)[0] for values in systems])
    drawn = bootstrap.resample(systems, count, resamples, seed, log)
    total = mean_over_classes(drawn)
    metric = "mIoU" if kind == "maps" else f"{kind} AP"
    return Comparison(
        first=a.name,
        second=b.name,
        kind=kind,
        images=count,
        total=bootstrap.change(metric, mean_over_classes(whole), total),
        better=bootstrap.share_better(total),
        resamples=resamples,
        seed=seed,
        classes=[
            bootstrap.change(name, whole[:, k], drawn[:, :, k]) for k, name in enumerate(a.classes)
        ],
        changed=changed_most(a, b),
    )


def kind_of(source: Source) -> str:
    """``'bbox' | 'segm' | 'maps'``."""
    return source.kind if isinstance(source, CocoSource) else "maps"


def _system(source: Source, log: Log) -> System:
    if isinstance(source, MapSource):
        return _map_system(source.name, count_pixels(source, log))
    truth = read_truth(source.truth, source.kind, source.classes, source.indices)
    detections = read_detections(source.predictions, source.kind, truth)
    return detector(source.name, truth, detections, source.kind)


def detector(name: str, truth: Truth, detections: Detections, kind: str) -> System:
    """A system that detects boxes or masks."""
    evaluation = evaluate(truth, detections, kind)
    matches = [matches_of(evaluation, detections, overlap) for overlap in THRESHOLDS]
    score = operating_point(truth, detections, matches[0]).score
    by_class = bootstrap.rankings(truth, detections, matches)

    def mean_precisions(weights: np.ndarray) -> np.ndarray:
        """AP of every class, mean of all overlaps: ``(B, K)`` for weights ``(B, N)``."""
        values = [bootstrap.average_precision(r, weights).mean(axis=1) for r in by_class]
        return np.stack(values, axis=1)

    return System(
        name=name,
        classes=truth.classes,
        images=truth.image_ids.tolist(),
        files=truth.file_names,
        truth={
            "image_ids": truth.image_ids,
            "image": truth.image,
            "label": truth.label,
            "area": truth.area,
            "crowd": truth.crowd,
        },
        values=mean_precisions,
        scores=np.array([i.score for i in image_scores(truth, detections, matches[0], score)]),
    )


def _map_system(name: str, pixels: Pixels) -> System:
    return System(
        name=name,
        classes=pixels.classes,
        images=list(pixels.names),
        files=pixels.files,
        truth={"truth": pixels.truth},
        values=lambda weights: overlaps(pixels, weights),
        scores=image_overlaps(pixels),
    )


def check_same_truth(a: System, b: System) -> None:
    """Checks that both were evaluated on the same images, classes and objects."""
    for what, ours, theirs in (
        ("images", a.images, b.images),
        ("classes", a.classes, b.classes),
    ):
        if list(ours) != list(theirs):
            only_a, only_b = len(set(ours) - set(theirs)), len(set(theirs) - set(ours))
            raise UserError(
                f"{a.name} and {b.name} were evaluated on different {what} ({len(ours)} and "
                f"{len(theirs)}; {only_a} only in the first, {only_b} only in the second): they "
                "cannot be compared"
            )
    if not all(np.array_equal(a.truth[name], b.truth[name]) for name in a.truth):
        raise UserError(
            f"{a.name} and {b.name} were evaluated on the same images with different truth: they "
            "cannot be compared"
        )


def changed_most(a: System, b: System) -> list[ImageChange]:
    """The `LISTED` images whose score changed most, the largest change first."""
    difference = np.abs(b.scores - a.scores)
    order = np.argsort(-np.nan_to_num(difference), kind="stable")[:LISTED]
    return [
        ImageChange(a.images[i], a.files[i], float(a.scores[i]), float(b.scores[i]))
        for i in order
        if difference[i] > 0
    ]
