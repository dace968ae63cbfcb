"""The HTML file: one template, with styles, scripts, data and pictures inside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casvit_dense.optional import require

STATIC = Path(__file__).with_name("static")

#: In the order in which they build on each other.
STYLES = ("base.css", "tables.css", "charts.css", "gallery.css", "print.css")
SCRIPTS = (
    *("dom.js", "theme.js", "grid.js", "axes.js", "lines.js", "scatter.js", "curves.js"),
    *("heatmap.js", "analysis.js", "overlay.js", "gallery.js", "viewer.js", "main.js"),
)

#: Nothing is fetched from anywhere, whatever a class or a file is called.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def render(content: Mapping[str, Any]) -> bytes:
    """The whole file.

    Args:
        content: what the template names.

    Raises:
        UserError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(STATIC),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda value: jinja2.utils.markupsafe.Markup(embedded(value))
    page = environment.get_template("report.html.j2").render(
        policy=POLICY, styles=_joined(STYLES), scripts=_joined(SCRIPTS), **content
    )
    # A log may hold half a pair of UTF-16, which no file can.
    return page.encode(errors="replace")


def embedded(value: Any) -> str:
    """JSON that no HTML parser takes for the end of its script, whatever its texts are."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)
