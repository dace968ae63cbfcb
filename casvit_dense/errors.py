"""The exception that means: the user can fix this; and what its messages are made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Bad input. The message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2, without a traceback.
    """


class Stopped(BaseException):
    """A run was asked to end, and can be resumed. The message says where it stands.

    As `KeyboardInterrupt` it may come anywhere, and is not for those who take every `Exception` for
    a fault of a file that they read.

    The command line prints it as one line and exits with `exit_code`.
    """

    exit_code = 75  # `EX_TEMPFAIL` of sysexits.h


def shortlist(names: Sequence[object], count: int = 5) -> str:
    """The first few names and how many more there are."""
    rest = len(names) - count
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(map(str, names[:count])) + more or "none"


#: Mistakes whose kind says everything, by pydantic's names.
_PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "too_short": "is empty",
    "string_too_short": "is empty",
}


def validation_message(error: "ValidationError") -> str:
    """The first mistake that pydantic found, as one line: where it is, what it is, what is there.

    Rows of a list are counted from 1, as people do.
    """
    first = error.errors(include_url=False)[0]
    kind, message, found = first["type"], first["msg"], repr(first["input"])
    if kind in _PROBLEMS:
        problem = _PROBLEMS[kind]
    elif kind == "value_error":
        problem = str(first["ctx"]["error"])
    elif kind == "json_invalid":
        problem = message
    else:
        if kind in ("model_type", "dict_type"):
            message = "Input should be keys with values"
        demand = message.replace("Input should be", "must be", 1)
        problem = f"{demand}, not {found if len(found) <= 60 else found[:59] + '…'}"
    place = ", ".join(f"row {key + 1}" if isinstance(key, int) else key for key in first["loc"])
    return f"{place}: {problem}" if place else problem
