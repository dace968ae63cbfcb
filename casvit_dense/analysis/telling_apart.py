"""Names of evaluations, longer where they coincide."""

from collections.abc import Sequence


def told_apart(
    names: Sequence[str], traits: Sequence[Sequence[str]], last: Sequence[Sequence[str]] = ()
) -> list[str]:
    """Adds to equal names what those that bear them differ in.

    Args:
        names: ``N``.
        traits: columns of ``N``; each in which namesakes differ is added. ``""``: unknown.
        last: more columns, each added only where names still coincide after those before.

    Returns:
        ``N`` names, e.g. ``'fpn_casvit-xs, fused'``; equal ones differ in no column.
    """
    labels = list(names)
    for column in traits:
        labels = _added(labels, names, column)
    for column in last:
        labels = _added(labels, labels, column)
    return labels


def _added(labels: Sequence[str], keys: Sequence[str], column: Sequence[str]) -> list[str]:
    """Labels with their value of the column where it differs among those of one key."""
    values: dict[str, set[str]] = {}
    for key, value in zip(keys, column, strict=True):
        values.setdefault(key, set()).add(value)
    return [
        f"{label}, {value}" if value and len(values[key]) > 1 else label
        for label, key, value in zip(labels, keys, column, strict=True)
    ]
