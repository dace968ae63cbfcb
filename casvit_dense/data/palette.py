"""The colours in which classes are drawn, by ``predict``, ``data show`` and the report."""

import colorsys

from pydantic import TypeAdapter, ValidationError

Colour = tuple[int, int, int]  # RGB, 0..255

#: Okabe and Ito's colours, which all eyes can distinguish, for few classes.
OKABE_ITO: list[Colour] = [
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (90, 90, 90),
]

#: By how much further hues are lightened towards white, to stand out from dark photographs.
LIGHTER = 0.3


def palette_of(given: object, count: int) -> list[Colour]:
    """A data set's own colours; where it has none, or too few, colours that can be told apart.

    Args:
        given: ``palette`` of the data set's metainfo, as a user wrote it.
        count: number of classes.
    """
    try:
        own = TypeAdapter(list[Colour]).validate_python(given)
    except ValidationError:
        own = []
    if len(own) >= count:
        return own[:count]
    return OKABE_ITO[:count] if count <= len(OKABE_ITO) else list(map(spread_colour, range(count)))


def spread_colour(index: int) -> Colour:
    """One of any number of colours; the golden ratio keeps neighbours far apart."""
    lightness, saturation = 0.35 + 0.3 * (index * 0.381966 % 1), 0.55 + 0.4 * (index % 2)
    hue = colorsys.hls_to_rgb(index * 0.618034 % 1, lightness, saturation)
    red, green, blue = (round(255 * (part + LIGHTER * (1 - part))) for part in hue)
    return red, green, blue
