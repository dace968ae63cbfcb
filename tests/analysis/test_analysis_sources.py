"""From what an evaluation left behind to its truth, and the command around it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from analysis_data import Script, write
from PIL import Image

from casvit_dense.analysis import CocoSource, MapSource, analyse, find_sources
from casvit_dense.cli import main
from casvit_dense.coco_backends import evaluate_coco
from casvit_dense.errors import UserError
from casvit_dense.files import read_json

SHAPES = ["circle", "square", "triangle"]


@pytest.fixture
def detected(tmp_path: Path, shapes: Path) -> Path:
    """A folder as `casvit-dense test` leaves it, of boxes and masks."""
    file = shapes / "coco/annotations/instances_val2017.json"
    truth = read_json(file)
    folder = tmp_path / "boxes/test"
    folder.mkdir(parents=True)
    metrics, per_class = {}, {}
    for kind in ("bbox", "segm"):
        results = Script(truth, kind).found
        write(folder / f"predictions.{kind}.json", results)
        ids = [category["id"] for category in truth["categories"]]
        images = [image["id"] for image in truth["images"]]
        numbers = evaluate_coco(read_json(file), results, kind, ids, images)
        metrics[f"coco/{kind}_mAP"] = float(numbers.stats[0])
        per_class[kind] = dict.fromkeys(SHAPES)
    dataset = {
        "type": "CocoDataset",
        "data_root": str(shapes / "coco"),
        "ann_file": "annotations/instances_val2017.json",
        "data_prefix": {"img": "val2017/"},
    }
    stated = {"metrics": metrics, "per_class": per_class}
    conditions = {"dataset": dataset, "images": len(truth["images"])}
    write(folder / "metrics.json", {"config": "boxes", **stated, "conditions": conditions})
    return folder


@pytest.fixture
def segmented(tmp_path: Path, shapes: Path) -> Path:
    """The same of maps, all of them right."""
    folder = tmp_path / "areas/test"
    shutil.copytree(shapes / "ade/annotations/validation", folder / "maps")
    for path in (folder / "maps").iterdir():
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.maximum(labels, 1)).save(path)  # 0 is unlabelled
    content = {
        "config": "areas",
        "metrics": {"mIoU": 100.0},
        "per_class": {"IoU": dict.fromkeys(["background", *SHAPES], 100.0)},
        "conditions": {
            "images": len(list((folder / "maps").iterdir())),
            "dataset": {
                "type": "BaseSegDataset",
                "data_root": str(shapes / "ade"),
                "data_prefix": {
                    "img_path": "images/validation",
                    "seg_map_path": "annotations/validation",
                },
                "pipeline": [{"type": "LoadAnnotations", "reduce_zero_label": True}],
                "img_suffix": ".png",
            },
        },
    }
    write(folder / "metrics.json", content)
    return folder


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    content = read_json(folder / "metrics.json")
    change(content)
    write(folder / "metrics.json", content)


@pytest.mark.parametrize("level", [0, 1])
def test_truth_of_boxes_is_found(detected: Path, level: int) -> None:
    result = analyse([detected, detected.parent][level])
    assert result.name == "boxes" and list(result.detection) == ["bbox", "segm"]
    assert result.notes == []  # AP is that of the evaluation
    assert result.images is not None and Path(result.images, "000000.png").is_file()
    assert Path(result.images, result.detection["bbox"].worst[0].file).is_file()


def test_the_newest_evaluation_of_a_work_directory_is_taken(detected: Path) -> None:
    work_dir = detected.parent / "work"
    for name, time in (("first", "20261127T141530Z"), ("second", "20261127T141530Z-02")):
        folder = shutil.copytree(detected, work_dir / "test" / time)
        edit(folder, lambda content, name=name: content.update(config=name))
    (work_dir / "test/20261128T000000Z").mkdir()  # has not ended
    assert [analyse(folder).name for folder in (work_dir, work_dir / "test")] == ["second"] * 2
    assert analyse(work_dir / "test/20261127T141530Z").name == "first"


def test_truth_of_maps_is_found(segmented: Path) -> None:
    result = analyse(segmented)
    assert result.maps is not None and result.maps.miou == 100 and result.notes == []
    assert result.images is not None and Path(result.images, result.maps.worst[0].file).is_file()


def test_moved_data(detected: Path, segmented: Path, shapes: Path, tmp_path: Path) -> None:
    for folder, part in ((detected, "coco"), (segmented, "ade")):
        edit(folder, lambda c: c["conditions"]["dataset"].update(data_root="data/gone"))
        with pytest.raises(UserError, match="gone.*--data-root"):
            analyse(folder)
        assert analyse(folder, data_root=shapes / part).notes == []


def test_what_an_earlier_evaluation_of_another_kind_left_is_not_taken(
    detected: Path, segmented: Path
) -> None:
    def boxes_alone(content: dict) -> None:
        del content["metrics"]["coco/segm_mAP"], content["per_class"]["segm"]

    edit(detected, boxes_alone)
    shutil.copytree(segmented / "maps", detected / "maps")
    assert list(analyse(detected).detection) == ["bbox"]
    for kind in ("bbox", "segm"):
        write(segmented / f"predictions.{kind}.json", [])
    assert analyse(segmented).maps is not None
    # Maps alone, but of an evaluation of boxes.
    (detected / "predictions.bbox.json").unlink()
    with pytest.raises(UserError, match="holds no predictions"):
        find_sources(detected)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("conditions, dataset: must be keys", lambda c: c["conditions"].update(dataset=None)),
        (
            "conditions, images: must be a valid integer, not '5'",
            lambda c: c["conditions"].update(images="5"),
        ),
        (
            "conditions, dataset, pipeline, row 1: must be keys",
            lambda c: c["conditions"]["dataset"].update(pipeline=[1]),
        ),
        (
            "conditions, dataset, data_root: must be",
            lambda c: c["conditions"]["dataset"].update(data_root=1),
        ),
        (
            "conditions, dataset, img_suffix: String should match",
            lambda c: c["conditions"]["dataset"].update(img_suffix="/x"),
        ),
        ("per_class: must be keys", lambda c: c.update(per_class=["square"])),
        ("per_class, bbox: must be keys", lambda c: c["per_class"].update(bbox=["square"])),
        (
            "metrics, coco/bbox_mAP: must be a valid number",
            lambda c: c["metrics"].update({"coco/bbox_mAP": "high"}),
        ),
        (
            "Invalid JSON: lone leading surrogate",
            lambda c: c["per_class"]["bbox"].update({"\udfff": 1}),
        ),
        ("Invalid JSON: unexpected end of hex escape", lambda c: c.update(config="\ud800")),
    ],
)
def test_values_of_another_type_are_named(
    detected: Path, key: str, change: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(detected, change)
    for command in (["analyze", str(detected)], ["compare", str(detected), str(detected)]):
        assert main(command) == 2
        assert f"metrics.json: {key}" in capsys.readouterr().err
    write(detected / "metrics.json", [])
    with pytest.raises(UserError, match="metrics.json: must be keys with values"):
        find_sources(detected)


def test_images_whose_names_end_otherwise_than_maps(segmented: Path) -> None:
    """Cityscapes' do: ``a_leftImg8bit.png`` belongs to ``a_gtFine_labelTrainIds.png``."""
    ends = {"seg_map_suffix": "_gtFine_labelTrainIds.png", "img_suffix": "_leftImg8bit.png"}
    edit(segmented, lambda c: c["conditions"]["dataset"].update(ends))
    (source,) = find_sources(segmented)
    assert isinstance(source, MapSource)
    truth = source.truth / "city.1/a_gtFine_labelTrainIds.png"
    assert source.image_of(truth) == "city.1/a_leftImg8bit.png"


