"""Analyses and comparisons as text for a terminal."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from casvit_dense.analysis.records import (
    Analysis,
    Change,
    Comparison,
    Confusion,
    DetectionAnalysis,
    ImageScore,
    MapAnalysis,
)

#: A figure as text.
Show = Callable[[float | None], str]

#: Rows of the lists of confusions and images.
SHOWN = 10


def aligned(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with the first column aligned left, the others right."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def points(value: float | None, digits: int = 1) -> str:
    """A fraction in points, i.e. times 100; a dash for none."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """A percentage; a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def describe(analysis: Analysis) -> str:
    """The whole analysis, as ``casvit-dense analyze`` prints it."""
    parts = [text for d in analysis.detection.values() for text in _detection(analysis.name, d)]
    if analysis.maps:
        parts += _maps(analysis.name, analysis.maps)
    return "\n\n".join([*parts, *(f"note: {note}" for note in analysis.notes)])


def _detection(name: str, d: DetectionAnalysis) -> Iterator[str]:
    yield f"{name}, {d.kind}: {d.images} images, {d.objects} objects, {d.detections} detections"
    yield aligned(
        ("size", "objects", "AP", "AP50", "AP75"),
        [(s.size, s.objects, points(s.ap), points(s.ap50), points(s.ap75)) for s in d.sizes],
    )
    yield aligned(
        ("what is wrong", "count", "AP50 gained without"),
        [(e.kind, e.count, points(e.gain)) for e in d.error_kinds],
    )
    yield aligned(
        ("class", "objects", "AP", "AP50", "AP75", "small", "medium", "large"),
        [
            (
                *(c.name, c.objects),
                *map(points, (c.ap, c.ap50, c.ap75, c.small, c.medium, c.large)),
            )
            for c in d.classes
        ],
    )
    p = d.operating_point
    yield (
        f"from score {p.score:.3f} on ({p.chosen}): precision {points(p.precision)}, recall "
        f"{points(p.recall)}, F1 {points(p.f1)}"
    )
    yield _confusions(d.confusion, "objects")
    yield _calibration(d)
    yield _images(d.worst, "F1", points)


def _calibration(d: DetectionAnalysis) -> str:
    c = d.calibration
    bins = [f"{low:.1f}-{high:.1f}" for low, high in zip(c.edges, c.edges[1:], strict=False)]
    table = aligned(
        ("score", "detections", "mean score", "precision"),
        [
            (name, n, points(score), points(precision))
            for name, n, score, precision in zip(bins, c.counts, c.score, c.precision, strict=True)
        ],
    )
    return f"{table}\nexpected calibration error {points(c.error)}"


def _maps(name: str, m: MapAnalysis) -> Iterator[str]:
    yield f"{name}, maps: {m.images} images, {m.pixels} pixels"
    yield f"mIoU {percent(m.miou)}, mAcc {percent(m.macc)}, aAcc {percent(m.aacc)}"
    yield aligned(
        ("class", "pixels", "IoU", "Acc"),
        [(c.name, c.pixels, percent(c.iou), percent(c.acc)) for c in m.classes],
    )
    yield _confusions(m.confusion, "pixels")
    yield _images(m.worst, "mIoU", percent)


def _confusions(confusion: Confusion, unit: str) -> str:
    """The most frequent confusions; of detections without the background, see the error kinds."""
    names = [name for name in confusion.names if unit == "pixels" or name != "background"]
    most = sorted(
        (
            (confusion.counts[t][p], truth, predicted)
            for t, truth in enumerate(names)
            for p, predicted in enumerate(names)
            if t != p and confusion.counts[t][p]
        ),
        key=lambda row: -row[0],
    )[:SHOWN]
    if not most:
        return "no two classes were confused"
    return aligned(("confused most", "for", unit), [(t, p, n) for n, t, p in most])


def _images(images: Sequence[ImageScore], score: str, show: Show) -> str:
    """The first `SHOWN` images; those of maps have no counts."""
    counts = ("correct", "wrong", "missed") if any(i.wrong is not None for i in images) else ()
    rows = [
        (image.file, show(image.score), *(getattr(image, count) for count in counts))
        for image in images[:SHOWN]
    ]
    return aligned(("worst images", score, *counts), rows)


def describe_comparison(comparison: Comparison) -> str:
    """The comparison, as ``casvit-dense compare`` prints it."""
    c = comparison
    show: Show = percent if c.kind == "maps" else partial(points, digits=2)
    classes = sorted(c.classes, key=lambda k: -abs(k.difference or 0))
    rows = [_change(change, show) for change in (c.total, *classes)]
    low, high = c.total.low, c.total.high
    certain = low is not None and high is not None and (low > 0 or high < 0)
    verdict = "excludes" if certain else "covers"
    parts = [
        f"A: {c.first}\nB: {c.second}\n{c.images} images, {c.resamples} resamples, seed {c.seed}",
        aligned(("", "A", "B", "B - A", "95 % interval"), rows),
        f"The interval of {c.total.name} {verdict} zero; B is better in "
        f"{100 * c.better:.1f} % of the resamples.",
    ]
    if c.changed:
        changed = [(i.file, show(i.first), show(i.second)) for i in c.changed[:SHOWN]]
        parts.append(aligned(("images that changed most", "A", "B"), changed))
    return "\n\n".join([*parts, *(f"note: {note}" for note in c.notes)])


def _change(change: Change, show: Show) -> tuple[str, ...]:
    signed = "-" if change.difference is None else show(change.difference)
    if change.difference is not None and change.difference > 0:
        signed = f"+{signed}"
    interval = "-" if change.low is None else f"{show(change.low)} to {show(change.high)}"
    return change.name, show(change.first), show(change.second), signed, interval
