"""How two lists of class names differ, in words."""

from collections.abc import Iterable, Sequence

from casvit_dense.errors import shortlist


def same_but_for_form(name: str, names: Iterable[str]) -> str | None:
    """The first name that differs from another in upper and lower case or in spaces alone."""
    plain = _plain(name)
    return next((other for other in names if other != name and _plain(other) == plain), None)


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def difference(first: Sequence[str], second: Sequence[str], of_first: str, of_second: str) -> str:
    """What is in one list alone, and which names seem to be meant as one; or two orders.

    Args:
        of_first, of_second: what the lists are of, e.g. ``'the config'``.
    """
    missing = [name for name in first if name not in second]
    extra = [name for name in second if name not in first]
    if not missing and not extra:
        return (
            f"their order differs: {of_first} has {shortlist(first)}, {of_second} has "
            f"{shortlist(second)}, and labels count in that order"
        )
    parts = [
        f"only in {of_first}: {shortlist(missing)}",
        f"only in {of_second}: {shortlist(extra)}",
    ]
    for name in missing:
        if other := same_but_for_form(name, extra):
            parts.append(f"{name!r} and {other!r} differ in case or spaces alone")
    return "; ".join(parts)
