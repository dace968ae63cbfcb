"""How far a long task is, how long it will take, and amounts in words. Imports nothing heavy."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def format_duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``3 min 07 s``, ``5 h 12 min``."""
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {secs:02d} s" if minutes else f"{secs} s"


def format_bytes(count: float) -> str:
    """Bytes for people: ``12.3 MB``, ``1.20 GB``."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``, ``2 classes``."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{plural * (count != 1)}"


class Progress:
    """Counts the steps of a loop and gives a line of text at most every few seconds.

    Args:
        name: what a step is, e.g. ``'training iteration'``.
        total: steps in the loop.
        seconds: least time between two lines.
        done: steps of an earlier run that this one resumes.
    """

    def __init__(self, name: str, total: int, seconds: float, done: int = 0) -> None:
        self.name = name
        self.total = total
        self.seconds = seconds
        self.done = self.first = done
        self.started = self.last_line = time.monotonic()

    def step(self, due: bool = False) -> str | None:
        """Counts one step; returns a line when it is time for one, or when one is due anyway."""
        self.done += 1
        now = time.monotonic()
        if not due and now - self.last_line < self.seconds:
            return None
        self.last_line = now
        pace = (now - self.started) / (self.done - self.first)
        left = format_duration(pace * (self.total - self.done))
        speed = f"{pace:.2f} s each" if pace >= 0.01 else f"{1 / pace:,.0f} a second"
        return f"{self.name} {self.done} of {self.total}, {speed}, {left} left"

    def track(self, items: Iterable[Item], log: Callable[[str], None]) -> Iterator[Item]:
        """The items of a loop whose lines go to ``log``."""
        for item in items:
            yield item
            line = self.step()
            if line is not None:
                log(line)
