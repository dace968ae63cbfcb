"""Masks of COCO files: polygons and run lengths, read strictly and measured in bulk."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from casvit_dense.data.findings import KINDS, Kind
from casvit_dense.log import LOG
from casvit_dense.progress import Progress

#: What an annotation without the key ``segmentation`` has.
NO_MASK: Final = Raw(b"")
#: The same in other spellings, without spaces: boxes alone, as Roboflow and others write them.
EMPTY: Final = (b"", b"null", b"[]", b"{}", b'""')
LONGEST_EMPTY: Final = 99  # with its spaces: long masks are not copied to be compared

MASK_FORM = KINDS["mask-form"]
MASK_NUMBER = KINDS["mask-not-finite"]
MASK_POINTS = KINDS["mask-points"]
MASK_RUNS = KINDS["mask-runs"]


class RunLengths(msgspec.Struct):
    """COCO's run lengths, column by column, beginning with zeros; compressed as text."""

    size: tuple[int, int]
    counts: list[int] | str


_POLYGONS: Final = msgspec.json.Decoder(list[list[float]])
_RUNS: Final = msgspec.json.Decoder(RunLengths)


class MaskFaultError(Exception):
    """A mask that cannot be used: its kind of fault and what it holds."""

    def __init__(self, kind: Kind, example: str) -> None:
        super().__init__(example)
        self.kind = kind


def is_empty(mask: Raw) -> bool:
    """Whether an annotation has no mask."""
    text = bytes(mask)
    return len(text) <= LONGEST_EMPTY and b"".join(text.split()) in EMPTY


def read_mask(mask: Raw) -> list[list[float]] | RunLengths:
    """Polygons, or run lengths with decoded counts.

    Raises:
        MaskFaultError: the mask cannot be used.
    """
    text = bytes(mask)
    is_list = text[:1] == b"["
    try:
        if not is_list:
            runs = _RUNS.decode(text)
            counts = runs.counts
            runs.counts = decode_counts(counts) if isinstance(counts, str) else counts
            check_runs(runs)
            return runs
        polygons = _POLYGONS.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        kind = MASK_FORM if is_list or isinstance(error, msgspec.MsgspecError) else MASK_RUNS
        if is_list and any(word in text for word in (b'"NaN', b'Infinity"', b"e+", b'"1e')):
            kind = MASK_NUMBER
        raise MaskFaultError(kind, shortened(text)) from error
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise MaskFaultError(MASK_POINTS, shortened(text))
    return polygons


def shortened(text: bytes, length: int = 60) -> str:
    """The beginning of a piece of JSON."""
    words = text.decode(errors="replace")
    return words if len(words) <= length else f"{words[:length]}…"


def decode_counts(text: str) -> list[int]:
    """Counts of compressed run lengths (pycocotools, ``rleFrString``), without its C code.

    That code writes beyond its memory where counts are larger than the mask.

    Raises:
        ValueError: the text holds other signs, or ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for sign in text:
        digit = ord(sign) - 48
        if not 0 <= digit < 64:
            raise ValueError(f"{sign!r} is no sign of compressed run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the text ends within a number")
    return counts


def check_runs(runs: RunLengths) -> None:
    """Raises ValueError where run lengths do not fill their size."""
    height, width = runs.size
    counts: Sequence[int] = runs.counts  # type: ignore[assignment]  # decoded by now
    if height < 1 or width < 1 or min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise ValueError("the counts do not fill the size")


def polygon_area(polygon: Sequence[float]) -> float:
    """Pixels of one polygon by the shoelace formula; `_measure` takes many, and takes longer."""
    xs, ys = polygon[::2], polygon[1::2]
    after = [*range(1, len(xs)), 0]
    return abs(sum(xs[i] * ys[j] - xs[j] * ys[i] for i, j in enumerate(after))) / 2


def mask_area(mask: Raw) -> float | None:
    """Pixels of a mask, polygons as in COCO's files; None without one."""
    if is_empty(mask):
        return None
    try:
        read = read_mask(mask)
    except MaskFaultError:
        return None
    if isinstance(read, RunLengths):
        return float(sum(read.counts[1::2]))  # type: ignore[arg-type]
    return float(sum(map(polygon_area, read)))


class Measured(NamedTuple):
    """Masks in numbers.

    Attributes:
        present: ``(N,)``, whether an annotation has a mask.
        extents: ``(N, 4)``, x1, y1, x2, y2 of its polygons; NaN where it has none.
        areas: ``(N,)`` in pixels; NaN without a usable mask.
    """

    present: NDArray[np.bool_]
    extents: NDArray[np.float64]
    areas: NDArray[np.float64]


PROGRESS_SECONDS: Final = 5.0

#: Annotations whose polygons are measured at once.
CHUNK: Final = 20_000


@dataclass
class _Batch:
    polygons: list[list[list[float]]]
    rows: list[int]


def measure_masks(
    masks: Sequence[Raw],
    sizes: Sequence[tuple[int, int] | None],
    report: Callable[[Kind, int, str], None],
) -> Measured:
    """Reads every mask.

    Args:
        masks: of ``N`` annotations.
        sizes: height and width of each one's image; None where that is unknown.
        report: is told the kind of a fault, the annotation's index and what the mask holds.
    """
    count = len(masks)
    present = np.ones(count, bool)
    extents, areas = np.full((count, 4), np.nan), np.full(count, np.nan)
    batch = _Batch([], [])

    def flush() -> None:
        if batch.rows:
            extents[batch.rows], areas[batch.rows] = _measure(batch.polygons)
            batch.polygons.clear()
            batch.rows.clear()

    tracked = Progress("mask", count, PROGRESS_SECONDS).track(masks, LOG.info)
    for row, (mask, size) in enumerate(zip(tracked, sizes, strict=True)):
        if is_empty(mask):
            present[row] = False
            continue
        try:
            read = read_mask(mask)
        except MaskFaultError as fault:
            report(fault.kind, row, str(fault))
            continue
        if isinstance(read, RunLengths):
            if size is not None and read.size != size:
                report(MASK_RUNS, row, f"size {list(read.size)}, image {list(size)}")
            areas[row] = sum(read.counts[1::2])  # type: ignore[arg-type]
            continue
        batch.polygons.append(read)
        batch.rows.append(row)
        if len(batch.rows) == CHUNK:
            flush()
    flush()
    return Measured(present, extents, areas)


def _measure(
    objects: Sequence[Sequence[Sequence[float]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Extents and areas of objects, each a list of polygons with three points or more."""
    flat = array("d")
    points, parts = [], []
    for polygons in objects:
        parts.append(len(polygons))
        for polygon in polygons:
            flat.extend(polygon)
            points.append(len(polygon) // 2)
    xy = np.frombuffer(flat).reshape(-1, 2)
    first_point = np.concatenate([[0], np.cumsum(points)[:-1]])
    first_part = np.concatenate([[0], np.cumsum(parts)[:-1]])
    following = np.arange(1, len(xy) + 1)
    following[first_point + points - 1] = first_point  # polygons are closed
    cross = xy[:, 0] * xy[following, 1] - xy[following, 0] * xy[:, 1]
    areas = np.add.reduceat(np.abs(np.add.reduceat(cross, first_point)) / 2, first_part)
    low = np.minimum.reduceat(np.minimum.reduceat(xy, first_point), first_part)
    high = np.maximum.reduceat(np.maximum.reduceat(xy, first_point), first_part)
    return np.hstack([low, high]), areas
