"""Interleaved timing and its statistics, on a clock that we set."""

import pytest

from casvit_dense.benchmark import timing
from casvit_dense.benchmark.timing import Call, interleave, interval_of_median, ratios, spread


class FakeClock:
    """A stopwatch on which a call takes as long as its list says, and which notes what it ran."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.runs: list[tuple[str, int]] = []

    def __call__(self, call: Call, times: int) -> float:
        name = call()
        self.runs.append((name, times))
        return self.seconds[name] * times


def calls(*names: str) -> dict[str, Call]:
    return {name: lambda name=name: name for name in names}


def test_turns_alternate_and_short_calls_are_repeated() -> None:
    clock = FakeClock({"a": 0.5, "b": 0.01})
    timings = interleave(calls("a", "b"), 2, clock, turn_seconds=0.1, warm_seconds=0.03)
    first = [("a", 1), ("a", 1), ("b", 1), ("b", 1)]  # how long does a call take?
    a_round = [("a", 1), ("a", 1), ("b", 3), ("b", 10)]  # untimed, then timed
    assert clock.runs == first + 2 * a_round
    assert timings.samples == {"a": [0.5, 0.5], "b": pytest.approx([0.01, 0.01])}
    assert not timings.errors


def test_only_timed_calls_count() -> None:
    taken = iter([9.0, 1.0, 7.0, 4.0, 7.0, 6.0])  # two to plan, then untimed and timed in turn
    timings = interleave(calls("a"), 2, lambda call, times: next(taken), 3.0, 0.5)
    # A call takes 1 s: three of them make a turn of 3 s.
    assert timings.samples["a"] == pytest.approx([4 / 3, 6 / 3])


def test_a_call_that_fails_leaves_the_others_alone() -> None:
    left = iter(range(4))

    def failing() -> str:
        if next(left) == 3:
            raise MemoryError("no room")
        return "b"

    clock = FakeClock({"a": 1.0, "b": 1.0})
    turns = []
    timings = interleave({**calls("a"), "b": failing}, 3, clock, after_turn=lambda: turns.append(1))
    assert timings.samples == {"a": [1.0, 1.0, 1.0]}
    assert str(timings.errors["b"]) == "no room"
    assert len(turns) == 3 + 1


def test_the_wall_clock_counts_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += 0.25

    assert timing.stopwatch(call, 3) == 0.75


def test_calls_on_a_gpu_are_awaited_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time holds what a call leaves in the queue, and nothing is queued behind anything."""
    now, queue = [0.0], [5.0]  # some work of before

    def call() -> None:
        now[0] += 0.25
        queue.append(1.0)

    def synchronize() -> None:
        assert len(queue) <= 1
        now[0] += sum(queue)
        queue.clear()

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.torch.cuda, "synchronize", synchronize)
    assert timing.stopwatch(call, 3, "cuda") == 3 * 1.25


def test_percentiles_by_hand() -> None:
    # Eleven values: the percentiles 10 and 90 fall on the second and the tenth.
    found = spread([float(value) for value in (5, 1, 11, 2, 10, 3, 9, 4, 8, 6, 7)])
    assert (found.p10, found.median, found.p90) == (2.0, 6.0, 10.0)
    # Two values: a tenth of the way from one to the other.
    assert spread([1.0, 2.0]).p10 == pytest.approx(1.1)


def test_ratios_are_taken_in_each_round() -> None:
    # The machine slows down by half; the ratio does not.
    assert ratios([2.0, 4.0], [1.0, 2.0]) == [2.0, 2.0]
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


def test_interval_of_the_median() -> None:
    assert interval_of_median([1.5] * 5) == (1.5, 1.5)
    values = [1.0, 1.1, 1.2, 1.3, 5.0]
    low, high = interval_of_median(values)
    assert 1.0 <= low < 1.2 < high <= 5.0
    assert interval_of_median(values) == (low, high)
    # Three values: the median of a resample is the least value with chance 7/27, the greatest
    # likewise, so that an interval of 90 % reaches both and one of 40 % neither.
    assert interval_of_median([1.0, 2.0, 3.0], 0.9) == (1.0, 3.0)
    assert interval_of_median([1.0, 2.0, 3.0], 0.4) == (2.0, 2.0)
