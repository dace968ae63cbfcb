"""Names of evaluations that tell them apart."""

from collections.abc import Sequence


def unique_labels(
    names: Sequence[str], traits: Sequence[Sequence[str]], last: Sequence[Sequence[str]] = ()
) -> list[str]:
    """Adds to equal names of evaluations what they differ in.

    Args:
        names: ``N`` names.
        traits: columns of ``N`` values; each in which evaluations of one name differ is added.
            ``""``: unknown.
        last: more columns, each added only where labels are still equal.

    Returns:
        ``N`` labels, e.g. ``'fpn_casvit-xs, fused'``; equal ones differ in no column.
    """
    labels = list(names)
    for column in traits:
        labels = _with_differing(labels, names, column)
    for column in last:
        labels = _with_differing(labels, labels, column)
    return labels


def _with_differing(labels: Sequence[str], keys: Sequence[str], column: Sequence[str]) -> list[str]:
    """Labels, with the value of the column where it differs among those of one key."""
    values: dict[str, set[str]] = {}
    for key, value in zip(keys, column, strict=True):
        values.setdefault(key, set()).add(value)
    return [
        f"{label}, {value}" if value and len(values[key]) > 1 else label
        for label, key, value in zip(labels, keys, column, strict=True)
    ]
