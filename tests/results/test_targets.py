"""The published figures: complete, sourced, and refused where wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casvit_dense.casvit import ARCHS
from casvit_dense.errors import UserError
from casvit_dense.results import read_targets
from casvit_dense.results.targets import PUBLISHED
from casvit_dense.zoo import FAMILIES, VARIANTS

CONFIGS = Path(__file__).parents[2] / "configs"
RETINANET, MASK_RCNN, SEM_FPN = (
    "retinanet_{}_fpn_8xb4-1x_coco",
    "mask-rcnn_{}_fpn_8xb4-1x_coco",
    "fpn_{}_8xb4-40k_ade20k-512x512",
)
#: MODEL_ZOO.md of https://github.com/Tianfang-Zhang/CAS-ViT, commit 041d2d6: box AP of RetinaNet,
#: box and mask AP of Mask R-CNN, mIoU.
MODEL_ZOO = {
    "xs": (36.5, 37.4, 34.9, 37.1),
    "s": (38.6, 39.8, 36.7, 41.3),
    "m": (40.9, 42.3, 38.9, 43.6),
    "t": (41.9, 43.5, 39.6, 45.0),
}
UNPUBLISHED = {
    RETINANET.format("swin-t"),
    *(
        stem.format(peer)
        for stem in (RETINANET, MASK_RCNN, SEM_FPN)
        for peer in ("mobilenetv2", "mit-b0", "mit-b1", "mscan-t", "mscan-s")
    ),
}


@pytest.mark.parametrize("arch", MODEL_ZOO)
def test_our_recipes_find_the_official_figures(arch: str) -> None:
    targets = read_targets()
    names = (RETINANET, MASK_RCNN, SEM_FPN)
    retinanet, mask_rcnn, sem_fpn = (targets.of_config(n.format(f"casvit-{arch}")) for n in names)
    assert retinanet is not None and mask_rcnn is not None and sem_fpn is not None
    found = (*retinanet.metrics.values(), *mask_rcnn.metrics.values(), *sem_fpn.metrics.values())
    assert found == MODEL_ZOO[arch]
    assert list(mask_rcnn.metrics) == ["bbox_mAP", "segm_mAP"]
    assert (retinanet.tolerance, sem_fpn.tolerance) == (0.3, 0.9)


def test_every_config_of_a_published_model_finds_its_figures() -> None:
    targets = read_targets()
    folders = [*(family.folder for family in FAMILIES), "peers"]
    stems = {path.stem for folder in folders for path in (CONFIGS / folder).glob("*.py")}
    assert {stem for stem in stems if targets.of_config(stem) is None} == UNPUBLISHED
    assert {target.config for target in targets.dense if target.config} == stems - UNPUBLISHED


def test_figures_of_one_model_agree_with_each_other() -> None:
    for target in read_targets().dense:
        for kind in ("bbox", "segm"):
            ap = [target.metrics.get(f"{kind}_mAP{size}") for size in ("_75", "", "_50", "_s")]
            if ap[0] is not None:
                assert ap[1] < ap[2] and ap[0] < ap[2], target
            if ap[3] is not None:
                assert ap[3] < target.metrics[f"{kind}_mAP_m"] < target.metrics[f"{kind}_mAP_l"]
        if target.params_m and target.backbone_params_m:
            assert target.params_m > target.backbone_params_m


def test_the_paper_table_agrees_with_the_classifiers() -> None:
    targets = read_targets()
    paper = {row.backbone: row for row in targets.throughput}
    assert len(paper) == len(targets.throughput) == 30
    for classifier in targets.classifiers:
        if classifier.backbone in paper:
            row = paper[classifier.backbone]
            assert row.params_m == pytest.approx(classifier.params_m, abs=0.1)
            assert row.top1 in (classifier.top1, *classifier.also.values())


def rewritten(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(PUBLISHED.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "ssd"}, "row 1, head: 'ssd' is none of retinanet_1x, mask_rcnn_1x, sem_fpn_40k"),
        ({"head": ["ssd"]}, r"row 1, head: must be a valid string, not \['ssd'\]"),
        ({"metrics": {}}, "dense, row 1, metrics: is empty"),
        ({"metrics": {"mIoU": 36.5}}, "row 1: retinanet_1x has no metric 'mIoU'"),
        (
            {"metrics": {"bbox_mAP": "36.5"}},
            "bbox_mAP: must be a valid number, not '36.5'",
        ),
        ({"metrics": {"bbox_mAP": 365}}, "metrics, bbox_mAP: must be less than 100, not 365"),
        ({"metrics": {"bbox_mAP": -1.0}}, "metrics, bbox_mAP: must be greater than 0, not -1.0"),
        ({"params_m": 0}, "row 1, params_m: must be greater than 0, not 0"),
        ({"params_m": True}, "row 1, params_m: must be a valid number, not True"),
        ({"source": ""}, "row 1, source: is empty"),
        ({"source": None}, "row 1, source: must be a valid string, not None"),
        ({"sauce": "x"}, "row 1, sauce: is not a known key"),
        ({"tolerance": -1}, "row 1, tolerance: must be greater than 0, not -1"),
        ({"backbone": "CAS-ViT-S"}, "CAS-ViT-S with retinanet_1x is there twice"),
        ({"config": RETINANET.format("casvit-s")}, "casvit-s_fpn_8xb4-1x_coco is there twice"),
    ],
)
def test_wrong_rows_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "t.json", lambda content: content["dense"][0].update(change))
    with pytest.raises(UserError, match=message):
        read_targets(path)


@pytest.mark.parametrize("part", ["dense", "classifiers", "paper_throughput"])
def test_a_row_without_source_is_refused(part: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "t.json", lambda content: content[part][1].pop("source"))
    with pytest.raises(UserError, match=f"{part}, row 2, source: is missing"):
        read_targets(path)


def test_a_tolerance_is_the_data_sets_or_the_rows_own(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.json", lambda content: content["dense"][0].update(tolerance=0.5))
    first, second, *_ = read_targets(path).dense
    assert (first.tolerance, second.tolerance) == (0.5, 0.3)
    path = rewritten(tmp_path / "b.json", lambda content: content["tolerance"].pop("ade20k"))
    with pytest.raises(UserError, match="tolerance: is missing"):
        read_targets(path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    texts = ("{", "[]", "{}", '{"dense": [], "classifiers": []}', '{"dense": 1, "tolerance": 2}')
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(UserError, match=f"{number}.json is not a file of published figures"):
            read_targets(path)
    with pytest.raises(UserError, match="no published figures can be read at .*none.json"):
        read_targets(tmp_path / "none.json")


def test_the_variants_are_those_of_the_backbone() -> None:
    assert tuple(ARCHS) == VARIANTS
