"""The paired bootstrap: what it computes, how often it is right, what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis_data import detections, noisy, random_truth, write
from test_analysis_sources import detected, edit, segmented  # noqa: F401 (fixtures)

from casvit_dense.analysis import Comparison, compare
from casvit_dense.analysis.bootstrap import change, resample, share_better
from casvit_dense.analysis.coco_arrays import Detections, Truth
from casvit_dense.analysis.compare import compare_systems, detector
from casvit_dense.analysis.matching import evaluate, matches_of
from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.files import read_json


def compared(
    truth: Truth, first: Detections, second: Detections, resamples: int, seed: int = 0
) -> Comparison:
    a, b = detector("A", truth, first, "bbox"), detector("B", truth, second, "bbox")
    return compare_systems(a, b, kind="bbox", resamples=resamples, seed=seed)


def covers_zero(result: Comparison) -> bool:
    assert result.total.low is not None and result.total.high is not None
    return result.total.low <= 0 <= result.total.high


def equal_systems(repetitions: range, images: int, resamples: int) -> int:
    """How often the interval of two systems of one noise model covers zero."""
    covered = 0
    for seed in repetitions:
        rng = np.random.default_rng(seed)
        truth = random_truth(images, rng)
        covered += covers_zero(
            compared(truth, noisy(truth, rng), noisy(truth, rng), resamples, seed)
        )
    return covered


def test_interval_of_equal_systems_covers_zero() -> None:
    """Of 30 repetitions at 95 % each, fewer than 25 would come about 3 times in 1,000. Too wide
    an interval shows in the test of a planted difference; exact coverage in the slow test."""
    assert equal_systems(range(30), images=60, resamples=200) >= 25


@pytest.mark.slow
def test_interval_of_equal_systems_covers_zero_95_times_in_100() -> None:
    covered = equal_systems(range(1000, 1100), images=150, resamples=1000)
    print(f"the interval covered zero in {covered} of 100 repetitions")
    assert 93 <= covered <= 97


@pytest.mark.parametrize("seed", range(3))
def test_planted_difference_is_found(seed: int) -> None:
    """B is A without one in 18 correct detections: 2 AP less."""
    rng = np.random.default_rng(seed)
    truth = random_truth(500, rng)
    found = noisy(truth, rng)
    right = matches_of(evaluate(truth, found, "bbox"), found).correct
    fewer = found.where(~right | (rng.random(len(right)) >= 1 / 18))
    result = compared(truth, found, fewer, 300)
    total = result.total
    assert total.difference is not None and total.low is not None and total.high is not None
    assert -0.025 < total.difference < -0.015
    assert total.low < total.difference < total.high < 0
    assert result.better == 0
    assert all(c.difference is not None and c.difference < 0 for c in result.classes)


def test_values_are_those_of_the_analysis(detected: Path, shapes: Path) -> None:  # noqa: F811
    found = read_json(detected / "predictions.bbox.json")
    other = shutil.copytree(detected, detected.parent / "other")
    write(other / "predictions.bbox.json", found[::2])
    edit(other, lambda content: content.update(config="half"))
    box, mask = compare(detected, other, resamples=50)
    assert (box.first, box.second, box.kind, mask.kind) == ("boxes", "half", "bbox", "segm")
    stated = read_json(detected / "metrics.json")["metrics"]
    assert box.total.first == pytest.approx(stated["coco/bbox_mAP"], abs=1e-9)
    assert box.total.difference == pytest.approx(box.total.second - box.total.first)
    assert (mask.total.difference, mask.total.low, mask.total.high) == (0, 0, 0)
    assert mask.better == 0.5 and mask.changed == []
    changes = [abs(image.second - image.first) for image in box.changed]
    assert changes == sorted(changes, reverse=True) and changes[-1] > 0


def test_seed_decides() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(20, rng)
    pair = noisy(truth, rng), noisy(truth, rng)
    assert compared(truth, *pair, 30, seed=1) == compared(truth, *pair, 30, seed=1)
    assert compared(truth, *pair, 30, seed=1).total != compared(truth, *pair, 30, seed=2).total


def test_both_systems_see_the_same_draws() -> None:
    drawn = resample((lambda w: w[:, :3] + 0.5, lambda w: w[:, :3] * 1.0), 7, 60, seed=0)
    assert drawn.shape == (2, 60, 3)
    np.testing.assert_array_equal(drawn[0] - drawn[1], 0.5)
    assert len(np.unique(drawn[1], axis=0)) > 10


def test_change_by_hand() -> None:
    drawn = np.array([np.zeros(101), np.arange(101.0)])
    found = change("x", np.array([0.25, 0.75]), drawn)
    assert (found.first, found.second, found.difference) == (0.25, 0.75, 0.5)
    assert (found.low, found.high) == pytest.approx((2.5, 97.5))
    assert share_better(drawn) == pytest.approx(100.5 / 101)
    nothing = change("x", np.full(2, np.nan), np.full((2, 5), np.nan))
    assert nothing.difference is None and nothing.low is None


def test_class_without_objects_has_no_change() -> None:
    rng = np.random.default_rng(0)
    truth = replace(random_truth(10, rng), classes=("a", "b", "c", "d"), category_ids=(1, 2, 3, 4))
    result = compared(truth, noisy(truth, rng), noisy(truth, rng), 20)
    assert result.classes[3].difference is None and result.total.difference is not None


def test_system_without_detections() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(10, rng)
    nothing = detections(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))
    result = compared(truth, noisy(truth, rng), nothing, 20)
    assert result.total.second == 0 and result.total.high is not None and result.total.high < 0


def test_maps(segmented: Path) -> None:  # noqa: F811
    other = shutil.copytree(segmented, segmented.parent / "other")
    worse = sorted((other / "maps").iterdir())[:2]
    for path in worse:
        shutil.copy(sorted((segmented / "maps").iterdir())[4], path)
    (result,) = compare(segmented, other, resamples=100)
    assert result.total.name == "mIoU" and result.total.first == 100
    assert result.total.difference is not None and result.total.difference < 0
    assert {image.image for image in result.changed} == {path.stem for path in worse}


@pytest.mark.parametrize("spoilt", ["A", "B"])
def test_predictions_that_were_not_evaluated_are_noted(
    detected: Path,  # noqa: F811
    spoilt: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = shutil.copytree(detected, detected.parent / "other")
    write(other / "predictions.bbox.json", [])
    pair = [str(other), str(detected)] if spoilt == "A" else [str(detected), str(other)]
    out = tmp_path / "c.json"
    assert main(["compare", *pair, "--resamples", "20", "--out", str(out)]) == 0
    stated = read_json(detected / "metrics.json")["metrics"]["coco/bbox_mAP"]
    note = f"{spoilt}: coco/bbox_mAP is 0 here and {stated:.6g} in the evaluation"
    assert f"note: {note}" in capsys.readouterr().out
    box, mask = read_json(out)["comparisons"]
    assert [n.startswith(note) for n in box["notes"]] == [True] and mask["notes"] == []


def test_maps_that_were_not_evaluated_are_noted(segmented: Path) -> None:  # noqa: F811
    other = shutil.copytree(segmented, segmented.parent / "other")
    assert compare(segmented, other, resamples=20)[0].notes == []
    first, second, *_ = sorted((other / "maps").iterdir())
    shutil.copy(second, first)
    (note,) = compare(segmented, other, resamples=20)[0].notes
    assert note.startswith("B: mIoU is") and "and 100 in the evaluation" in note


#: What an evaluation noted -> what then tells it from the first, a fused ``epoch_1`` of seed 0.
OTHERS = [
    ({"form": "reference"}, {}, ("fused", "reference")),
    ({"form": "exported", "fused": True, "backend": "openvino"}, {}, ("eager", "openvino")),
    ({"seed": 1}, {}, ("seed 0", "seed 1")),
    ({}, {"checkpoint": "a/epoch_2.pth"}, ("epoch_1.pth", "epoch_2.pth")),
    (
        {"form": "reference", "seed": 1},
        {},
        ("fused, seed 0", "reference, seed 1"),
    ),
    ({}, {"checkpoint": "b/epoch_1.pth"}, ("{first}", "{second}")),
]


@pytest.mark.parametrize(("conditions", "changes", "added"), OTHERS)
def test_evaluations_of_one_config_get_unique_labels(
    detected: Path,  # noqa: F811
    conditions: dict,
    changes: dict,
    added: tuple[str, str],
) -> None:
    edit(detected, lambda c: c.update(checkpoint="a/epoch_1.pth"))
    edit(detected, lambda c: c["conditions"].update(form="fused", seed=0))
    other = shutil.copytree(detected, detected.parent / "other")
    edit(other, lambda c: c.update(changes))
    edit(other, lambda c: c["conditions"].update(conditions))
    result = compare(detected, other, resamples=2)[0]
    paths = {"first": detected, "second": other}
    assert (result.first, result.second) == tuple(f"boxes, {a.format(**paths)}" for a in added)


def other_images(content: dict) -> None:
    content["conditions"]["dataset"]["indices"] = 3


def other_classes(content: dict) -> None:
    content["per_class"]["bbox"] = {"circle": None, "square": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [(other_images, "different images"), (other_classes, "different classes")],
)
def test_different_data_is_refused(detected: Path, change, message: str) -> None:  # noqa: F811
    other = shutil.copytree(detected, detected.parent / "other")
    edit(other, change)
    write(other / "predictions.bbox.json", [])
    with pytest.raises(UserError, match=message):
        compare(detected, other)


def test_different_truth_is_refused(detected: Path, shapes: Path, tmp_path: Path) -> None:  # noqa: F811
    other = shutil.copytree(detected, detected.parent / "other")
    root = tmp_path / "data"
    shutil.copytree(shapes / "coco/annotations", root / "annotations")
    file = root / "annotations/instances_val2017.json"
    truth = read_json(file)
    truth["annotations"][0]["area"] += 1
    write(file, truth)
    edit(other, lambda content: content["conditions"]["dataset"].update(data_root=str(root)))
    with pytest.raises(UserError, match="different truth"):
        compare(detected, other)


def test_nothing_in_common_is_refused(detected: Path, segmented: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match="nothing to compare"):
        compare(detected, segmented)


def test_command(
    detected: Path,  # noqa: F811
    segmented: Path,  # noqa: F811
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, few = tmp_path / "c.json", ["--resamples", "20", "--seed", "3"]
    assert main(["compare", str(detected), str(detected), *few, "--out", str(out)]) == 0
    assert "covers zero" in capsys.readouterr().out
    written = json.loads(out.read_text())["comparisons"]
    assert [c["kind"] for c in written] == ["bbox", "segm"] and written[0]["seed"] == 3
    truth = ["--truth", str(shapes / "coco/annotations/instances_val2017.json"), "--kind", "segm"]
    results = str(detected / "predictions.segm.json")
    assert main(["compare", results, results, *truth, *few]) == 0
    maps = ["--truth-maps", str(shapes / "ade/annotations/validation"), "--classes", "4"]
    folder = str(segmented / "maps")
    assert main(["compare", folder, folder, *maps, "--reduce-zero-label", *few]) == 0
    assert "mIoU" in capsys.readouterr().out
    assert main(["compare", folder, folder, *maps]) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--resamples", "0"], "--resamples: '0': give a whole number, 1 or more"),
        (["--seed", "-1"], "--seed: '-1': give a whole number, 0 or more"),
        (["--seed", "x"], "--seed: 'x': give a whole number, 0 or more"),
        (["--out", "{}"], "is a folder; give a file"),
    ],
)
def test_command_refuses_before_it_reads(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compare", "none", "none", *(flag.format(tmp_path) for flag in flags)])
    assert end.value.code == 2 and message in capsys.readouterr().err
