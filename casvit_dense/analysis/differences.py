"""What a comparison of two systems says, as plain dataclasses; units as in `records`."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """From system A to system B.

    Attributes:
        name: of the metric or the class.
        first, second: the value of A and of B.
        difference: B less A.
        low, high: ends of its 95 % interval.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ImageChange:
    """One image under both systems; scores as in `ImageScore`."""

    image: int | str
    file: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same images.

    Attributes:
        first, second: their names.
        kind: ``'bbox' | 'segm' | 'maps'``.
        images: how many both predicted.
        total: change of AP or mIoU.
        better: part of the resamples in which B is better.
        resamples, seed: of the bootstrap.
        classes: change of every class, in the order of the classes.
        changed: images whose score changed most, the largest change first.
        notes: what a reader must know, e.g. that figures differ from those of an evaluation.
    """

    first: str
    second: str
    kind: str
    images: int
    total: Change
    better: float
    resamples: int
    seed: int
    classes: list[Change]
    changed: list[ImageChange]
    notes: list[str] = field(default_factory=list)