def test_changed_truth_is_noted(detected: Path) -> None:
    edit(detected, lambda c: c["metrics"].update({"coco/bbox_mAP": 0.9}))
    notes = analyse(detected).notes
    assert len(notes) == 1 and "bbox_mAP" in notes[0]


def test_part_of_classes_and_images(detected: Path, shapes: Path) -> None:
    found = read_json(detected / "predictions.bbox.json")
    truth = read_json(shapes / "coco/annotations/instances_val2017.json")
    chosen = [image["id"] for image in truth["images"][:3]]
    squares = next(c["id"] for c in truth["categories"] if c["name"] == "square")
    kept = [r for r in found if r["image_id"] in chosen and r["category_id"] == squares]
    write(detected / "predictions.bbox.json", kept)
    (detected / "predictions.segm.json").unlink()

    def cut(content: dict) -> None:
        content["conditions"]["dataset"]["indices"] = 3
        content["per_class"]["bbox"] = {"square": None}
        numbers = evaluate_coco(truth, kept, "bbox", [squares], chosen)
        content["metrics"]["coco/bbox_mAP"] = float(numbers.stats[0])

    edit(detected, cut)
    result = analyse(detected)
    assert result.notes == [] and result.detection["bbox"].images == 3
    assert [c.name for c in result.detection["bbox"].classes] == ["square"]


