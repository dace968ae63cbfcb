"""Classes, sizes and shapes of a data set as widgets that the page draws."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from casvit_dense.report.data.truth import UNLABELLED, CocoTruth, MapTruth, Truth, image_sizes
from casvit_dense.report.widgets import Widget

#: COCO's limits of small, medium and large objects: sides of squares in pixels.
SMALL, LARGE = 32, 96

#: Rows of the table of image sizes.
SIZES = 8

#: Bins between a value and its tenfold, and empty ones at each end.
PER_DECADE, MARGIN = 15, 2


def data_widgets(truth: Truth, classes: Sequence[str]) -> Iterator[Widget]:
    """All figures of a data set."""
    if isinstance(truth, CocoTruth):
        yield from _objects(truth, classes)
    else:
        yield _pixels(truth, classes)
    sizes = image_sizes(truth)
    yield _size_table(sizes)
    ratios = [width / height for width, height in sizes]
    yield _histogram("Aspect ratios of images", "width / height", ratios, "images")


def _objects(truth: CocoTruth, classes: Sequence[str]) -> Iterator[Widget]:
    objects = np.bincount(truth.label, minlength=len(classes))
    pairs = np.unique(np.stack([truth.label, truth.image]), axis=1)
    images = np.bincount(pairs[0], minlength=len(classes))
    yield _bars(
        "Objects of each class",
        [
            (name, int(objects[i]), f"{objects[i]:,}", f"in {images[i]:,} images")
            for i, name in enumerate(classes)
        ],
    )
    width, height = truth.boxes[(truth.boxes[:, 2:] > 0).all(1), 2:].T
    sides = np.sqrt(width * height)
    shares = [(sides < SMALL).mean(), (sides > LARGE).mean()] if len(sides) else [0, 0]
    yield {
        **_histogram("Sizes of objects", "√(width · height) of the box, pixels", sides, "objects"),
        "note": f"{100 * shares[0]:.0f} % are small (below {SMALL}² pixels), "
        f"{100 * (1 - sum(shares)):.0f} % medium, {100 * shares[1]:.0f} % large (above {LARGE}²).",
    }
    yield _histogram("Aspect ratios of objects", "width / height", width / height, "objects")
    counts = np.bincount(truth.image, minlength=len(truth.names))
    empty = int((counts == 0).sum())
    yield {
        "kind": "histogram",
        "title": "Objects in an image",
        "note": f"{counts.mean():.1f} on average, {counts.max()} at most; {empty:,} images have "
        "none.",
        "label": "objects",
        "log": False,
        "unit": "images",
        **_whole_bins(counts),
    }


def _pixels(truth: MapTruth, classes: Sequence[str]) -> Widget:
    pixels, maps, read = Counter[int](), Counter[int](), 0
    for found in truth.facts():
        counts = Counter[int]()
        for label, count in found.labels:
            counts[truth.class_of(label)] += count
        pixels += counts
        maps.update(counts.keys())
        read += bool(counts)
    total = max(pixels.total(), 1)
    rows = [
        (name, 100 * pixels[i] / total, _percent(pixels[i] / total), f"in {maps[i]:,} maps")
        for i, name in enumerate(classes[:UNLABELLED])
    ]
    return {
        **_bars("Pixels of each class", rows),
        "note": f"Share of all pixels of {read:,} maps; "
        f"{_percent(pixels[UNLABELLED] / total)} have no class.",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else "< 0.1 %"


def _bars(title: str, rows: Sequence[tuple[str, float, str, str]]) -> Widget:
    rows = sorted(rows, key=lambda row: -row[1])
    return {
        "kind": "bars",
        "title": title,
        "caption": title,
        "most": None,
        "rows": [[name, round(float(value), 4), text, more] for name, value, text, more in rows],
    }


def _size_table(sizes: Sequence[tuple[int, int]]) -> Widget:
    common = Counter(sizes).most_common(SIZES)
    rows = [
        [f"{width} x {height}", count, f"{100 * count / len(sizes):.0f} %"]
        for (width, height), count in common
    ]
    rest = len(set(sizes)) - len(rows)
    widest = max((width for width, _ in sizes), default=0)
    highest = max((height for _, height in sizes), default=0)
    return {
        "kind": "table",
        "title": "Sizes of images",
        "note": f"The most frequent; {rest:,} further sizes. Up to {widest:,} pixels wide and "
        f"{highest:,} high.",
        "caption": "Sizes of images in pixels",
        "columns": ["Width x height", "Images", "Share"],
        "rows": rows,
    }


def _histogram(title: str, label: str, values: ArrayLike, unit: str) -> Widget:
    """Bins of equal ratio."""
    values = np.asarray(values, float)
    low, high = (values.min(), values.max()) if len(values) else (1.0, 1.0)
    first = np.floor(np.log10(low) * PER_DECADE + 1e-9)
    last = max(np.floor(np.log10(high) * PER_DECADE + 1e-9) + 1, first + 1)
    edges = 10 ** (np.arange(first - MARGIN, last + MARGIN + 1) / PER_DECADE)
    return {
        "kind": "histogram",
        "title": title,
        "label": label,
        "log": True,
        "unit": unit,
        **_bins(values, edges),
    }


def _whole_bins(values: NDArray[np.int64], most: int = 40) -> dict[str, Any]:
    """Bins of whole numbers, at most ``most`` of them."""
    width = -(-(int(values.max()) + 1) // most)
    return _bins(values, np.arange(0, values.max() + width + 1, width))


def _bins(values: NDArray[Any], edges: NDArray[Any]) -> dict[str, Any]:
    counts, _ = np.histogram(values, edges)
    return {"edges": [float(f"{edge:.4g}") for edge in edges], "counts": counts.tolist()}
