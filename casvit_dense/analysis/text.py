"""Analyses and comparisons as text for a terminal."""

from collections.abc import Callable, Iterator, Sequence

from casvit_dense.analysis.records import (
    Analysis,
    Change,
    Comparison,
    Confusion,
    DetectionAnalysis,
    ImageScore,
    MapAnalysis,
)
from casvit_dense.results.table import NOTHING, Table, shown

#: A figure as text.
Show = Callable[[float | None], str]

#: Rows of the lists of confusions and images.
SHOWN = 10

#: Kinds of error whose names do not explain themselves.
KIND_TITLES = {"both": "class and location"}


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join(Table(columns, [[str(cell) for cell in row] for row in rows]).text())


def points(value: float | None, form: str = "{:.1f}") -> str:
    """A fraction in points, i.e. times 100."""
    return shown(None if value is None else 100 * value, form)


def describe(analysis: Analysis) -> str:
    """The whole analysis, as ``casvit-dense analyze`` prints it."""
    parts = [text for d in analysis.detection.values() for text in _detection(analysis.name, d)]
    if analysis.maps:
        parts += _maps(analysis.name, analysis.maps)
    return "\n\n".join([*parts, *(f"note: {note}" for note in analysis.notes)])


def _detection(name: str, d: DetectionAnalysis) -> Iterator[str]:
    yield f"{name}, {d.kind}: {d.images} images, {d.objects} objects, {d.detections} detections"
    yield _table(
        ("size", "objects", "AP", "AP50", "AP75"),
        [(s.size, s.objects, points(s.ap), points(s.ap50), points(s.ap75)) for s in d.sizes],
    )
    yield _table(
        ("what is wrong", "count", "AP50 gained without"),
        [(KIND_TITLES.get(e.kind, e.kind), e.count, points(e.gain)) for e in d.error_kinds],
    )
    yield _table(
        ("class", "objects", "AP", "AP50", "AP75", "small", "medium", "large"),
        [
            (
                *(c.name, c.objects),
                *map(points, (c.ap, c.ap50, c.ap75, c.small, c.medium, c.large)),
            )
            for c in d.classes
        ],
    )
    if d.detections:
        p = d.operating_point
        yield (
            f"score threshold {p.score:.3f} ({p.chosen}): precision {points(p.precision)}, recall "
            f"{points(p.recall)}, F1 {points(p.f1)}"
        )
        yield _confusions(d.confusion, "objects")
        yield _calibration(d)
    yield _images(d.worst, "F1", points)


def _calibration(d: DetectionAnalysis) -> str:
    c = d.calibration
    bins = [f"{low:.1f}-{high:.1f}" for low, high in zip(c.edges, c.edges[1:], strict=False)]
    table = _table(
        ("score bin", "detections", "mean score, %", "correct, %"),
        [
            (name, n, points(score), points(precision))
            for name, n, score, precision in zip(bins, c.counts, c.score, c.precision, strict=True)
        ],
    )
    return f"{table}\nexpected calibration error {points(c.error)} points"


def _maps(name: str, m: MapAnalysis) -> Iterator[str]:
    yield f"{name}, maps: {m.images} images, {m.pixels} pixels"
    yield f"mIoU {shown(m.miou)}, mAcc {shown(m.macc)}, aAcc {shown(m.aacc)}"
    yield _table(
        ("class", "pixels", "IoU", "Acc"),
        [(c.name, c.pixels, shown(c.iou), shown(c.acc)) for c in m.classes],
    )
    yield _confusions(m.confusion, "pixels")
    yield _images(m.worst, "mIoU", shown)


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
    return _table(("confused most", "for", unit), [(t, p, n) for n, t, p in most])


def _images(images: Sequence[ImageScore], score: str, show: Show) -> str:
    """The first `SHOWN` images; those of maps have no counts."""
    counts = ("correct", "wrong", "missed") if any(i.wrong is not None for i in images) else ()
    rows = [
        (image.file, show(image.score), *(getattr(image, count) for count in counts))
        for image in images[:SHOWN]
    ]
    return _table(("worst images", score, *counts), rows)


def describe_comparison(comparison: Comparison) -> str:
    """The comparison, as ``casvit-dense compare`` prints it."""
    c = comparison
    show: Show = shown if c.kind == "maps" else lambda value: points(value, "{:.2f}")
    classes = sorted(c.classes, key=lambda k: -abs(k.difference or 0))
    rows = [_change(change, show) for change in (c.total, *classes)]
    low, high = c.total.low, c.total.high
    certain = low is not None and high is not None and (low > 0 or high < 0)
    verdict = "excludes" if certain else "covers"
    parts = [
        f"A: {c.first}\nB: {c.second}\n{c.images} images, {c.resamples} resamples, seed {c.seed}",
        _table(("", "A", "B", "B - A", "95 % interval"), rows),
        f"The interval of {c.total.name} {verdict} zero; B is better in "
        f"{100 * c.better:.1f} % of the resamples.",
    ]
    if c.changed:
        changed = [(i.file, show(i.first), show(i.second)) for i in c.changed[:SHOWN]]
        parts.append(_table(("images that changed most", "A", "B"), changed))
    return "\n\n".join([*parts, *(f"note: {note}" for note in c.notes)])


def _change(change: Change, show: Show) -> tuple[str, ...]:
    sign = "+" if (change.difference or 0) > 0 else ""
    signed = sign + show(change.difference)
    interval = NOTHING if change.low is None else f"{show(change.low)} to {show(change.high)}"
    return change.name, show(change.first), show(change.second), signed, interval
