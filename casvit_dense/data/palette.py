"""The colours in which classes are drawn."""

import colorsys

from pydantic import TypeAdapter, ValidationError

Colour = tuple[int, int, int]  # RGB, 0..255


def palette_of(given: object, count: int) -> list[Colour]:
    """A data set's own colours; where it has none, or too few, hues that differ.

    Args:
        given: ``palette`` of the data set's metainfo, as a user wrote it.
        count: number of classes.
    """
    try:
        own = TypeAdapter(list[Colour]).validate_python(given)
    except ValidationError:
        own = []
    return own[:count] if len(own) >= count else [spread_colour(i) for i in range(count)]


def spread_colour(index: int) -> Colour:
    """One of any number of colours; the golden ratio keeps neighbours far apart."""
    lightness, saturation = 0.35 + 0.3 * (index * 0.381966 % 1), 0.55 + 0.4 * (index % 2)
    red, green, blue = colorsys.hls_to_rgb(index * 0.618034 % 1, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
