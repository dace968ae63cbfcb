"""Pages with generated parts: ``<!-- table: NAME -->`` and ``<!-- end -->`` enclose each."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from casvit_dense.errors import UserError

OPENING = re.compile(r"<!-- table:.*")
#: A part ends before the next begins.
MARKED = re.compile(
    r"(<!-- table: (\S+) -->\n)(?:(?!<!-- table:).)*?(<!-- end -->)", flags=re.DOTALL
)


def fill(page: Path, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page's text with every part made anew.

    Args:
        page: a Markdown file.
        parts: what makes a part's text, without the end of its last line, by name.

    Raises:
        UserError: there is no page or no marker in it; a marker has no end or names no part.
    """
    if not page.is_file():
        raise UserError(f"no page {page}")
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page} cannot be read as text: {error}") from error
    check_markers(page, text)

    def replace(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in parts:
            raise UserError(f"{page}: no table {name!r}; there are {', '.join(parts)}")
        return f"{start}{parts[name]()}\n{end}"

    return MARKED.sub(replace, text)


def check_markers(page: Path, text: str) -> None:
    """Looks whether a page has markers, and every one its end.

    Raises:
        UserError: it has none; or one has no end before the next, or no line of its own.
    """
    openings = list(OPENING.finditer(text))
    if not openings:
        raise UserError(f"{page}: no <!-- table: NAME --> in it, so there is nothing to rewrite")
    whole = {match.start() for match in MARKED.finditer(text)}
    for opening in openings:
        if opening.start() not in whole:
            line = text.count("\n", 0, opening.start()) + 1
            raise UserError(
                f"{page}: line {line}: {opening[0]} stands alone; it needs a line of its own and "
                "<!-- end --> below its table"
            )
