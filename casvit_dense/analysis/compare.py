"""Two systems on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from casvit_dense.analysis import bootstrap
from casvit_dense.analysis.columns import Detections, Truth, read_detections, read_truth
from casvit_dense.analysis.detection import LISTED, Outcome, image_scores, operating_point
from casvit_dense.analysis.differences import Comparison, ImageChange
from casvit_dense.analysis.maps import Pixels, count_pixels, image_overlaps, overlaps
from casvit_dense.analysis.matching import match, overlapping
from casvit_dense.analysis.precision import Ranking, average_precision, mean_over_classes, rankings
from casvit_dense.analysis.progress import Tick, silent
from casvit_dense.analysis.sources import CocoSource, MapSource, Source, find_sources
from casvit_dense.analysis.stated import differences
from casvit_dense.analysis.telling_apart import told_apart
from casvit_dense.errors import UserError


@dataclass(frozen=True)
class System:
    """One system as the comparison needs it.

    Attributes:
        name: of the system.
        classes: names.
        images: ids or names.
        files: of the images.
        truth: what must be equal in both, by name.
        values: value of every class for any weights of the images.
        scores: ``(N,)``, of the images.
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
    tick: Tick = silent,
) -> list[Comparison]:
    """Compares what two evaluations left behind: one comparison for each kind that both have.

    Args:
        first, second: folders of A and B, as `analyse` takes them.
        data_root: folder of the data set, if it is not where the evaluations found it.
        resamples: draws of the bootstrap.
        seed: of the draws.
        tick: told of the progress.

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
    return [compare_sources(ours[k], theirs[k], resamples, seed, tick) for k in common]


def compare_sources(
    first: Source, second: Source, resamples: int = 1000, seed: int = 0, tick: Tick = silent
) -> Comparison:
    """Compares two sets of predictions of one kind; arguments and errors as in `compare`."""
    pair = (first, second)
    folders = [str(source.predictions.parent) for source in pair]
    traits = list(zip_longest(first.traits, second.traits, fillvalue=""))
    names = told_apart([source.name for source in pair], traits, [folders])
    a, b = (_system(replace(s, name=name), tick) for s, name in zip(pair, names, strict=True))
    result = compare_systems(a, b, kind_of(first), resamples, seed, tick)
    found = {"A": (first, result.total.first), "B": (second, result.total.second)}
    notes = [
        f"{label}: {note}"
        for label, (source, value) in found.items()
        for note in differences(source, value)
    ]
    return replace(result, notes=notes)


def compare_systems(
    a: System, b: System, kind: str, resamples: int = 1000, seed: int = 0, tick: Tick = silent
) -> Comparison:
    """Compares two systems of one kind; arguments and errors as in `compare`."""
    check_same_truth(a, b)
    systems, count = (a.values, b.values), len(a.images)
    whole = bootstrap.whole(systems, count)
    drawn = bootstrap.resample(systems, count, resamples, seed, tick)
    total = mean_over_classes(drawn)
    metric = "mIoU" if kind == "maps" else f"{kind} AP"
    return Comparison(
        first=a.name,
        second=b.name,
        kind=kind,
        images=count,
        total=bootstrap.change(metric, mean_over_classes(whole), total),
        better=bootstrap.better(total),
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


def _system(source: Source, tick: Tick) -> System:
    if isinstance(source, MapSource):
        return _map_system(source.name, count_pixels(source, tick))
    truth = read_truth(source.truth, source.kind, source.classes, source.indices)
    found = read_detections(source.predictions, source.kind, truth)
    return detector(source.name, truth, found, tick)


def detector(name: str, truth: Truth, found: Detections, tick: Tick = silent) -> System:
    """A system that detects; ``tick`` is told of the progress."""
    matches = match(truth, found, overlapping(truth, found, tick))
    outcome = Outcome.of(matches)
    score = operating_point(found, outcome).score
    by_class = rankings(truth, found, matches)
    return System(
        name=name,
        classes=truth.classes,
        images=truth.image_ids.tolist(),
        files=truth.file_names,
        truth={
            name: getattr(truth, name) for name in ("image_ids", "image", "label", "area", "crowd")
        },
        values=lambda weights: mean_precisions(by_class, weights),
        scores=np.array([i.score for i in image_scores(truth, found, outcome, score)]),
    )


def mean_precisions(by_class: Sequence[Ranking], weights: np.ndarray) -> np.ndarray:
    """AP of every class, mean of all overlaps: ``(B, K)`` for weights ``(B, N)``."""
    return np.stack([average_precision(r, weights).mean(axis=1) for r in by_class], axis=1)


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
    """Both must have been evaluated on the same images, classes and objects.

    Raises:
        UserError: they were not.
    """
    for what, ours, theirs in (
        ("images", a.images, b.images),
        ("classes", a.classes, b.classes),
    ):
        if list(ours) != list(theirs):
            only_a, only_b = len(set(ours) - set(theirs)), len(set(theirs) - set(ours))
            raise UserError(
                f"{a.name} and {b.name} were evaluated on different {what} ({len(ours)} and "
                f"{len(theirs)}; {only_a} only in the first, {only_b} only in the second): there "
                "is no difference to compute"
            )
    if not all(np.array_equal(a.truth[name], b.truth[name]) for name in a.truth):
        raise UserError(
            f"{a.name} and {b.name} were evaluated on the same images with different truth: there "
            "is no difference to compute"
        )


def changed_most(a: System, b: System) -> list[ImageChange]:
    """The images whose score changed most."""
    difference = np.abs(b.scores - a.scores)
    order = np.argsort(-np.nan_to_num(difference), kind="stable")[:LISTED]
    return [
        ImageChange(a.images[i], a.files[i], float(a.scores[i]), float(b.scores[i]))
        for i in order
        if difference[i] > 0
    ]
