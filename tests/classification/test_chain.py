"""From classes to boxes: what a classifier learned pays in a detector."""

import json
from pathlib import Path

import pytest

from casvit_dense.cli import main
from casvit_dense.data.shape_crops import cut_shapes
from casvit_dense.data.shapes import generate_shapes

DEMO = Path(__file__).parents[2] / "configs/demo"


def train(config: str, data_root: Path, work_dir: Path, *flags: str) -> dict[str, float]:
    """The figures of the last validation."""
    words = ["--data-root", str(data_root), "--work-dir", str(work_dir), "--seed", "0", *flags]
    assert main(["train", str(DEMO / f"{config}.py"), *words]) == 0
    (file,) = work_dir.glob("*/vis_data/scalars.json")
    return json.loads(file.read_text().splitlines()[-1])


@pytest.mark.slow
def test_a_pretrained_backbone_beats_one_from_scratch(tmp_path: Path) -> None:
    """RetinaNet on the demo's data: in half of these epochs it does not yet."""
    root = tmp_path / "shapes"
    generate_shapes(root)
    classes = tmp_path / "classes"
    found = train("casvit-mini_shapes-64", cut_shapes(root), classes, "--from-scratch")
    assert found["top1"] >= 95

    def ap(name: str, *flags: str) -> float:
        config = "retinanet_casvit-mini_fpn_6e_shapes"
        figures = train(config, root / "coco", tmp_path / name, *flags)
        return figures["coco/bbox_mAP"]

    pretrained = ap("pretrained", "--pretrained", str(classes / "epoch_8.pth"))
    scratch = ap("scratch", "--from-scratch")
    assert pretrained > scratch
