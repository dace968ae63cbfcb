"""A page of Chromium, and what tests look at in a report there."""

import shutil
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

#: Longest wait for a state of the page; a busy machine may be very slow.
PATIENCE_MS = 120_000
playwright.expect.set_options(timeout=PATIENCE_MS)


class Tab:
    """A page of the browser that fails with the first complaint in its console."""

    def __init__(self, browser: Any, file: Path, width: int = 1280, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", self._requested)
        self.page.goto(file.as_uri())

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(request.url)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.context.close()
        if kind is None:
            assert self.complaints == []


def visible_rows(page: Any, table: str) -> list[list[str]]:
    return page.locator(f"#{table} tbody tr:visible").evaluate_all(
        "rows => rows.map(row => [...row.cells].map("
        "cell => (cell.querySelector('.value') ?? cell).textContent))"
    )


def open_model(page: Any, kind: str) -> Any:
    """The part of the first model of a kind, opened."""
    kinds = page.locator("details.model").evaluate_all(
        """models => models.map(model =>
            JSON.parse(document.getElementById(`${model.id}-data`).textContent).gallery?.kind)"""
    )
    model = page.locator("details.model").nth(kinds.index(kind))
    if not model.evaluate("node => node.open"):
        model.locator("summary").first.click()
    model.locator(".pictures").scroll_into_view_if_needed()
    model.locator("canvas.map" if kind == "maps" else "svg.objects").first.wait_for()
    return model


def scroll_through(page: Any) -> None:
    """Everything is drawn when it comes near the screen."""
    for y in range(0, page.evaluate("document.documentElement.scrollHeight"), 600):
        page.evaluate(
            """y => new Promise(done => {
                scrollTo(0, y);
                requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));
            })""",
            y,
        )


#: The picture on a canvas as JSON, four numbers a pixel. Read from a copy, for the page reads none.
PIXELS = """async canvas => {
    await new Promise(done => setTimeout(done, 200));
    const { width, height } = canvas;
    const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return JSON.stringify(Array.from(data));
}"""

#: Milliseconds of an act until the page is drawn again.
AFTER_PAINT = """async act => {
    const started = performance.now();
    %s;
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - started;
}"""