LOADED = {"type": "LoadAnnotations", "reduce_zero_label": True}


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ({"reduce_zero_label": False}, False),
        ({"reduce_zero_label": True}, True),
        ({"pipeline": [{"type": "LoadAnnotations"}, LOADED]}, True),  # by version 0.1
        # What 0.2 found to hold, where steps of the pipeline differ.
        ({"pipeline": [LOADED], "reduce_zero_label": False}, False),
    ],
)
def test_numbering_of_maps(segmented: Path, dataset: dict, expected: bool) -> None:
    edit(segmented, lambda c: c["conditions"].update(dataset=dataset))
    (source,) = find_sources(segmented)
    assert isinstance(source, MapSource) and source.reduce_zero_label is expected


def test_numbering_that_version_01_left_out(segmented: Path) -> None:
    edit(segmented, lambda c: c["conditions"].update(dataset={"type": "ADE20KDataset"}))
    with pytest.raises(UserError, match="reduce_zero_label is missing.*evaluate again"):
        find_sources(segmented)


def test_folders_that_hold_nothing(tmp_path: Path, detected: Path) -> None:
    with pytest.raises(UserError, match="no evaluation"):
        find_sources(tmp_path)
    for kind in ("bbox", "segm"):
        (detected / f"predictions.{kind}.json").unlink()
    with pytest.raises(UserError, match="holds no predictions"):
        find_sources(detected)
    write(detected / "metrics.json", {"metrics": {}})
    with pytest.raises(UserError, match="config: is missing"):
        find_sources(detected)
    (detected / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="Invalid JSON"):
        find_sources(detected)


def test_command_on_folders(
    detected: Path, segmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "analysis.json"
    assert main(["analyze", str(detected), str(segmented), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for part in ("boxes, bbox", "boxes, segm", "areas, maps", "localisation", "mIoU 100.00"):
        assert part in printed
    boxes, areas = json.loads(out.read_text())["analyses"]
    assert list(boxes["detection"]) == ["bbox", "segm"] and boxes["maps"] is None
    assert (
        areas["maps"]["miou"] == 100 and len(boxes["detection"]["bbox"]["curves"][0]["mean"]) == 101
    )


def test_command_without_detections(
    detected: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither an operating point nor an empty table of calibration."""
    truth = shapes / "coco/annotations/instances_val2017.json"
    found = write(detected / "predictions.bbox.json", [])
    assert main(["analyze", "--truth", str(truth), "--predictions", str(found)]) == 0
    printed = capsys.readouterr().out
    assert "0 detections" in printed and "worst images" in printed
    assert "score" not in printed


def test_command_on_files(
    detected: Path,
    segmented: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truth = shapes / "coco/annotations/instances_val2017.json"
    files = ["--truth", str(truth), "--predictions", str(detected / "predictions.segm.json")]
    assert main(["analyze", *files, "--kind", "segm"]) == 0
    assert "segm: 5 images" in capsys.readouterr().out
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["background", *SHAPES]) + "\n")
    maps = [
        *("--truth-maps", str(shapes / "ade/annotations/validation")),
        *("--maps", str(segmented / "maps"), "--reduce-zero-label"),
    ]
    assert main(["analyze", *maps, "--classes", str(names)]) == 0
    assert "triangle" in capsys.readouterr().out
    assert main(["analyze", *maps, "--classes", "4"]) == 0
    assert "class 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["folder", "--predictions", "a.json", "--truth", "b.json"],
        ["--predictions", "a.json"],
        ["--truth", "b.json"],
        ["--maps", "a"],
        ["--maps", "a", "--truth-maps", "b"],
        ["--maps", "a", "--truth-maps", "b", "--classes", "no such file"],
        ["--maps", "a", "--truth-maps", "b", "--classes", "0"],
        ["--predictions", "a.json", "--truth", "no such file"],
        ["no such folder"],
    ],
)
def test_command_refuses(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", *flags]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        *((["--score-thr", t], "give a number from 0 to 1") for t in ("7", "-0.1", "nan", "x")),
        (["--out", "{}"], "is a folder; give a file"),
    ],
)
def test_command_refuses_before_it_reads(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["analyze", "none", *(flag.format(tmp_path) for flag in flags)])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_sources_are_of_their_kinds(detected: Path, segmented: Path) -> None:
    assert all(isinstance(source, CocoSource) for source in find_sources(detected))
    assert all(isinstance(source, MapSource) for source in find_sources(segmented))
