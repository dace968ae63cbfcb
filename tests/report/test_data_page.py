"""The page of a data set: what it draws and counts, against the files and hand arithmetic."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_tab import CHROMIUM, Tab, playwright, scroll_through, visible_rows
from PIL import Image
from report_page import Page

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions
from casvit_dense.report.data.samples import choose, name_spots
from casvit_dense.report.data.show import show

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSES = ("background", "circle", "square", "triangle")


def silent(line: str) -> None:
    pass


def data_of(page: Page, name: str) -> Any:
    return json.loads(page.scripts[f"data-{name}-data"])


def picture(page: Page, index: int) -> np.ndarray:
    content = base64.b64decode(page.scripts[f"picture-{index}"])
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def widget(page: Page, title: str) -> dict[str, Any]:
    return next(one for one in data_of(page, "analysis") if one["title"] == title)


@pytest.fixture(scope="module")
def coco(shapes: Path) -> Page:
    return Page(show(shapes / "coco", "train", silent))


@pytest.fixture(scope="module")
def truth(shapes: Path) -> dict[str, Any]:
    return json.loads((shapes / "coco/annotations/instances_train2017.json").read_bytes())


@pytest.fixture(scope="module")
def maps_html(shapes: Path) -> bytes:
    options = RunOptions(classes=",".join(CLASSES), ignore_label=0)
    return show(shapes / "ade", "train", silent, options=options)


@pytest.fixture(scope="module")
def maps(maps_html: bytes) -> Page:
    return Page(maps_html)


def test_every_object_is_drawn_where_it_is(coco: Page, truth: dict[str, Any]) -> None:
    gallery = data_of(coco, "gallery")
    by_name = {image["file_name"]: image["id"] for image in truth["images"]}
    assert {image["name"] for image in gallery["images"]} == set(by_name)
    for image in gallery["images"]:
        mine = [a for a in truth["annotations"] if a["image_id"] == by_name[image["name"]]]
        expected = [[a["category_id"] - 1, *a["bbox"], a["iscrowd"]] for a in mine]
        drawn = [[*row[:5], row[6]] for row in image["truth"]]
        assert drawn == expected
        for row, annotation in zip(image["truth"], mine, strict=True):
            if not annotation["iscrowd"]:  # polygons go into the page as they are
                xy = annotation["segmentation"][0]
                assert row[5].startswith(f"M{xy[0]} {xy[1]}L{xy[2]} {xy[3]}L")
    assert gallery["classes"] == ["circle", "square", "triangle"]
    assert gallery["truth_only"]


def test_pictures_are_the_images(coco: Page, shapes: Path) -> None:
    image = data_of(coco, "gallery")["images"][0]
    with Image.open(shapes / "coco/train2017" / image["name"]) as original:
        expected = np.asarray(original.convert("RGB")).astype(int)
    assert np.abs(picture(coco, image["picture"]) - expected).mean() < 12  # lossy


def test_histogram_of_classes(coco: Page, truth: dict[str, Any]) -> None:
    objects = Counter(a["category_id"] for a in truth["annotations"])
    images = {
        i: {a["image_id"] for a in truth["annotations"] if a["category_id"] == i} for i in objects
    }
    names = {c["id"]: c["name"] for c in truth["categories"]}
    expected = sorted(
        ([names[i], n, f"{n}", f"in {len(images[i])} images"] for i, n in objects.items()),
        key=lambda row: -row[1],
    )
    rows = widget(coco, "Objects of each class")["rows"]
    assert Counter(map(tuple, rows)) == Counter(map(tuple, expected))
    assert [row[1] for row in rows] == [row[1] for row in expected]


def test_histograms_of_sizes(coco: Page, truth: dict[str, Any]) -> None:
    sides = [(a["bbox"][2] * a["bbox"][3]) ** 0.5 for a in truth["annotations"]]
    drawn = widget(coco, "Sizes of objects")
    for low, high, count in zip(drawn["edges"], drawn["edges"][1:], drawn["counts"], strict=False):
        assert count == pytest.approx(sum(low <= side < high for side in sides), abs=1)
    assert sum(drawn["counts"]) == len(sides)
    small = round(100 * sum(side < 32 for side in sides) / len(sides))
    assert drawn["note"].startswith(f"{small} % are small")
    in_image = Counter(a["image_id"] for a in truth["annotations"])
    counts = Counter(in_image[image["id"]] for image in truth["images"])
    drawn = widget(coco, "Objects in an image")
    assert dict(zip(drawn["edges"], drawn["counts"], strict=False)) == {
        n: counts[n] for n in range(max(counts) + 1)
    }
    assert widget(coco, "Sizes of images")["rows"] == [["64 x 64", 10, "100 %"]]


def test_maps_are_drawn_and_counted(maps: Page, shapes: Path) -> None:
    total, within = Counter[int](), Counter[int]()
    gallery = data_of(maps, "gallery")
    for image in gallery["images"]:
        with Image.open(shapes / "ade/annotations/training" / image["name"]) as file:
            labels = np.asarray(file).astype(int)
        classes = np.where(labels == 0, 255, labels - 1)
        np.testing.assert_array_equal(picture(maps, image["truth"]), classes)
        for label, x, y in image["names"]:
            assert classes[y, x] == label
        found = Counter(classes.ravel().tolist())
        total += found
        within.update(found.keys())
    drawn = widget(maps, "Pixels of each class")
    pixels = total.total()
    for name, share, _, where in drawn["rows"]:
        index = CLASSES.index(name)
        assert share == pytest.approx(100 * total[index] / pixels, abs=1e-3)
        assert where == f"in {within[index]} maps"
    assert f"{100 * total[255] / pixels:.1f} % have no class" in drawn["note"]


def test_names_stand_in_the_widest_spot() -> None:
    labels = np.full((40, 60), 255, np.uint8)
    labels[10:31, 20:41] = 3  # 21 pixels square: its middle is 30, 20
    labels[0, :] = 1  # a line, and 2.5 % of the picture
    spots = {label: (x, y) for label, x, y in name_spots(labels)}
    assert spots[3] == (30, 20)
    assert set(spots) == {1, 3}


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One bright box at 4, 6 of 10x8 pixels in an image of 40x20, doubled and flipped."""
    root = tmp_path_factory.mktemp("one")
    image = np.zeros((20, 40, 3), np.uint8)
    image[6:14, 4:14] = 250, 20, 20
    (root / "train2017").mkdir()
    Image.fromarray(image).save(root / "train2017/one.png")
    box = {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [4, 6, 10, 8],
        "area": 80,
        "iscrowd": 0,
    }
    box["segmentation"] = [[4, 6, 14, 6, 14, 14, 4, 14]]
    names = ["circle", "square", "triangle"]
    content = {
        "images": [{"id": 1, "file_name": "one.png", "width": 40, "height": 20}],
        "annotations": [box],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
    }
    (root / "annotations").mkdir()
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    config = root / "config.py"
    config.write_text(
        f"_base_ = {str(CONFIGS / 'demo/mask-rcnn_casvit-mini_fpn_shapes.py')!r}\n"
        "pipeline = [dict(type='LoadImageFromFile'),\n"
        "    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),\n"
        "    dict(type='Resize', scale=(80, 40), keep_ratio=True),\n"
        "    dict(type='RandomFlip', prob=1.0), dict(type='PackDetInputs')]\n"
        "train_dataloader = dict(dataset=dict(pipeline=pipeline,\n"
        "    filter_cfg=dict(filter_empty_gt=True, min_size=8)))\n"
    )
    return show(config, "train", silent, options=RunOptions(data_root=str(root)))


