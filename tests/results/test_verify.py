"""Verdicts on rows written by hand, against figures computed by hand."""

import json
import re
import shutil
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from ledger_rows import (
    ADE20K,
    COCO,
    IMAGENET,
    MASK_RCNN,
    RETINANET,
    SEM_FPN,
    evaluation,
    speed,
    trained,
)

from casvit_dense import files
from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.results import hashes, read_targets
from casvit_dense.results.ledger import append_rows
from casvit_dense.results.lines import row_id
from casvit_dense.results.row import Evaluation, Software, Weights
from casvit_dense.results.targets import PUBLISHED
from casvit_dense.results.verify import (
    COLUMNS,
    Finding,
    Verdict,
    as_json,
    as_text,
    exit_code,
    select,
    verify,
)
from casvit_dense.zoo import config_file

#: Published: 36.5 box AP of RetinaNet-XS with 0.3 points of tolerance, 37.1 mIoU with 0.9.
TARGETS = read_targets()


def finding(rows: list[Any], config: str = RETINANET, metric: str | None = None) -> Finding:
    """The finding on the one row of a config that has figures, or the one for a metric."""
    found = [f for f in verify(rows, TARGETS) if f.target.config == config]
    return found[0] if metric is None else next(f for f in found if f.metric == metric)


@pytest.mark.parametrize(
    ("value", "difference", "verdict"),
    [
        (0.365, 0.0, Verdict.WITHIN),
        (0.362, -0.3, Verdict.WITHIN),
        (0.368, 0.3, Verdict.WITHIN),
        (0.36199, -0.301, Verdict.BELOW),
        (0.36801, 0.301, Verdict.ABOVE),
        (0.0, -36.5, Verdict.BELOW),
    ],
)
def test_boxes_within_above_and_below(value: float, difference: float, verdict: Verdict) -> None:
    found = finding([evaluation(metrics={"coco/bbox_mAP": value})])
    assert found.verdict is verdict
    assert found.ours == pytest.approx(100 * value)
    assert found.difference == pytest.approx(difference, abs=1e-9)
    assert (found.published, found.spread, found.reasons, found.notes) == (36.5, None, (), ())


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(36.2, Verdict.WITHIN), (38.0, Verdict.WITHIN), (36.1, Verdict.BELOW), (38.1, Verdict.ABOVE)],
)
def test_maps_within_above_and_below(value: float, verdict: Verdict) -> None:
    found = finding([evaluation(SEM_FPN, metrics={"mIoU": value})], SEM_FPN)
    assert (found.metric, found.published, found.verdict) == ("mIoU", 37.1, verdict)
    assert found.difference == pytest.approx(value - 37.1)


def test_each_metric_has_its_own_verdict() -> None:
    row = evaluation(MASK_RCNN, metrics={"coco/bbox_mAP": 0.374, "coco/segm_mAP": 0.30})
    boxes, masks = (finding([row], MASK_RCNN, metric) for metric in ("bbox_mAP", "segm_mAP"))
    assert (boxes.verdict, masks.verdict) == (Verdict.WITHIN, Verdict.BELOW)
    assert masks.difference == pytest.approx(30.0 - 34.9)


def test_every_config_with_figures_is_not_run_at_first() -> None:
    found = verify([speed()], TARGETS)
    assert {f.verdict for f in found} == {Verdict.NOT_RUN}
    assert {f.target.config for f in found} == {t.config for t in TARGETS.with_config}
    assert {(f.ours, f.difference, f.rows, f.reasons) for f in found} == {(None, None, (), ())}


