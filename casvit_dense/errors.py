"""The exception that means: the user can fix this; and pydantic's findings as such a message."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Bad input. The message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2, without a traceback.
    """


def validation_message(error: "ValidationError") -> str:
    """The first mistake that pydantic found, as one line: where it is, what it is, what is there.

    Rows of a list are counted from 1, as people do.
    """
    first = error.errors(include_url=False)[0]
    place = ", ".join(f"row {key + 1}" if isinstance(key, int) else key for key in first["loc"])
    if first["type"] in ("missing", "extra_forbidden", "too_short", "string_too_short"):
        text = {"missing": "is missing", "extra_forbidden": "is not a known key"}
        problem = text.get(first["type"], "is empty")
    elif first["type"] == "value_error":
        problem = str(first["ctx"]["error"])
    elif first["type"] == "json_invalid":
        problem = first["msg"]
    else:
        problem = f"{_as_demand(first['msg'])}, not {_shortened(repr(first['input']))}"
    return f"{place}: {problem}" if place else problem


def _as_demand(message: str) -> str:
    start = "Input should be "
    return f"must be {message.removeprefix(start)}" if message.startswith(start) else message


def _shortened(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
