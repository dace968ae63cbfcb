"""How long work says how far it is."""

from collections.abc import Callable

#: Called after a step with what it was, how many are done, and how many there are.
Tick = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Says nothing."""