def test_samples_are_what_the_network_sees(augmented: bytes) -> None:
    page = Page(augmented)
    (image,) = data_of(page, "gallery")["images"]
    assert (image["width"], image["height"]) == (80, 40)
    (row,) = image["truth"]
    # Doubled: 8, 12, 20x16; flipped: 80 - 8 - 20 = 52.
    assert row[:5] == [1, 52, 12, 20, 16]
    assert row[5].startswith("M") and row[6] == 0
    pixels = picture(page, image["picture"])
    assert pixels[20, 62, 0] > 180 and pixels[20, 62, 2] < 80  # red, so RGB
    assert pixels[20, 18].max() < 60  # where it was before the flip


def test_the_steps_of_the_pipeline_are_named(augmented: bytes) -> None:
    assert "LoadImageFromFile → LoadAnnotations → Resize → RandomFlip" in augmented.decode()


@pytest.fixture(scope="module")
def faulty(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faulty")
    (root / "annotations").mkdir()
    (root / "images").mkdir()
    content = json.loads((shapes / "coco/annotations/instances_train2017.json").read_bytes())
    for image in content["images"]:
        source = shapes / "coco/train2017" / image["file_name"]
        (root / "images" / image["file_name"]).write_bytes(source.read_bytes())
    content["annotations"][0]["bbox"][2] = float("nan")
    damaged = root / "images" / content["images"][5]["file_name"]
    damaged.write_bytes(damaged.read_bytes()[:300])
    content["categories"][2]["name"] = "</script><b>bold"
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return root


def test_findings_stand_beside_their_images(faulty: Path) -> None:
    page = Page(show(faulty, "train", silent, count=4))
    images = {image["name"]: image for image in data_of(page, "gallery")["images"]}
    assert len(images) == 4
    first = [text for _, text in images["000000.png"]["findings"]]
    assert any(text.startswith("box-not-finite") and "NaN" in text for text in first)
    severities = {severity for severity, _ in images["000005.png"]["findings"]}
    assert images["000005.png"]["picture"] is None and severities == {"error"}
    assert sum(not image["findings"] for image in images.values()) == 2
    codes = [row[1] for row in page.tables["found"][1:]]
    assert {"box-not-finite", "image-damaged"} <= set(codes)


def test_choice_of_samples() -> None:
    names = [f"{i}.png" for i in range(100)]
    found = {name: [("error", "x")] for name in names[:50]}
    chosen = choose(names, found, 10)
    assert len(set(chosen)) == 10 and chosen == choose(names, found, 10)
    assert sum(names[i] in found for i in chosen) == 5
    assert len(choose(names, found, 80)) == 80  # more faulty ones where others are too few
    assert len(choose(names, {}, 200)) == 100


def test_a_config_whose_pipeline_cannot_read_the_data_shows_them_raw(faulty: Path) -> None:
    config = CONFIGS / "demo/retinanet_casvit-mini_fpn_shapes.py"
    (faulty / "train2017").symlink_to(faulty / "images")
    page = Page(show(config, "train", silent, options=RunOptions(data_root=str(faulty))))
    assert data_of(page, "gallery")["images"]


def test_the_command(shapes: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "page.html"
    arguments = ["data", "show", str(shapes / "coco"), "--out", str(out), "--n", "2"]
    assert main([*arguments, "--split", "val"]) == 0
    assert "written:" in capsys.readouterr().out
    assert len(data_of(Page(out.read_bytes()), "gallery")["images"]) == 2
    assert main([*arguments, "--split", "test"]) == 2
    assert "no split test; give --split train or val" in capsys.readouterr().err


def test_own_data_through_the_pipeline_of_a_config(shapes: Path, tmp_path: Path) -> None:
    config = CONFIGS / "demo/fpn_casvit-mini_shapes.py"
    options = RunOptions(classes=",".join(CLASSES), ignore_label=0, data=shapes / "ade")
    page = Page(show(config, "train", silent, 2, options))
    gallery = data_of(page, "gallery")
    assert gallery["kind"] == "maps" and gallery["classes"] == list(CLASSES)
    assert len(widget(page, "Pixels of each class")["rows"]) == 4
    for image in gallery["images"]:
        labels = picture(page, image["truth"])
        assert set(np.unique(labels)) <= {0, 1, 2, 3, 255} and (labels == 0).any()
    with pytest.raises(UserError, match="no config"):
        show(shapes / "coco", "train", silent, options=options)


def test_a_set_without_truth_is_refused(shapes: Path, tmp_path: Path) -> None:
    description = tmp_path / "data.yaml"
    description.write_text(
        f"task: detection\nlayout: coco\nclasses: [a]\nsplits: {{test: {{images: {shapes}}}}}\n"
    )
    with pytest.raises(UserError, match="without annotations"):
        show(description, "test", silent)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium to look at the page with")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_in_a_browser(
    browser: Any, faulty: Path, truth: dict[str, Any], tmp_path: Path, width: int
) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(show(faulty, "train", silent))
    with Tab(browser, file, width) as page:
        scroll_through(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("body").inner_text().count("null") == 0
        assert page.locator("#data-analysis .chart").count() == 4
        assert ["error", "box-not-finite"] in [row[:2] for row in visible_rows(page, "found")]
        figure = page.locator("figure", has_text="000001.png").first
        boxes = figure.locator("rect.box").evaluate_all(
            """boxes => boxes.map((node) => {
                const box = node.getBoundingClientRect();
                const stage = node.closest(".stage").getBoundingClientRect();
                const place = [box.x - stage.x, box.y - stage.y, box.width, box.height];
                return place.map((value) => value * 64 / stage.width);
            })"""
        )
        expected = [a["bbox"] for a in truth["annotations"] if a["image_id"] == 1]
        assert boxes == [pytest.approx(box, abs=0.6) for box in expected]
        names = page.get_by_label("Names")
        names.uncheck()
        assert page.locator("svg.objects:not(.unnamed)").count() == 0
        names.check()
        page.get_by_label("Truth", exact=True).uncheck()
        assert page.locator("rect.box:visible").count() == 0
        figure.get_by_role("button").click()
        page.get_by_text("What is in this picture").click()
        assert page.locator("dialog tbody tr").count() == len(expected)
        page.locator("dialog").get_by_label("Truth", exact=True).check()
        assert page.locator("dialog svg.objects text:visible").count() == len(expected)
        page.keyboard.press("Escape")


def test_maps_in_a_browser(browser: Any, maps_html: bytes, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(maps_html)
    with Tab(browser, file) as page:
        scroll_through(page)
        page.locator("canvas.map").first.wait_for()
        assert "background" in page.locator(".regions text").all_text_contents()
        page.locator("figure button").first.click()
        page.get_by_text("What is in this picture").click()
        assert page.locator("dialog thead th").all_text_contents() == ["Class", "Truth"]
