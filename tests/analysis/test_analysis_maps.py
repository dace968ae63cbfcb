"""Maps against hand arithmetic and mmseg's metric."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from casvit_dense.analysis import MapSource, analyse_source
from casvit_dense.analysis.maps import count_pixels, overlaps
from casvit_dense.engine.iou_metric import DenseIoUMetric
from casvit_dense.errors import UserError

CLASSES = ("wall", "sky", "tree")

Maps = Callable[..., MapSource]


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    """Writes pairs (truth, prediction) of maps and says where they are."""

    def write(
        *pairs: tuple[np.ndarray, np.ndarray], reduce: bool = False, count: int | None = None
    ) -> MapSource:
        folders = tmp_path / "truth", tmp_path / "maps"
        for folder, number in zip(folders, (0, 1), strict=True):
            folder.mkdir()
            for i, pair in enumerate(pairs):
                Image.fromarray(np.array(pair[number], np.uint8)).save(folder / f"{i}.png")
        return MapSource("x", *folders, CLASSES, reduce, count=count)

    return write


@pytest.mark.parametrize("reduce", [False, True])
def test_by_hand(maps: Maps, reduce: bool) -> None:
    truth = np.array([[0, 0, 0, 0], [1, 1, 1, 255]])
    found = np.array([[0, 0, 1, 2], [1, 1, 0, 2]])
    if reduce:  # 0 is unlabelled as well
        truth, found = np.where(truth == 255, 0, truth + 1), found + 1
    result = analyse_source(maps((truth, found), reduce=reduce)).maps
    assert result is not None
    assert result.pixels == 7
    assert result.confusion.counts == [[2, 1, 1], [1, 2, 0], [0, 0, 0]]
    iou, acc = [2 / 5, 2 / 4, 0], [2 / 4, 2 / 3, None]
    assert [c.iou for c in result.classes] == pytest.approx([100 * v for v in iou])
    assert result.classes[2].acc is None
    assert result.miou == pytest.approx(100 * sum(iou) / 3)
    assert result.macc == pytest.approx(100 * (acc[0] + acc[1]) / 2)
    assert result.aacc == pytest.approx(100 * 4 / 7)
    assert result.worst[0].score == pytest.approx(result.miou)


def noisy_maps(
    rng: np.random.Generator, images: int, reduce: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    pairs = []
    for _ in range(images):
        size = rng.integers(20, 60, 2)
        truth = rng.integers(0, rng.integers(1, 4), size)
        found = np.where(rng.random(size) < 0.7, truth, rng.integers(0, 3, size))
        unlabelled = rng.random(size) < 0.1
        truth = np.where(unlabelled, 0 if reduce else 255, truth + reduce)
        pairs.append((truth, found + reduce))
    return pairs


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_metric_of_the_evaluation(maps: Maps, reduce: bool, seed: int) -> None:
    pairs = noisy_maps(np.random.default_rng(seed), 6, reduce)
    metric = DenseIoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": CLASSES}
    for i, (truth, found) in enumerate(pairs):
        labels = np.where(truth == 0, 255, truth - 1) if reduce else truth
        sample = {
            "img_path": f"{i}.jpg",
            "gt_sem_seg": {"data": torch.tensor(labels)},
            "pred_sem_seg": {"data": torch.tensor(found - int(reduce))},
        }
        metric.process({}, [sample])
    expected = metric.evaluate(size=len(pairs))
    result = analyse_source(maps(*pairs, reduce=reduce)).maps
    assert result is not None
    ours = {"mIoU": result.miou, "mAcc": result.macc, "aAcc": result.aacc}
    assert ours == pytest.approx(expected, abs=1e-4)  # the metric counts in single precision
    by_class = {"IoU": [c.iou for c in result.classes], "Acc": [c.acc for c in result.classes]}
    for kind, values in by_class.items():
        expected_values = list(metric.per_class[kind].values())
        np.testing.assert_allclose(np.array(values, float), expected_values, atol=1e-4)


def test_best_and_worst_images(maps: Maps) -> None:
    right, wrong = np.zeros((4, 4), int), np.ones((4, 4), int)
    half = np.where(np.arange(4) < 2, 0, 1) * np.ones((4, 1), int)
    result = analyse_source(maps((right, wrong), (right, half), (right, right))).maps
    assert result is not None
    assert [(i.image, i.score) for i in result.worst] == [("0", 0), ("1", 25), ("2", 100)]
    assert result.best == result.worst[::-1]
    assert result.best[0].file == "2.png"


def test_weights_count_images(maps: Maps) -> None:
    """Overlaps at weights (2, 0, 1) are those of a data set with the first image twice."""
    pairs = noisy_maps(np.random.default_rng(0), 3, reduce=False)
    values = overlaps(count_pixels(maps(*pairs)), np.array([[2, 0, 1]]))[0]
    truth, found = (np.concatenate([pairs[i][side].ravel() for i in (0, 0, 2)]) for side in (0, 1))
    found, truth = found[truth != 255], truth[truth != 255]
    for k in range(3):
        both, either = (truth == k) & (found == k), (truth == k) | (found == k)
        assert values[k] == pytest.approx(100 * both.sum() / either.sum())


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5)), "large"),
        (np.full((4, 4), 3), np.zeros((4, 4)), "label(s) 3"),
        (np.zeros((4, 4)), np.full((4, 4), 7), "label(s) 7"),
        (np.zeros((4, 4, 3)), np.zeros((4, 4)), "channels"),
    ],
)
def test_maps_that_do_not_fit(
    maps: Maps, truth: np.ndarray, found: np.ndarray, message: str
) -> None:
    with pytest.raises(UserError) as error:
        count_pixels(maps((truth, found)))
    assert message in str(error.value)


def test_maps_without_truth_and_images_without_map(maps: Maps, tmp_path: Path) -> None:
    empty = np.zeros((4, 4))
    source = maps((empty, empty), (empty, empty), count=3)
    with pytest.raises(UserError, match="holds 2 maps for 3 images"):
        count_pixels(source)
    (tmp_path / "truth/1.png").unlink()
    with pytest.raises(UserError, match="1 of 2 maps have no truth"):
        count_pixels(source)


def test_maps_of_one_name_are_told_apart_by_their_folders(maps: Maps, tmp_path: Path) -> None:
    one, two = np.zeros((4, 4)), np.ones((4, 4))
    source = maps((one, one), (two, two))
    for folder in (source.truth, source.predictions):
        for number in "01":
            (folder / number).mkdir()
            (folder / f"{number}.png").rename(folder / number / "x.png")
    pixels = count_pixels(source)
    assert pixels.names == ("0/x", "1/x")
    np.testing.assert_array_equal(pixels.confusion.diagonal(), [16, 16, 0])
    (source.predictions / "0/x.png").rename(source.predictions / "x.png")  # by itself
    with pytest.raises(UserError, match="several maps have the name x"):
        count_pixels(source)