@pytest.mark.parametrize(
    ("config", "value", "difference", "verdict"),
    [
        ("casvit-xs_8xb256_in1k", 78.14, -0.16, Verdict.WITHIN),
        ("casvit-xs_8xb256_in1k", 77.5, -0.8, Verdict.BELOW),
        ("casvit-t_8xb64-30e_in1k-384", 84.4, 0.3, Verdict.ABOVE),
    ],
)
def test_top_1_has_verdicts(config: str, value: float, difference: float, verdict: Verdict) -> None:
    """Of official weights, whose training nobody recorded; a folder of other images is refused."""
    metrics = {"top1": value, "top5": 95.0}
    row = evaluation(config, metrics=metrics, dataset=IMAGENET, training=None)
    found = finding([row], config)
    assert (found.metric, found.verdict) == ("top1", verdict)
    assert found.difference == pytest.approx(difference)
    part = row.model_copy(update={"dataset": IMAGENET.model_copy(update={"images": 500})})
    assert finding([part], config).reasons == ("image count: 500, ImageNet-1K val has 50,000",)


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "subset": (
        {"dataset": COCO.model_copy(update={"images": 500, "objects": 3612})},
        [
            "image count: 500, COCO val2017 has 5,000",
            "annotation count: 3,612, COCO val2017 has 36,781",
        ],
    ),
    "one image short": (
        {"dataset": COCO.model_copy(update={"images": 4999})},
        ["image count: 4,999, COCO val2017 has 5,000"],
    ),
    "fewer annotations": (
        {"dataset": COCO.model_copy(update={"objects": 36335})},
        ["annotation count: 36,335, COCO val2017 has 36,781"],
    ),
    "uncounted annotations": (
        {"dataset": COCO.model_copy(update={"objects": None})},
        ["annotation count: unknown, COCO val2017 has 36,781"],
    ),
    "fewer classes": (
        {"dataset": COCO.model_copy(update={"classes": 3})},
        ["another data set: CocoDataset with 3 classes, not CocoDataset with 80 (COCO val2017)"],
    ),
    "another type": (
        {"dataset": ADE20K},
        [
            "another data set: ADE20KDataset with 150 classes, not CocoDataset with 80 "
            "(COCO val2017)",
            "image count: 2,000, COCO val2017 has 5,000",
            "annotation count: unknown, COCO val2017 has 36,781",
        ],
    ),
    "pipeline": (
        {"pipeline_sha256": "0" * 64, "config_sha256": "0" * 64},
        ["test pipeline: not the config's own"],
    ),
    "override": (
        {"config_sha256": "0" * 64},
        ["config: changed by --cfg-options or in its file"],
    ),
    "recipe": (
        {"training": trained(RETINANET, recipe_sha256="0" * 64)},
        ["training recipe: not the config's own"],
    ),
    "batch": (
        {"training": trained(RETINANET, global_batch=8)},
        ["training batch: 8 images a step, not 32"],
    ),
    "trained on a subset": (
        {"training": trained(RETINANET, images=10_000)},
        ["training data: 10,000 images, not 117,266"],
    ),
    "unfinished": (
        {"training": trained(RETINANET, iterations=21_990)},
        ["training schedule: step 21,990 of 43,980"],
    ),
    "int8": ({"precision": "int8 static"}, ["precision: int8 static, not fp32"]),
    "half": ({"precision": "autocast"}, ["precision: autocast, not fp32"]),
    "no metric": ({"metrics": {"coco/segm_mAP": 0.3}}, ["the row has no bbox_mAP"]),
    "no truth": ({"metrics": {"coco/bbox_mAP": None}}, ["the row has no bbox_mAP"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_says_why(case: str) -> None:
    changes, reasons = REFUSED[case]
    row = evaluation(**changes)
    found = finding([row])
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert list(found.reasons) == reasons
    assert found.rows == (row,)
    assert (found.ours, found.spread, found.difference) == (None, None, None)


@pytest.mark.parametrize("value", [0.0, 0.365, 0.99])
@pytest.mark.parametrize("config", [RETINANET, MASK_RCNN, SEM_FPN])
def test_a_subset_never_counts(config: str, value: float) -> None:
    whole = evaluation(config)
    part = whole.dataset.model_copy(update={"images": whole.dataset.images // 10})
    metrics = {"coco/bbox_mAP": value, "coco/segm_mAP": value, "mIoU": 100 * value}
    row = evaluation(config, hour=1, dataset=part, metrics=metrics)
    for found in verify([row], TARGETS):
        wanted = Verdict.NOT_COMPARABLE if found.target.config == config else Verdict.NOT_RUN
        assert found.verdict is wanted
    # Nor does it take the place of an older whole one.
    assert finding([whole, row], config).rows == (whole,)


def test_the_newest_row_says_why_nothing_is_comparable() -> None:
    old = evaluation(hour=1, precision="fp16")
    new = evaluation(hour=2, metrics={})
    found = finding([old, new])
    assert found.reasons == ("the row has no bbox_mAP",)
    assert found.rows == (new, old)


def seed_row(hour: int, file: str, seed: int | None, value: float) -> Evaluation:
    training = trained(RETINANET, seed=seed)
    return evaluation(hour=hour, file=file, training=training, metrics={"coco/bbox_mAP": value})


def seeds(*values: float) -> list[Evaluation]:
    return [seed_row(i, f"{i:x}", i, value) for i, value in enumerate(values)]


def test_several_seeds_give_mean_and_spread() -> None:
    rows = seeds(0.361, 0.364, 0.361)
    found = finding(rows)
    # (36.1 + 36.4 + 36.1) / 3 = 36.2; squares of the gaps 0.01 + 0.04 + 0.01, halved: 0.03
    assert found.ours == pytest.approx(36.2)
    assert found.spread == pytest.approx(0.03**0.5) == pytest.approx(stdev([36.1, 36.4, 36.1]))
    assert found.verdict is Verdict.WITHIN  # though two of the three alone are below
    assert len(found.rows) == 3


def test_of_one_seed_the_newest_row_counts() -> None:
    rows = seeds(0.361, 0.364)
    again = seed_row(9, "f", 0, 0.366)
    assert finding([again, *rows]).ours == pytest.approx((36.6 + 36.4) / 2)
    within_the_second = again.model_copy(update={"metrics": {"coco/bbox_mAP": 0.368}})
    found = finding([again, within_the_second, *rows])
    assert found.ours == pytest.approx((36.8 + 36.4) / 2)


def test_weights_without_a_seed_are_distinguished_by_their_file() -> None:
    named = [("a", 0.36), ("b", 0.37), ("a", 0.364)]
    rows = [seed_row(i, name, None, value) for i, (name, value) in enumerate(named)]
    assert finding(rows).ours == pytest.approx((36.4 + 37.0) / 2)


def test_weights_that_say_nothing_are_compared_and_noted() -> None:
    official = evaluation(hour=1, training=None, metrics={"coco/bbox_mAP": 0.3649})
    other = evaluation(hour=2, training=None, file="b", metrics={"coco/bbox_mAP": 0.3651})
    found = finding([official])
    assert found.verdict is Verdict.WITHIN
    assert found.notes == ("the weights do not say how they were trained",)
    # Nothing says that two such files repeat one training, so they are no seeds.
    assert finding([other, official]).rows == (other,)
    own = evaluation(metrics={"coco/bbox_mAP": 0.30})
    assert finding([official, own, other]).rows == (own,)


def exported(**changes: Any) -> Evaluation:
    weights = Weights(file="model.onnx", sha256="e" * 64, source_sha256="a" * 64)
    values = {"form": "fused", "backend": "onnxruntime", "training": None, "weights": weights}
    return evaluation(**{**values, **changes})


def test_the_unchanged_network_goes_before_other_forms() -> None:
    plain = evaluation(hour=1, metrics={"coco/bbox_mAP": 0.365})
    fused = evaluation(hour=2, form="fused", metrics={"coco/bbox_mAP": 0.3651})
    file = exported(hour=3, metrics={"coco/bbox_mAP": 0.3652})
    assert finding([plain, fused, file]).rows == (plain,)
    found = finding([fused])
    assert found.verdict is Verdict.WITHIN
    assert found.notes == ("measured on the fused form by eager",)


def test_an_exported_file_takes_after_its_checkpoint() -> None:
    assert "the weights do not say how they were trained" in finding([exported()]).notes
    partial = evaluation(precision="autocast", training=trained(RETINANET, global_batch=8))
    found = finding([partial, exported(hour=1)])
    assert found.reasons == ("training batch: 8 images a step, not 32",)
    assert found.rows[0].training is None  # the row itself is as it was written


def test_changed_code_is_noted_and_not_refused() -> None:
    software = Software(versions={}, commit="1234567", dirty=True)
    found = finding([evaluation(software=software)])
    assert found.verdict is Verdict.WITHIN
    assert found.notes == ("the code differed from commit 1234567",)


def test_what_went_wrong_in_a_training_is_noted() -> None:
    training = trained(
        RETINANET, skipped_steps=[5, 9], replaced_images=3, replaced=["image a.jpg", "image b.jpg"]
    )
    found = finding([evaluation(training=training)])
    assert found.verdict is Verdict.WITHIN
    assert found.notes == (
        "the training left out 2 steps, not finite",
        "the training replaced 3 images that could not be read: image a.jpg, image b.jpg",
    )


def test_a_config_that_does_not_come_with_the_project_is_not_comparable(tmp_path: Path) -> None:
    content = json.loads(PUBLISHED.read_text())
    content["dense"][0]["config"] = "mine"
    path = tmp_path / "targets.json"
    path.write_text(json.dumps(content))
    (found, *_) = verify([evaluation().model_copy(update={"config": "mine"})], read_targets(path))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert found.reasons[0].startswith("no config mine comes with the project")


def test_an_installed_wheel_gives_the_same_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "casvit_dense"
    shutil.copytree(files.config_folder(), package / ".mim" / "configs")
    here = hashes.zoo_config(SEM_FPN)
    monkeypatch.setattr(files, "PACKAGE", package)
    there = hashes.zoo_config.__wrapped__(SEM_FPN)
    assert config_file(SEM_FPN).is_relative_to(package)
    assert there == here is not None


@pytest.mark.parametrize("stem", ["none", "*", "../secret", "/etc/passwd"])
def test_only_names_of_configs_are_read(stem: str) -> None:
    assert config_file(stem) is None


def test_exit_codes_and_choice() -> None:
    good = evaluation()
    bad = evaluation(SEM_FPN, metrics={"mIoU": 30.0})
    nothing, within, below = (verify(rows, TARGETS) for rows in ([], [good], [good, bad]))
    assert [exit_code(f) for f in (nothing, within, below)] == [0, 0, 1]
    assert [exit_code(f, require_all=True) for f in (nothing, within)] == [1, 1]
    assert exit_code(select(within, [RETINANET]), require_all=True) == 0
    assert exit_code(select(below, ["retinanet_*"])) == 0
    assert exit_code(verify([evaluation(precision="int8 dynamic")], TARGETS)) == 1
    assert exit_code(verify([evaluation(metrics={"coco/bbox_mAP": 0.5})], TARGETS)) == 0
    with pytest.raises(UserError, match="--only yolo matches no config"):
        select(within, [RETINANET, "yolo"])


def test_text_and_json_say_the_same() -> None:
    rows = [*seeds(0.361, 0.364, 0.361), evaluation(SEM_FPN, precision="int8 static")]
    findings = select(verify(rows, TARGETS), [RETINANET, SEM_FPN])
    lines = as_text(findings).splitlines()
    assert re.split(r" {2,}", lines[0]) == list(COLUMNS)
    cells = [RETINANET, "bbox_mAP", "36.5", "36.20 ± 0.17 (3 seeds)", "-0.30", "± 0.3", "within"]
    assert re.split(r" {2,}", lines[1]) == cells
    assert lines[2].startswith(SEM_FPN) and lines[2].endswith("not comparable")
    assert lines[3] == "    precision: int8 static, not fp32"
    assert lines[4] == "1 within, 0 above, 0 below, 1 not comparable, 0 not run"
    first, second = as_json(findings)
    assert (first["verdict"], second["verdict"]) == ("within", "not comparable")
    assert first["difference"] == pytest.approx(-0.3)
    assert sorted(first["rows"]) == sorted(row_id(row) for row in rows[:3])
    assert second["reasons"] == ["precision: int8 static, not fp32"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ledger, out = tmp_path / "a.jsonl", tmp_path / "out.json"
    append_rows(ledger, [evaluation(), evaluation().model_copy(update={"config": "my_own"})])
    ledger.write_bytes(ledger.read_bytes() + b'{"half": ')
    assert main(["verify", str(ledger)]) == 0
    head, line, count, others = capsys.readouterr().out.splitlines()
    assert head.startswith("config") and line.startswith(RETINANET)
    assert re.fullmatch("1 within, 0 above, 0 below, 0 not comparable, [0-9]{2} not run", count)
    assert others == "evaluated without a published figure: my_own"
    assert main(["verify", str(ledger), "--only", RETINANET, "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "1 within, 0 above, 0 below, 0 not comparable, 0 not run" in printed.out
    assert "my_own" not in printed.out
    assert printed.err.startswith(f"warning: {ledger}, line 3 is skipped:")
    assert [f["verdict"] for f in json.loads(out.read_text())] == ["within"]
    assert main(["verify", str(ledger), "--require-all"]) == 1
    assert f"{SEM_FPN} " in capsys.readouterr().out
    append_rows(ledger, [evaluation(hour=1, metrics={"coco/bbox_mAP": 0.1})])
    assert main(["verify", str(ledger)]) == 1
    capsys.readouterr()
    (tmp_path / "cut.jsonl").write_bytes(ledger.read_bytes()[:100])
    (tmp_path / "weights.pth").write_bytes(bytes(range(256)) * 8)
    for words, reason in (
        ([str(tmp_path / "none.jsonl")], "no ledger can be read"),
        ([str(tmp_path / "cut.jsonl")], "there is no row in"),
        ([str(tmp_path / "weights.pth")], "there is no row in"),
        ([str(ledger), "--only", "yolo"], "--only yolo"),
        ([str(ledger), "--targets", str(ledger)], "not a file of published figures"),
    ):
        assert main(["verify", *words]) == 2
        assert reason in capsys.readouterr().err
