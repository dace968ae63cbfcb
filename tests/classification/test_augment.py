"""How training images are varied."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from casvit_dense.classification import augment
from casvit_dense.classification.augment import (
    OPERATIONS,
    RandAugmentPIL,
    RandomHorizontalFlip,
    RandomResizedCrop,
)

BICUBIC = Image.Resampling.BICUBIC
MEAN = (124, 116, 104)  # 0.485, 0.456, 0.406 of 255, rounded


@pytest.fixture
def image() -> Image.Image:
    """40 x 20, with all values in it and nothing symmetrical."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    return Image.fromarray(noise)


def table(image: Image.Image, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return of(np.asarray(image).astype(int)).astype(np.uint8)


def moved(image: Image.Image, right: int, down: int) -> np.ndarray:
    """The content shifted by whole pixels, the mean colour around it."""
    found = np.empty_like(np.asarray(image))
    found[:] = MEAN
    height, width = found.shape[:2]
    source = np.asarray(image)[
        max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    top, left = max(0, down), max(0, right)
    found[top : top + source.shape[0], left : left + source.shape[1]] = source
    return found


def slanted(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=BICUBIC, fillcolor=MEAN
    )


def blended(image: Image.Image, without: Image.Image, factor: float) -> Image.Image:
    return Image.blend(without, image, factor)


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def mean_grey(image: Image.Image) -> Image.Image:
    level = int(np.asarray(image.convert("L")).mean() + 0.5)
    return Image.new("RGB", image.size, (level, level, level))


def black(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size)


def smooth(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.SMOOTH)


# Operation, magnitude, whether its sign is turned, what comes out.
BY_HAND: list[tuple[str, float, bool, Callable[[Image.Image], Any]]] = [
    ("AutoContrast", 9, False, ImageOps.autocontrast),
    ("Equalize", 9, False, ImageOps.equalize),
    ("Invert", 9, False, lambda x: table(x, lambda v: 255 - v)),
    ("Rotate", 9, False, lambda x: x.rotate(27, BICUBIC, fillcolor=MEAN)),
    ("Rotate", 5, True, lambda x: x.rotate(-15, BICUBIC, fillcolor=MEAN)),
    ("Posterize", 9, False, lambda x: table(x, lambda v: v & 0b1000_0000)),  # 3.6 bits go: 3
    ("Posterize", 4, False, lambda x: table(x, lambda v: v & 0b1110_0000)),
    ("Posterize", 10, False, lambda x: table(x, np.zeros_like)),
    ("Solarize", 9, False, lambda x: table(x, lambda v: np.where(v < 26, v, 255 - v))),
    ("Solarize", 5, False, lambda x: table(x, lambda v: np.where(v < 128, v, 255 - v))),
    ("SolarizeAdd", 9, False, lambda x: table(x, lambda v: np.where(v < 128, v + 99, v))),
    ("Color", 9, False, lambda x: blended(x, grey(x), 1.81)),
    ("Color", 9, True, lambda x: blended(x, grey(x), 0.19)),
    ("Contrast", 9, False, lambda x: blended(x, mean_grey(x), 1.81)),
    ("Brightness", 5, True, lambda x: blended(x, black(x), 0.55)),
    ("Brightness", 10, True, lambda x: blended(x, black(x), 0.1)),
    ("Sharpness", 9, False, lambda x: blended(x, smooth(x), 1.81)),
    ("ShearX", 9, False, lambda x: slanted(x, 1, 0.27, 0, 0, 1, 0)),
    ("ShearX", 10, True, lambda x: slanted(x, 1, -0.3, 0, 0, 1, 0)),
    ("ShearY", 9, False, lambda x: slanted(x, 1, 0, 0, 0.27, 1, 0)),
    ("TranslateX", 10, False, lambda x: moved(x, -18, 0)),  # 0.45 of 40
    ("TranslateX", 5, True, lambda x: moved(x, 9, 0)),
    ("TranslateY", 10, False, lambda x: moved(x, 0, -9)),
    ("TranslateY", 10, True, lambda x: moved(x, 0, 9)),
]


@pytest.mark.parametrize(
    ("name", "magnitude", "turned", "expected"), BY_HAND, ids=lambda value: str(value)[:12]
)
def test_operations_are_those_of_pillow(
    name: str,
    magnitude: float,
    turned: bool,
    expected: Callable[[Image.Image], Any],
    image: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.9 if turned else 0.1)
    found = OPERATIONS[name](image, magnitude / 10)
    assert found.size == image.size and found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(expected(image)))


def test_every_operation_is_held_by_hand() -> None:
    assert set(OPERATIONS) == {name for name, *_ in BY_HAND} and len(OPERATIONS) == 15


def test_operations_are_drawn_as_often_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are five standard deviations of 6,000 drawn operations."""
    done: list[tuple[str, float]] = []

    def noting(name: str) -> Callable[[Image.Image, float], Image.Image]:
        return lambda image, strength: (done.append((name, 10 * strength)), image)[1]

    monkeypatch.setattr(augment, "OPERATIONS", {name: noting(name) for name in OPERATIONS})
    random.seed(0)
    np.random.seed(0)
    images = 3000
    numbers = Counter()
    for _ in range(images):
        before = len(done)
        RandAugmentPIL()({"img": Image.new("RGB", (2, 2))})
        numbers[len(done) - before] += 1
    for number, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert abs(numbers[number] / images - share) < 5 * math.sqrt(share * (1 - share) / images)
    names = Counter(name for name, _ in done)
    share = 0.5 / 15
    for name in OPERATIONS:
        assert abs(names[name] / (2 * images) - share) < 5 * math.sqrt(share / (2 * images))
    assert any(a == b for (a, _), (b, _) in zip(done[::2], done[1::2], strict=False))
    strengths = np.array([strength for _, strength in done])
    assert abs(np.median(strengths) - 9) < 5 * 1.25 * 0.5 / math.sqrt(len(done))
    assert np.std(strengths) == pytest.approx(0.5, abs=0.05)
    clipped = (strengths == 10).mean()  # two standard deviations above the mean: 2.3 %
    assert strengths.max() == 10 and 0.01 < clipped < 0.035


def test_signs_and_flips_are_even(image: Image.Image) -> None:
    random.seed(0)
    signs = Counter(augment.either(1) for _ in range(2000))
    assert set(signs) == {-1, 1} and abs(signs[1] - 1000) < 5 * math.sqrt(500)
    mirrored = np.asarray(image)[:, ::-1]
    flips = 0
    for _ in range(2000):
        found = np.asarray(RandomHorizontalFlip()({"img": image})["img"])
        flips += int(np.array_equal(found, mirrored))
        assert np.array_equal(found, mirrored) or np.array_equal(found, np.asarray(image))
    assert abs(flips - 1000) < 5 * math.sqrt(500)


def test_crops_have_the_stated_areas_and_shapes() -> None:
    random.seed(0)
    boxes = np.array([RandomResizedCrop().box(1000, 800) for _ in range(2000)])
    left, top, right, bottom = boxes.T
    width, height = right - left, bottom - top
    assert (boxes >= 0).all() and (right <= 1000).all() and (bottom <= 800).all()
    area, ratio = width * height / 800_000, width / height
    assert 0.079 < area.min() < 0.09 and 0.9 < area.max() <= 1
    assert 0.745 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.34
    small = (area < 0.31).mean()  # a quarter of the areas, and more as some of the large do not fit
    assert 0.23 < small < 0.33
    inside = left[width < 900] / (1000 - width[width < 900])
    assert abs(inside.mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1000, 10), (493, 0, 506, 10)),  # 13 wide: 10 x 4/3
        ((10, 1000), (0, 493, 10, 506)),
        ((100, 100), (0, 0, 100, 100)),
    ],
)
def test_where_no_crop_fits_the_centre_is_taken(
    size: tuple[int, int], box: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)  # all of it, at 4:3
    assert RandomResizedCrop().box(*size) == box


@pytest.mark.parametrize(("asked", "side"), [({}, 64), ({"size": 96}, 96)])
def test_crops_are_resized_to_the_size_that_is_asked_for(
    asked: dict[str, int], side: int, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = RandomResizedCrop(size=64)
    monkeypatch.setattr(crop, "box", lambda width, height: (3, 2, width - 10, height - 1))
    found = crop({"img": image, **asked})["img"]
    expected = Image.fromarray(np.asarray(image)[2:19, 3:30]).resize((side, side), BICUBIC)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
