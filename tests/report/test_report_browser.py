"""The report in Chromium: what a reader does with it, on wide and narrow screens and on paper."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_files
from browser_tab import (
    AFTER_PAINT,
    CHROMIUM,
    PIXELS,
    Tab,
    open_model,
    playwright,
    scroll_through,
    visible_rows,
)
from PIL import Image

from casvit_dense.data.palette import OKABE_ITO
from casvit_dense.report import build_report
from casvit_dense.results.ledger import append_rows

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the page with")

CPU = Path(__file__).parents[2] / "docs/speed/cpu.jsonl"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """A report of the demo's kinds of models, with a class and a file of hostile names."""
    root = tmp_path_factory.mktemp("report")
    data = root / "data"
    shutil.copytree(shapes, data)
    report_files.rename(data / "coco", report_files.HOSTILE, 0, """a"b'c<img src=x>.png""")
    ledger = report_files.make_ledger(root / "runs", data)
    (root / "report.html").write_bytes(build_report([ledger], [CPU]).html)
    return root / "report.html"


def test_sorting(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        page.get_by_role("button", name="Show all 55 rows").click()
        head = page.locator("#verdicts th", has_text="Published").first
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        published = [float(row[3]) for row in visible_rows(page, "verdicts")]
        assert published == sorted(published) and len(published) == 55
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert [float(r[3]) for r in visible_rows(page, "verdicts")] == published[::-1]
        # Rows without a figure stay below, either way.
        ours = page.locator("#verdicts th", has_text="Ours")
        for _ in range(2):
            ours.get_by_role("button").click()
            figures = [row[4] for row in visible_rows(page, "verdicts")]
            known = [figure for figure in figures if figure != "\u2013"]
            assert figures[: len(known)] == known and len(known) == 3


def test_filtering(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        grid = page.locator(".grid", has=page.locator("#verdicts"))
        status = grid.get_by_role("status")
        assert status.text_content() == "55 rows"
        grid.get_by_label("Head").select_option("Mask R-CNN")
        assert {row[1] for row in visible_rows(page, "verdicts")} == {"Mask R-CNN"}
        grid.get_by_label("Verdict").select_option(label="▼ below")
        assert [row[4] for row in visible_rows(page, "verdicts")] == ["30.00"]
        assert status.text_content() == "1 of 55 rows"
        grid.get_by_label("Verdict").select_option("")
        grid.get_by_label("Head").select_option("")
        grid.get_by_role("searchbox").fill("swin-t_")
        assert {row[0] for row in visible_rows(page, "verdicts")} == {"Swin-T"}
        grid.get_by_role("searchbox").fill("no such model")
        assert visible_rows(page, "verdicts") == []
        assert status.text_content() == "0 of 55 rows"
        speeds = page.locator(".grid", has=page.locator("#speeds"))
        speeds.get_by_label("Backend").select_option("openvino")
        speeds.get_by_label("Part").select_option("backbone")
        assert {(r[1], r[3]) for r in visible_rows(page, "speeds")} == {("backbone", "openvino")}


def test_accuracy_against_cost(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        box = page.locator("#scatter-1")
        box.scroll_into_view_if_needed()
        box.get_by_label("Accuracy", exact=True).select_option("bbox_mAP")
        box.get_by_label("Head", exact=True).select_option("RetinaNet")
        box.get_by_label("Cost", exact=True).select_option("Multiply-adds")
        points = box.locator("svg.chart .point")
        rows = box.locator(".values tbody tr")
        assert points.count() == rows.count() > 5
        measured = box.get_by_role("button", name="CAS-ViT-XS, CAS-ViT, measured here")
        assert "filled" in measured.get_attribute("class")
        measured.hover()
        assert "box AP (percent): 36.5" in box.locator(".tip").text_content()
        assert box.locator(".tip").is_visible()
        measured.click()
        assert rows.filter(has_text="measured here").locator("visible=true").count()
        chosen = box.locator("tr.chosen")
        assert "CAS-ViT-XS" in chosen.text_content() and chosen.count() == 1
        rows.nth(0).click()
        assert "chosen" in points.nth(0).get_attribute("class")
        # By keys alone.
        points.nth(0).focus()
        page.keyboard.press("ArrowRight")
        assert points.nth(1).evaluate("node => node === document.activeElement")
        page.keyboard.press("Enter")
        assert "chosen" in rows.nth(1).get_attribute("class")
        before = points.count()
        box.get_by_role("button", name="others, published", exact=True).click()
        assert points.count() < before
        assert box.locator(".point:not(svg).hollow").count() < before
        box.get_by_label("Cost", exact=True).select_option("Time")
        box.get_by_label("Logarithmic cost").uncheck()
        assert points.count() == rows.count() > 0
        assert "ms" in box.locator(".label").first.text_content()


def test_curves(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        box = page.locator("#curves")
        box.scroll_into_view_if_needed()
        playwright.expect(box.locator(".marks .line")).to_have_count(2)
        box.get_by_role("button", name=report_files.SEGMENTER).click()
        playwright.expect(box.locator(".marks .line")).to_have_count(1)
        box.get_by_label("Scalar").select_option("coco/bbox_mAP")
        chart = box.locator("svg.chart")
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert "iteration: 20" in box.get_by_role("status").text_content()
        assert "coco/bbox_mAP: 0.2" in box.get_by_role("status").text_content()
        box.get_by_label("Logarithmic").check()
        playwright.expect(box.locator(".marks .dot")).to_have_count(3)


def test_overlays(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        model = open_model(page, "objects")
        boxes = {name: model.locator(f".object.{name} rect.box") for name in ("truth", "predicted")}
        counts = {name: found.locator("visible=true").count() for name, found in boxes.items()}
        assert min(counts.values()) > 0
        model.get_by_label("Truth").uncheck()
        assert boxes["truth"].locator("visible=true").count() == 0
        assert boxes["predicted"].locator("visible=true").count() == counts["predicted"]
        model.get_by_label("Truth").check()
        slider = model.get_by_label("Least score")
        slider.fill("0.95")
        high = boxes["predicted"].locator("visible=true").count()
        slider.fill("0.05")
        low = boxes["predicted"].locator("visible=true").count()
        assert high < counts["predicted"] < low
        model.get_by_label("Predictions").uncheck()
        assert boxes["predicted"].locator("visible=true").count() == 0
        model.get_by_label("Layers").select_option("beside")
        model.locator("figure").first.locator(".stage").nth(1).wait_for()
        assert model.locator("figure").first.locator(".stage").count() == 2


def test_maps(browser: Any, report: Path, shapes: Path) -> None:
    """What the canvas shows is the map that was written."""
    with Tab(browser, report) as page:
        model = open_model(page, "maps")
        name = model.locator("figcaption .file").first.text_content()
        truth = np.asarray(Image.open(shapes / "ade/annotations/validation" / name))
        predicted = np.maximum(np.roll(truth, (3, 2), (0, 1)), 1)  # as `write_maps` does
        canvases = model.locator("figure").first.locator("canvas")

        def shown(which: int = 0) -> np.ndarray:
            pixels = json.loads(canvases.nth(which).evaluate(PIXELS))
            return np.array(pixels).reshape(*truth.shape, 4)

        for which, labels in enumerate((truth, predicted)):
            picture = shown(which)
            assert np.array_equal(picture[..., 3] == 0, labels == 0)  # unlabelled: nothing
            for label in np.unique(labels[labels > 0]):
                inside = picture[labels == label]
                # Tinted with 0.6; colours are rounded when they are stored with it.
                assert np.all(inside[:, 3] == 153)
                assert np.abs(inside[:, :3] - OKABE_ITO[label - 1]).max() <= 2
        model.get_by_label("Truth").uncheck()
        assert not shown(0).any() and shown(1).any()
        model.get_by_label("Layers").select_option("differences")
        differing = (shown()[..., 0] > 200) & (shown()[..., 3] > 200)
        assert np.array_equal(differing, (truth != predicted) & (truth > 0))


def test_opening_a_picture(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        model = open_model(page, "objects")
        first = model.locator("button.open").first
        name = model.locator("figcaption .file").first.text_content()
        first.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        assert dialog.is_visible() and name in dialog.get_by_role("heading").text_content()
        stage = dialog.locator(".stage")
        fitted = stage.bounding_box()["width"]
        page.keyboard.press("+")
        assert stage.bounding_box()["width"] == pytest.approx(1.4 * fitted, rel=0.02)
        page.keyboard.press("0")
        assert stage.bounding_box()["width"] == pytest.approx(fitted, abs=2)
        stage.hover()
        page.mouse.wheel(0, -400)
        page.wait_for_function(
            "([node, width]) => node.getBoundingClientRect().width > width",
            arg=[stage.element_handle(), 2 * fitted],
        )
        dialog.get_by_role("button", name="Fit").click()
        dialog.locator("summary").click()
        listed = dialog.locator("tbody tr").count()
        assert listed == dialog.locator(".object").count() > 0
        page.keyboard.press("t")
        assert dialog.locator(".object.truth rect.box").locator("visible=true").count() == 0
        dialog.get_by_role("button", name="Next").click()
        assert "(2 of" in dialog.get_by_role("heading").text_content()
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        second = model.locator("button.open").nth(1)
        assert second.evaluate("node => node === document.activeElement")
        # The page follows what was toggled in the dialog.
        assert model.locator(".object.truth rect.box").locator("visible=true").count() == 0
        assert not model.get_by_label("Truth").is_checked()


def test_hostile_names_are_shown_as_they_are(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        model = open_model(page, "objects")
        scroll_through(page)
        assert model.locator(".bars th", has_text=report_files.HOSTILE).count() >= 1
        assert model.locator("figcaption", has_text="""a"b'c<img src=x>.png""").count() == 1
        assert page.locator("main script:not([type])").count() == 0


def test_narrow_screens(browser: Any, report: Path) -> None:
    with Tab(browser, report, 360) as page:
        for kind in ("objects", "maps"):
            open_model(page, kind)
        scroll_through(page)
        for width in (360, 768):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.locator("button.open").first.click()
            box = page.get_by_role("dialog").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            page.keyboard.press("Escape")


def test_paper(browser: Any, report: Path) -> None:
    with Tab(browser, report, color_scheme="dark") as page:
        page.emulate_media(media="print")
        playwright.expect(page.locator("details.model:not([open])")).to_have_count(0)
        page.wait_for_function("document.querySelectorAll('svg.chart').length >= 5")
        assert len(visible_rows(page, "verdicts")) == 55
        assert page.locator(".control:visible, nav:visible").count() == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        page.emulate_media(media="screen")
        playwright.expect(page.locator("details.model[open]")).to_have_count(1)
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_light_and_dark(browser: Any, report: Path) -> None:
    with Tab(browser, report, color_scheme="dark") as page:

        def brightness() -> int:
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return sum(map(int, colour.strip("rgb()").split(",")))

        assert brightness() < 150
        toggle = page.get_by_role("button", name="Theme")
        toggle.click()
        assert toggle.text_content() == "Theme: light" and brightness() > 600
        toggle.click()
        assert toggle.text_content() == "Theme: dark" and brightness() < 150


def test_everything_is_in_reach_of_the_keyboard(browser: Any, report: Path) -> None:
    with Tab(browser, report) as page:
        open_model(page, "objects")
        scroll_through(page)
        page.evaluate("scrollTo(0, 0)")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        # All that reacts to clicks is a control, or has a control that does the same.
        strange = page.evaluate(
            """() => [...document.querySelectorAll('[onclick], [role=button]')]
                .filter(node => node.tabIndex < 0 && !node.closest('svg.chart'))
                .map(node => node.outerHTML)"""
        )
        assert strange == []
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, svg[tabindex]')]
                .filter(node => !(node.textContent.trim() || node.ariaLabel || node.labels?.length))
                .map(node => node.outerHTML)"""
        )
        assert unnamed == []
        outline = page.get_by_role("button", name="Theme")
        outline.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert outline.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"


def test_copying_a_command(browser: Any, report: Path) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with Tab(browser, report, permissions=permissions) as page:
        row = page.locator("#commands tr", has_text=report_files.DETECTOR)
        command = row.locator("code").text_content()
        # The text changes when the clipboard has answered, and back soon after.
        row.get_by_role("button").evaluate(
            """button => {
                window.texts = [];
                new MutationObserver(() => texts.push(button.textContent))
                    .observe(button, { childList: true });
            }"""
        )
        row.get_by_role("button").click()
        page.wait_for_function("texts.length > 0")
        assert page.evaluate("texts[0]") == "Copied"
        assert page.evaluate("navigator.clipboard.readText()") == command


# --- size -----------------------------------------------------------------------------------------

MODELS, IMAGES = 40, 5000
OPEN_S, KEY_MS = 3.0, 100.0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 models, each with predictions on its own 125 images, all of them in the galleries."""
    from casvit_dense.data.shapes import ShapesSpec, generate_shapes

    root = tmp_path_factory.mktemp("large")
    generate_shapes(root / "data", ShapesSpec(train=1, val=IMAGES, size=96))
    each = IMAGES // MODELS
    rows = []
    for i in range(MODELS):
        name = f"mask-rcnn_model-{i:02}_fpn_shapes"
        row = report_files.result_row(name, {"coco/bbox_mAP": i / 100, "coco/segm_mAP": 0.4}, "a")
        indices = range(i * each, (i + 1) * each)
        report_files.write_detections(root / row.folder, row, root / "data/coco", indices)
        report_files.write_log(root / name, ("loss", "loss_cls", "loss_bbox", "lr"), "mAP", 40)
        rows.append(row)
    append_rows(root / "results.jsonl", rows)
    report = build_report([root / "results.jsonl"], [CPU], images=each)
    (root / "report.html").write_bytes(report.html)
    return root / "report.html"


@pytest.mark.slow
def test_many_models_and_pictures(browser: Any, large: Path) -> None:
    started = time.monotonic()
    with Tab(browser, large) as page:
        search = page.locator(".grid", has=page.locator("#board-1")).get_by_role("searchbox")
        search.fill("model-07")
        assert len(visible_rows(page, "board-1")) == 1
        opened = time.monotonic() - started
        typing = """const box = document.querySelectorAll('.grid:has(#%s) input')[0];
            box.value = '%s'; box.dispatchEvent(new Event('input'))"""
        keys = [
            page.evaluate(AFTER_PAINT % (typing % (table, text)))
            for table in ("board-1", "speeds")
            for text in ("m", "mo", "casvit-x", "")
        ]
        last = page.locator("details.model").last
        last.locator("summary").first.click()
        last.locator("button.open").first.scroll_into_view_if_needed()
        scroll_through(page)
        assert last.locator("button.open").count() == IMAGES // MODELS
        slider = """const box = document.querySelector('details.model:last-of-type [type=range]');
            box.value = 0.6; box.dispatchEvent(new Event('input'))"""
        sliding = page.evaluate(AFTER_PAINT % slider)
        print(
            f"\n{large.stat().st_size / 1e6:.1f} MB; opened and filtered in {opened:.2f} s; "
            f"a key at most {max(keys):.0f} ms; the slider {sliding:.0f} ms"
        )
    assert opened < OPEN_S
    assert max(keys) < KEY_MS
    assert sliding < KEY_MS
