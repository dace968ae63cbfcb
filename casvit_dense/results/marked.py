"""Pages with generated parts: ``<!-- table: NAME -->`` and ``<!-- end -->`` enclose each."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from casvit_dense.errors import UserError

MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: Path, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page's text with every part made anew.

    Args:
        page: a Markdown file.
        parts: what makes a part's text, without the end of its last line, by name.

    Raises:
        UserError: there is no page, or a marker names no part.
    """
    if not page.is_file():
        raise UserError(f"no page {page}")

    def replace(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in parts:
            raise UserError(f"{page}: no table {name!r}; there are {', '.join(parts)}")
        return f"{start}{parts[name]()}\n{end}"

    return MARKED.sub(replace, page.read_text(encoding="utf-8"))
