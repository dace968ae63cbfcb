"""Random numbers of samples and steps."""

import pickle
import random
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch.utils.data import Sampler

from casvit_dense.training import draws
from casvit_dense.training.draws import (
    Draw,
    DrawnBatches,
    SizedIndex,
    StepSeedHook,
    seed_samples,
    with_draws,
)
from casvit_dense.training.loops import EndlessBatches, EpochLoop


class Numbers:
    """Random numbers for samples."""

    # As if of two data sets.
    datasets, cumulative_sizes = [range(4), range(6)], [4, 10]

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def loader_of(sampler: str, workers: int, options: dict[str, Any]) -> Any:
    dataset = Numbers()
    seed_samples(dataset)
    config = {
        "dataset": dataset,
        "batch_size": 3,
        "num_workers": workers,
        "sampler": {"type": sampler, "shuffle": True, **options},
        "collate_fn": {"type": "pseudo_collate"},
    }
    return Runner.build_dataloader(with_draws(config, seed=7), seed=7)


def test_steps_of_processes_and_iterations_draw_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def numbers(iteration: int, seed: int = 7, rank: int = 0) -> tuple[float, float, float]:
        monkeypatch.setattr(draws, "get_rank", lambda: rank)
        StepSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first = numbers(4)
    others = [numbers(5), numbers(4, seed=8), numbers(4, rank=1)]
    assert numbers(4) == first
    for place in range(3):
        assert len({found[place] for found in (first, *others)}) == 4


def test_a_draw_is_an_index_and_goes_to_workers_whole() -> None:
    draw = pickle.loads(pickle.dumps(Draw(3, (7, 0, 12, 1))))
    assert draw == 3 and [10, 11, 12, 13][draw] == 13 and draw.place == (7, 0, 12, 1)


@pytest.mark.parametrize("index", [3, SizedIndex(3, 192)])
def test_a_draw_keeps_the_size_of_its_index(index: int) -> None:
    draw = Draw(index, (7, 0, 12, 1))
    for copy in (pickle.loads(pickle.dumps(draw)), Draw.of(*draw.numbers)):
        assert copy == 3 and copy.place == draw.place
        assert type(copy.index) is type(index)
        assert getattr(copy.index, "size", None) == getattr(index, "size", None)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler", "MultiSourceSampler"])
def test_an_endless_loader_begins_anywhere(sampler: str, workers: int) -> None:
    """Ten images in batches of three: passes of the finite sampler end with a batch of one."""
    more: dict[str, Any] = {}
    if sampler == "MultiSourceSampler":  # of images with and without annotations
        import_module("mmdet.datasets.samplers")
        sampler, more = "mmdet.MultiSourceSampler", {"batch_size": 3, "source_ratio": [1, 2]}
    straight = EndlessBatches(loader_of(sampler, 0, more))
    expected = [next(straight) for _ in range(11)]
    assert len({number for batch in expected for number in batch[1]}) == sum(
        len(batch[0]) for batch in expected
    )
    for done in (1, 4, 6):
        late = EndlessBatches(loader_of(sampler, workers, more))
        late.skip_iter(done)
        assert [next(late) for _ in range(11 - done)] == expected[done:]


def test_batches_are_those_of_the_loaders_own_sampler() -> None:
    """Of torch's, with and without the last one, and of another class."""
    for drop_last in (False, True):
        config = with_draws({"batch_size": 3, "drop_last": drop_last}, seed=1)
        assert "drop_last" not in config
        arguments = {k: v for k, v in config["batch_sampler"].items() if k != "type"}
        batches = DrawnBatches(DefaultSampler(Numbers(), shuffle=False), 3, **arguments)
        assert len(batches) == len(list(batches)) == (3 if drop_last else 4)
    mmdet = import_module("mmdet.datasets.samplers")

    class Shapes(Numbers):
        def get_data_info(self, index: int) -> dict[str, int]:
            return {"width": 10, "height": 5 + 10 * (index % 2)}

    def sampler() -> Sampler:
        return DefaultSampler(Shapes(), shuffle=True, seed=3)

    ours = DrawnBatches(sampler(), 2, 1, {"type": mmdet.AspectRatioBatchSampler})
    expected = list(mmdet.AspectRatioBatchSampler(sampler(), 2))
    assert list(ours) == expected
    ours.begin(iteration=12, skipped=2)
    late = list(ours)
    assert late == expected[2:] and late[0][1].place == (1, 0, 12, 1)


def test_epochs_may_have_fewer_batches_than_their_sampler_says() -> None:
    """mmdet's with ``drop_last``, of 3 wide and 3 high images: 2 pairs, and no third one."""
    mmdet = import_module("mmdet.datasets.samplers")

    class Shapes(Numbers):
        def __len__(self) -> int:
            return 6

        def get_data_info(self, index: int) -> dict[str, int]:
            return {"width": 10, "height": 5 + 10 * (index % 2)}

    class Counted(EpochLoop):
        def run_iter(self, idx: int, data_batch: Any) -> None:
            places.append((idx, self._iter))
            self._iter += 1

    places: list[tuple[int, int]] = []
    runner: Any = SimpleNamespace(
        seed=7,
        message_hub=MessageHub("fewer"),
        _randomness_cfg={},
        build_dataloader=Runner.build_dataloader,
        call_hook=lambda *args: None,
        model=torch.nn.Identity(),
    )
    config = {
        "dataset": Shapes(),
        "batch_size": 2,
        "sampler": {"type": "DefaultSampler"},
        "batch_sampler": {"type": mmdet.AspectRatioBatchSampler, "drop_last": True},
        "collate_fn": {"type": "pseudo_collate"},
    }
    loop = Counted(runner, config, max_epochs=2)
    loop.run_epoch()
    loop.run_epoch()
    assert places == [(0, 0), (1, 1), (0, 2), (1, 3)]
    # The same place in longer epochs, and the begin of shorter ones.
    loop._epoch, begin = 1, 3
    for done, expected in ((0, 3), (2, 5), (3, 6), (4, 3)):
        runner.message_hub.update_info("epoch_began", [1, begin + 7])
        loop._iter = begin + 7 + done
        loop.fit_iteration()
        assert (loop.iter, loop.done) == (expected, expected - begin)
    # A checkpoint of version 0.1 does not say where its epoch began, which was shorter than here.
    runner.message_hub.runtime_info.pop("epoch_began")
    loop._iter = begin - 1
    loop.fit_iteration()
    assert (loop.iter, loop.done) == (begin, 0)


def test_infinite_passes_have_no_end() -> None:
    batches = DrawnBatches(InfiniteSampler(Numbers(), seed=0), 3, seed=1)
    batches.begin(iteration=1000, skipped=1000)
    assert next(iter(batches))[0].place == (1, 0, 1000, 0)
