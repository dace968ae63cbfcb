"""What an independent parser makes of a report."""

import json
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """What an independent parser makes of the file: elements, texts of scripts, cells of tables."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.text = html.decode()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self._script = self._table = None
        self._cell = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "script":
            self._script = found.get("id", "")
            self.scripts[self._script] = ""
        elif tag == "table":
            self._table = self.tables.setdefault(found["id"], [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        elif tag == "table":
            self._table = None
        elif tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data
        elif self._cell:
            self._table[-1][-1] += data.strip()

    def data(self, name: str) -> dict:
        return json.loads(self.scripts[name])


def models_of(page: Page) -> dict[str, dict]:
    """What the scripts get, by the script's id."""
    return {key: page.data(key) for key in page.scripts if re.fullmatch(r"model-\d+-data", key)}
