"""Files that are broken, too large or outside the folders: a note, and the rest of the page."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import report_files
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.report import build_report
from casvit_dense.report.build import Report
from casvit_dense.report.models import Model, model_of
from casvit_dense.report.pictures import Pictures
from casvit_dense.report.sources import is_within, read_sources
from casvit_dense.results.ledger import append_rows

DETECTOR, SEGMENTER = report_files.DETECTOR, report_files.SEGMENTER


@pytest.fixture
def data(shapes: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shapes, tmp_path / "data")


@pytest.fixture
def ledger(data: Path, tmp_path: Path) -> Path:
    return report_files.make_ledger(tmp_path / "runs", data)


def edit(path: Path, change: Callable) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def models_of(ledger: Path) -> dict[str, Model]:
    """Of each config the model's part of the page."""
    found = read_sources([ledger]).evaluations
    return {one.row.config: model_of(one, 3, Pictures()) for one in found}


def results(change: Callable) -> Callable[[Path, Path], None]:
    """Changes a detection of every file."""

    def edits(folder: Path, data: Path) -> None:
        for kind in ("bbox", "segm"):
            edit(folder / f"predictions.{kind}.json", lambda c: change(c[0]))

    return edits


def metrics(change: Callable) -> Callable[[Path, Path], None]:
    return lambda folder, data: edit(folder / "metrics.json", change)


def surrogate(folder: Path, data: Path) -> None:
    path = data / "coco/annotations/instances_val2017.json"
    edit(path, lambda c: c["images"][0].update(file_name="\ud800.png"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (results(lambda d: d.update(bbox=[float("nan"), 1, 2, 3])), "'bbox' is [nan, 1, 2, 3]"),
        (results(lambda d: d.update(score=float("inf"))), "'score' is inf"),
        (results(lambda d: d["segmentation"].update(counts="é")), "longer than its image"),
        (metrics(lambda c: c["conditions"].update(dataset=None)), "conditions, dataset"),
        (metrics(lambda c: c.update(per_class=[])), "per_class"),
        (metrics(lambda c: c["metrics"].update({"coco/bbox_mAP": "x"})), "metrics, coco/bbox_mAP"),
        (surrogate, "cannot be read as JSON"),
    ],
)
def test_a_broken_file_leaves_the_rest_of_the_page(
    ledger: Path, data: Path, spoil: Callable, message: str
) -> None:
    spoil(ledger.parent / DETECTOR / "test", data)
    report = build_report([ledger], images=3)
    assert [message in note for note in report.notes if note.startswith(DETECTOR)] == [True]
    models = models_of(ledger)
    assert models[DETECTOR].data["gallery"] is None
    assert models[SEGMENTER].data["gallery"] is not None and models[SEGMENTER].data["analysis"]


def test_masks_that_can_be_counted_but_not_drawn(ledger: Path) -> None:
    path = ledger.parent / DETECTOR / "test/predictions.segm.json"
    # A million pixels of background, then ten: pycocotools counts the ten and cannot decode them.
    edit(path, lambda c: [d["segmentation"].update(counts="Pb`n0:") for d in c])
    model = models_of(ledger)[DETECTOR]
    assert model.data["gallery"] is None and model.data["analysis"]
    assert any("cannot be drawn" in note for note in model.notes)


def test_a_log_and_a_speed_that_are_broken(ledger: Path) -> None:
    log = next(ledger.parent.glob(f"{DETECTOR}/*/vis_data/scalars.json"))
    with log.open("a") as file:
        file.write('{"loss": 1, "iter": null}\n{"lo\\ud800ss": 1, "iter": 9}\n')
    html = build_report([ledger], images=0).html
    assert b'"lo?ss"' in html


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses what has more than twice these pixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)


def test_pictures_that_pillow_refuses(ledger: Path, small_limit: None) -> None:
    models = models_of(ledger)
    images = models[DETECTOR].data["gallery"]["images"]
    assert [image["picture"] for image in images] == [None] * 3
    assert "too large" in images[0]["missing"] and models[DETECTOR].data["analysis"]
    # Maps are the predictions themselves.
    assert any("not a readable image" in note for note in models[SEGMENTER].notes)


def test_maps_that_pillow_refuses(
    ledger: Path, small_limit: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(ledger.parent / SEGMENTER)]) == 2
    assert "exceeds limit" in capsys.readouterr().err


# --- what leaves its folder -----------------------------------------------------------------------

OUTSIDE = ["/etc/x.png", "../x.png", "a/../../x.png", "C:/x.png", "..\\x.png", "\\\\host\\x.png"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_their_folder(name: str) -> None:
    assert not is_within(name)


@pytest.mark.parametrize(
    "name", ["x.png", "a/b/x.png", "..x.png", "a..b/x", "./x.png", "a b:c.png"]
)
def test_names_that_stay(name: str) -> None:
    assert is_within(name)


@pytest.mark.parametrize("absolute", [True, False])
def test_images_elsewhere_are_not_embedded(ledger: Path, data: Path, absolute: bool) -> None:
    secret = data / "coco/secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    name = str(secret) if absolute else "../secret.png"
    path = data / "coco/annotations/instances_val2017.json"
    edit(path, lambda c: c["images"][0].update(file_name=name))
    (model,) = (model for config, model in models_of(ledger).items() if config == DETECTOR)
    row = read_sources([ledger]).evaluations
    shown = model_of(next(one for one in row if one.row.config == DETECTOR), 100, Pictures())
    image = next(i for i in shown.data["gallery"]["images"] if i["name"] == name)
    assert image["picture"] is None and "does not lie below" in image["missing"]
    assert sum(i["picture"] is None for i in shown.data["gallery"]["images"]) == 1
    assert model.data["analysis"]


@pytest.mark.parametrize("absolute", [True, False])
def test_predictions_elsewhere_are_not_read(ledger: Path, tmp_path: Path, absolute: bool) -> None:
    there = ledger.parent / DETECTOR / "test"
    folder = str(there) if absolute else f"../runs/{DETECTOR}/test"
    row = report_files.result_row(DETECTOR, {"coco/bbox_mAP": 0.5}, "a", folder=folder)
    elsewhere = tmp_path / "sent/results.jsonl"
    append_rows(elsewhere, [row])
    report: Report = build_report([elsewhere])
    (note,) = report.notes
    assert folder in note and str(elsewhere) in note and "not read" in note
    assert models_of(elsewhere)[DETECTOR].data["gallery"] is None


def test_the_note_on_moved_data_is_one_that_the_report_can_follow(ledger: Path, data: Path) -> None:
    data.rename(data.with_name("moved"))
    notes = [note for model in models_of(ledger).values() for note in model.notes]
    moved = [note for note in notes if str(data) in note]
    assert len(moved) == 2
    assert all("in the folder in which `casvit-dense test` ran" in note for note in moved)
    assert not any("--data-root" in note for note in notes)
