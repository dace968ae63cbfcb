"""One generated picture: coloured shapes that overlap, and the object of every pixel."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

#: What a scene holds; a label is an index into this tuple.
SHAPES = ("circle", "square", "triangle")

#: Sides of each shape, a circle having none, and its inner radius over its nominal radius,
#: which makes the three shapes about equally large.
SIDES = (0, 4, 3)
INNER_RADIUS = (1.0, 0.88, 0.76)

MIN_VISIBLE = 0.5  # of an object's own area, however many others are drawn over it
TRIALS_PER_OBJECT = 4  # positions tried for an object before it is left out


@dataclass(frozen=True)
class Region:
    """Visible pixels of one object, or of a crowd of objects of one class.

    Attributes:
        label: index into ``SHAPES``.
        mask: ``(size, size)``, true where the object is visible.
        crowd: whether the region is a group of objects without separate masks.
    """

    label: int
    mask: Mask
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """A picture ``(size, size, 3)`` in BGR order, and its regions, which never overlap."""

    image: NDArray[np.uint8]
    regions: tuple[Region, ...]


def draw_scene(rng: np.random.Generator, size: int, num_objects: int, crowd: bool) -> Scene:
    """Draws a scene on a textured ground.

    Args:
        rng: source of every choice; the same state gives the same scene.
        size: side of the picture in pixels.
        num_objects: objects to draw; an object is left out if every tried position would hide too
            much of the others.
        crowd: whether to draw a crowd region first, below the objects.

    Returns:
        The scene, regions in drawing order. Only a crowd region may have holes, so every
        other region is exactly the union of its outer outlines.
    """
    image = draw_ground(rng, size)
    regions: list[Region] = []
    owner: NDArray[np.uint8] = np.zeros(
        (size, size), np.uint8
    )  # 0: ground; n: the region drawn as n-th
    if crowd:
        label = int(rng.integers(len(SHAPES)))
        regions.append(Region(label, draw_crowd(rng, image, label), crowd=True))
        owner[regions[0].mask] = 1
    for _ in range(num_objects):
        label = int(rng.integers(len(SHAPES)))
        for _ in range(TRIALS_PER_OBJECT):
            radius = size * rng.uniform(0.06, 0.2)
            stencil = shape_stencil(rng, size, label, radius, size * rng.uniform(0.1, 0.9, 2))
            covered = np.where(stencil, np.uint8(len(regions) + 1), owner)
            if all(stays_whole(region, covered == n) for n, region in enumerate(regions, 1)):
                owner = covered
                paint(rng, image, stencil)
                regions.append(Region(label, stencil, crowd=False))
                break
    noisy = image + rng.normal(0, 8, image.shape)
    seen = (Region(r.label, owner == n, r.crowd) for n, r in enumerate(regions, 1))
    return Scene(np.clip(noisy, 0, 255).astype(np.uint8), tuple(seen))


def outlines(mask: Mask) -> tuple[list[list[int]], bool]:
    """Outer outlines of a mask along its pixel edges, and whether the mask has holes.

    Returns:
        One list ``[x1, y1, x2, y2, ...]`` of pixel corners for each connected part, so that
        rasterising the lists gives the mask again, pixel for pixel, unless it has holes.
    """
    # OpenCV traces pixel centres. In a mask of three times the size, the centres nearest to an
    # original pixel edge round to that edge.
    large = mask.astype(np.uint8).repeat(3, 0).repeat(3, 1)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [], False
    is_outer = hierarchy[0, :, 3] < 0  # the last entry names the outline around this one
    outer = [c for c, keep in zip(contours, is_outer, strict=True) if keep]
    return [np.rint(c / 3).astype(int).ravel().tolist() for c in outer], not is_outer.all()


def stays_whole(region: Region, visible: Mask) -> bool:
    """Whether enough of a drawn region remains, in a form that outlines can describe."""
    if visible.sum() < MIN_VISIBLE * region.mask.sum():
        return False
    return region.crowd or not outlines(visible)[1]


def draw_ground(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Soft patches of dark colours ``(size, size, 3)``."""
    patches = rng.uniform(40, 90, 3) + rng.uniform(-30, 30, (5, 5, 3))
    ground = cv2.resize(patches, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(ground, np.float64)


def draw_crowd(rng: np.random.Generator, image: NDArray[np.float64], label: int) -> Mask:
    """Paints a tight group of small shapes of one class and returns where it is."""
    size = len(image)
    middle = rng.uniform(0.2, 0.8, 2) * size
    group = np.zeros((size, size), bool)
    for _ in range(12):
        centre = middle + rng.uniform(-0.1, 0.1, 2) * size
        stencil = shape_stencil(rng, size, label, 0.03 * size, centre)
        paint(rng, image, stencil)
        group |= stencil
    return group


def paint(rng: np.random.Generator, image: NDArray[np.float64], stencil: Mask) -> None:
    """Fills a stencil with one colour, brighter than the ground.

    The colour does not depend on the class, so a network has to learn the shapes; bright objects
    on a dark ground make the first steps easy.
    """
    image[stencil] = rng.uniform(130, 250, 3)


def shape_stencil(
    rng: np.random.Generator,
    size: int,
    label: int,
    radius: float,
    centre: NDArray[np.float64],
) -> Mask:
    """Pixels of a shape, turned at random and cut off at the picture's edge.

    Args:
        label: index into ``SHAPES``.
        radius: nominal radius in pixels.
        centre: ``(x, y)`` in pixels.
    """
    x, y = np.meshgrid(np.arange(size) + 0.5 - centre[0], np.arange(size) + 0.5 - centre[1])
    turn = rng.uniform(0, 2 * np.pi)
    if SIDES[label]:
        normals = turn + 2 * np.pi * np.arange(SIDES[label]) / SIDES[label]
        distance = np.max([x * np.cos(a) + y * np.sin(a) for a in normals], axis=0)
    else:
        distance = np.hypot(x, y)
    return distance <= radius * INNER_RADIUS[label]
