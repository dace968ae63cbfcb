"""Batches of several image sizes."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from PIL import Image

import casvit_dense.classification.register  # noqa: F401
from casvit_dense.classification import ImageNetFolder, sampler
from casvit_dense.classification.sampler import MultiScaleBatches, images_of
from casvit_dense.engine import loading
from casvit_dense.engine.loading import BrokenFileError, name_records
from casvit_dense.training.draws import SizedIndex, seed_samples, with_draws
from casvit_dense.training.loops import batches_of

SIZES = (160, 192, 224, 256, 288, 320)


def batches(images: int, batch_size: int = 4, seed: int = 7, rank: int = 0, processes: int = 1):
    found = DefaultSampler(range(images), seed=seed)
    found.rank, found.world_size = rank, processes
    found.num_samples, found.total_size = -(-images // processes), -(-images // processes)
    found.total_size *= processes
    return MultiScaleBatches(found, batch_size, 224, SIZES)


# By hand, as the official code rounds: pixels of the batch at its own size / those of an image,
# to a multiple of the processes, then down to an even number.
@pytest.mark.parametrize(
    ("size", "batch_size", "processes", "expected"),
    [
        (224, 128, 8, {160: 248, 192: 176, 224: 128, 256: 128, 320: 128}),  # 250.88, 174.22
        (224, 128, 1, {160: 250, 192: 174, 224: 128, 320: 128}),
        (384, 64, 8, {160: 368, 192: 256, 256: 144, 288: 112, 320: 96, 384: 64}),
        (224, 99, 8, {160: 192, 224: 96}),  # 194.04; 99 is nearer to 96 than to 104
        (224, 9, 7, {224: 14}),  # 7 were less than nine tenths
        (224, 7, 1, {160: 12, 224: 6}),  # 13.72
        (224, 1, 1, {160: 2, 224: 2}),  # the official code gives 0
    ],
)
def test_smaller_images_come_in_larger_batches(
    size: int, batch_size: int, processes: int, expected: dict[int, int]
) -> None:
    assert {side: images_of(side, size, batch_size, processes) for side in expected} == expected


def test_every_epoch_has_each_size_equally_often() -> None:
    given = batches(48)
    assert list(given.batch_sizes.values()) == [6, 4, 4, 4, 4, 4]
    cycles = []
    for epoch in range(12):
        given.sampler.set_epoch(epoch)
        found = list(given)
        assert len(found) == len(given) == 12
        assert all({index.size for index in batch} == {batch[0].size} for batch in found)
        assert all(len(batch) == given.batch_sizes[batch[0].size] for batch in found)
        sizes = [batch[0].size for batch in found]
        cycles += [tuple(sizes[:6]), tuple(sizes[6:])]
    assert all(sorted(cycle) == list(SIZES) for cycle in cycles)
    assert len(set(cycles)) > 15  # of 24


@pytest.mark.parametrize(("images", "length"), [(3, 6), (38, 6), (40, 12), (64, 12), (66, 18)])
def test_epochs_are_whole_cycles(images: int, length: int) -> None:
    """A cycle has 26 images."""
    assert len(batches(images)) == len(list(batches(images))) == length


def test_imagenet_has_513_steps_of_two_batches() -> None:
    """1,281,167 images on 8 GPUs; a cycle has 250 + 174 + 4 x 128."""
    assert len(batches(160_146, batch_size=128)) == round(160_146 / 936) * 6 == 2 * 513


def test_an_epoch_sees_its_images_and_begins_them_anew() -> None:
    seen = [index for batch in batches(48) for index in batch]
    assert len(seen) == 52 and set(seen) == set(range(48))
    assert seen[48:] == seen[:4]


def test_processes_have_the_same_size_at_a_step_and_other_images() -> None:
    first, second = (list(batches(96, rank=rank, processes=2)) for rank in range(2))
    assert [batch[0].size for batch in first] == [batch[0].size for batch in second]
    assert not {i for batch in first for i in batch} & {i for batch in second for i in batch}


def test_other_seeds_give_other_orders() -> None:
    orders = [[batch[0].size for batch in batches(96, seed=seed)] for seed in (7, 8)]
    assert orders[0] != orders[1]


def test_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "get_world_size", lambda: 8)
    """39.2 images at 160, and 27.2 at 192, for which 24 were less than nine tenths."""
    assert list(batches(96, batch_size=20).batch_sizes.values()) == [40, 32, 24, 24, 24, 24]


def test_an_endless_sampler_is_refused() -> None:
    with pytest.raises(TypeError, match="MultiScaleBatches needs a DefaultSampler"):
        MultiScaleBatches(InfiniteSampler(range(4), seed=0), 4, 224, SIZES)


class Numbers:
    """Index, size and a random number."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: SizedIndex) -> tuple[int, int, float]:
        return int(index), index.size, random.random()


def loader(dataset: Any, workers: int = 0) -> Any:
    seed_samples(dataset)
    config = {
        "dataset": dataset,
        "batch_size": 4,
        "num_workers": workers,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_sampler": {"type": "MultiScaleBatches", "size": 224, "sizes": SIZES},
        "collate_fn": {"type": "pseudo_collate"},
    }
    return Runner.build_dataloader(with_draws(config, seed=7), seed=7)


def test_a_run_that_goes_on_inside_an_epoch_loads_the_same() -> None:
    def run(epoch: int, done: int, workers: int) -> list[Any]:
        given = loader(Numbers(), workers)
        batches_of(given).sampler.set_epoch(epoch)
        batches_of(given).begin(epoch * len(given) + done, done)
        return list(given)

    straight = run(2, 0, 0)
    assert len(straight) == 12 and len({size for batch in straight for size in batch[1]}) == 6
    assert run(2, 5, 2) == straight[5:]
    assert run(1, 5, 0) != straight[5:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/0.png", "a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    return tmp_path


def image_folder(folder: Path) -> ImageNetFolder:
    pipeline = ("ReadRGB", "RandomResizedCrop", "RandomHorizontalFlip", "RandAugmentPIL")
    steps = [{"type": name} for name in (*pipeline, "PackClassInputs")]
    return ImageNetFolder(data_prefix={"img_path": str(folder)}, pipeline=steps)


def test_images_have_the_size_of_their_batch(folder: Path) -> None:
    found = [
        {tuple(image.shape) for image in batch["inputs"]} for batch in loader(image_folder(folder))
    ]
    assert sorted(found, key=min) == [{(3, size, size)} for size in SIZES]


def test_an_image_that_stands_in_for_a_broken_one_has_its_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PAUSES", ())
    (folder / "a/0.png").write_text("broken")
    dataset = image_folder(folder)
    name_records(dataset, replace=True)
    np.random.seed(1)  # draws 1
    sample = dataset[SizedIndex(0, 192)]
    assert sample["inputs"].shape == (3, 192, 192)
    assert sample["data_samples"].img_path.endswith("1.png")
    name_records(dataset)
    with pytest.raises(BrokenFileError, match=r"image .*0\.png cannot be loaded: the image "):
        dataset[SizedIndex(0, 192)]
