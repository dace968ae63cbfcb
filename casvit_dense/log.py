"""The log of this package: what people read on the console and in log files."""

import logging
from typing import Final

#: Messages for the user.
LOG: Final = logging.getLogger("casvit_dense")
LOG.setLevel(logging.INFO)


def log_entry(label: str, text: object) -> None:
    """Logs one fact of a run, aligned with the others."""
    LOG.info(f"{label:<11}  {text}")
