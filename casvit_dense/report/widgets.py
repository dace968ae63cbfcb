"""An analysis as widgets that the page draws: bars, lines, matrices, tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from casvit_dense.analysis.detection import ERROR_KINDS
from casvit_dense.analysis.records import Analysis, Confusion, DetectionAnalysis, MapAnalysis
from casvit_dense.report.grid import number_cell

#: Data for ``analysis.js``; the key ``kind`` says what it draws.
Widget = dict[str, Any]

OUTLINES = {"bbox": "Boxes", "segm": "Masks"}

ERRORS_NOTE = (
    "What AP50 would gain, in points, if one kind of error were corrected, and how often it "
    "occurs. Kinds as in TIDE; both: wrong class and wrong place."
)


def analysis_widgets(analysis: Analysis) -> list[Widget]:
    """All figures of an analysis, boxes first."""
    found = [widget for part in analysis.detection.values() for widget in _detection(part)]
    return found + (list(_maps(analysis.maps)) if analysis.maps else [])


def class_widgets(per_class: Mapping[str, Mapping[str, float | None]]) -> list[Widget]:
    """The values of every class as a row of the ledger keeps them: for models without predictions.

    Those of boxes and masks are fractions, those of maps percent.
    """
    return [
        _bars(
            f"{OUTLINES.get(kind, kind)}: {'AP' if kind in OUTLINES else kind} of each class",
            [(name, _scaled(v, 100 if kind in OUTLINES else 1), "") for name, v in values.items()],
        )
        for kind, values in per_class.items()
    ]


def _detection(part: DetectionAnalysis) -> Iterator[Widget]:
    name = OUTLINES[part.kind]
    errors = [error for error in part.error_kinds if error.kind in ERROR_KINDS]
    yield {
        **_bars(
            f"{name}: kinds of error",
            [(e.kind, _scaled(e.gain, 100), f"{e.count:,} times") for e in errors],
            signed=True,
        ),
        "note": ERRORS_NOTE,
    }
    yield {
        "kind": "table",
        "title": f"{name}: AP by size",
        "note": "Small: below 32² pixels; large: above 96².",
        "caption": f"{name}: AP by size of the objects",
        "columns": ["Size", "Objects", "AP", "AP50", "AP75"],
        "rows": [
            [
                s.size,
                f"{s.objects:,}",
                *(_text(_scaled(v, 100)) for v in (s.ap, s.ap50, s.ap75)),
            ]
            for s in part.sizes
        ],
    }
    yield _precision(name, part)
    yield _calibration(name, part)
    point = part.operating_point
    yield {
        **_matrix(f"{name}: confusion", part.confusion),
        "note": f"Detections from score {point.score:.2f} on ({point.chosen}): precision "
        f"{100 * point.precision:.1f} %, recall {100 * point.recall:.1f} %. Column “background”: "
        "missed objects; row “background”: detections of nothing.",
    }
    yield _bars(
        f"{name}: AP of each class",
        [(c.name, _scaled(c.ap, 100), f"{c.objects:,} in truth") for c in part.classes],
        most=100,
    )


def _maps(part: MapAnalysis) -> Iterator[Widget]:
    yield _bars(
        "IoU of each class",
        [(c.name, c.iou, f"Acc {_text(c.acc)}") for c in part.classes],
        most=100,
    )
    yield {
        **_matrix("Confusion", part.confusion),
        "note": f"Pixels of {part.images:,} images; {_text(part.aacc)} % of them are right.",
    }


def _precision(name: str, part: DetectionAnalysis) -> Widget:
    """The means over the classes, then every class at the first overlap."""
    first, *_ = part.curves
    series = [{"name": f"mean, IoU {c.overlap}", "ys": _rounded(c.mean)} for c in part.curves]
    series += [
        {"name": f"{label}, IoU {first.overlap}", "ys": _rounded(values)}
        for label, values in first.classes.items()
    ]
    return {
        "kind": "lines",
        "title": f"{name}: precision and recall",
        "xs": [i / 100 for i in range(len(first.mean))],
        "x": {"label": "recall", "domain": [0, 1]},
        "y": {"label": "precision", "domain": [0, 1]},
        "series": series,
        "shown": len(part.curves),
    }


def _calibration(name: str, part: DetectionAnalysis) -> Widget:
    calibration = part.calibration
    pairs = zip(calibration.score, calibration.precision, strict=True)
    points = [(score, right) for score, right in pairs if score is not None and right is not None]
    return {
        "kind": "lines",
        "title": f"{name}: calibration",
        "note": "Share of detections with similar scores that are correct; on the dotted line it "
        f"equals the score. Expected calibration error {_text(_scaled(calibration.error, 100))} "
        "points.",
        "x": {"label": "score", "domain": [0, 1]},
        "y": {"label": "share of correct detections", "domain": [0, 1]},
        "diagonal": True,
        "series": [
            {
                "name": "detections",
                "xs": _rounded([score for score, _ in points]),
                "ys": _rounded([right for _, right in points]),
            }
        ],
    }


def _bars(
    title: str,
    rows: Sequence[tuple[str, float | None, str]],
    most: float | None = None,
    signed: bool = False,
) -> Widget:
    """Bars with label, length and remark; unsigned ones are sorted by length."""
    if not signed:
        rows = sorted(rows, key=lambda row: -1.0 if row[1] is None else row[1], reverse=True)
    form = "{:+.1f}" if signed else "{:.1f}"
    return {
        "kind": "bars",
        "title": title,
        "caption": title,
        "most": most,
        "rows": [[label, _round(v), _text(v, form), more] for label, v, more in rows],
    }


def _matrix(title: str, confusion: Confusion) -> Widget:
    cells = [
        [row, column, count]
        for row, counts in enumerate(confusion.counts)
        for column, count in enumerate(counts)
        if count
    ]
    return {
        "kind": "matrix",
        "title": title,
        "caption": title,
        "names": confusion.names,
        "cells": cells,
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _text(value: float | None, form: str = "{:.1f}") -> str:
    return number_cell(value, form).text


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
