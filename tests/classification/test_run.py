"""A classifier through the commands: trained, tested, classified with, and begun from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image
from processes import run_together

from casvit_dense import CASViT, get_model, load_pretrained
from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.classification import CASViTClassifier
from casvit_dense.classification.classify import config_of, evaluation_config
from casvit_dense.cli import main
from casvit_dense.data.shape_crops import SIDE, cut_shapes
from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.results import read_targets
from casvit_dense.results.hashes import hashes_of, zoo_config
from casvit_dense.results.ledger import read_ledger

CONFIG = Path(__file__).parents[2] / "configs/demo/casvit-mini_shapes-64.py"
CLASSES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crops") / "shapes"
    generate_shapes(root, ShapesSpec(train=10, val=5, size=64))
    return cut_shapes(root)


@pytest.fixture(scope="module")
def trained(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one epoch: it knows next to nothing."""
    work_dir = tmp_path_factory.mktemp("trained")
    flags = ["--from-scratch", "--seed", "0", "--epochs", "1", "--workers", "0"]
    flags += ["--batch-size", "8", "--data-root", str(crops), "--work-dir", str(work_dir)]
    assert main(["train", str(CONFIG), *flags]) == 0
    return work_dir / "epoch_1.pth"


def test_every_shape_is_cut_out_once(crops: Path) -> None:
    assert cut_shapes(crops.parent) == crops
    for split, folder in (("train", "train2017"), ("val", "val2017")):
        content = json.loads(
            (crops.parent / f"coco/annotations/instances_{folder}.json").read_text()
        )
        for number, name in enumerate(CLASSES, 1):
            objects = [
                one
                for one in content["annotations"]
                if one["category_id"] == number and not one["iscrowd"]
            ]
            files = list((crops / split / name).glob("*.png"))
            assert len(files) == len(objects)
            assert all(Image.open(file).size == (SIDE, SIDE) for file in files)


def by_hand(checkpoint: Path, folder: Path) -> tuple[float, float]:
    """Top-1 and top-2 in percent, with PIL, numpy and plain torch."""
    content = Config.fromfile(CONFIG).model
    model = CASViTClassifier(content.backbone.arch, num_classes=3, heads=1)
    model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    model.eval()
    first = second = count = 0
    for label, name in enumerate(CLASSES):
        for file in sorted((folder / name).glob("*.png")):
            image = Image.open(file).convert("RGB").resize((73, 73), Image.Resampling.BICUBIC)
            pixels = np.asarray(image.crop((4, 4, 68, 68)), np.float32) / 255
            pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            with torch.no_grad():
                x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
                order = model(x)[0].argsort(descending=True).tolist()
            first, second, count = (
                first + (order[0] == label),
                second + (label in order[:2]),
                count + 1,
            )
    return 100 * first / count, 100 * second / count


def test_figures_equal_those_by_hand_in_one_process_and_two(
    crops: Path, trained: Path, tmp_path: Path
) -> None:
    work_dir = ["--work-dir", str(tmp_path / "work"), "--data-root", str(crops)]
    test = ["test", str(trained), *work_dir]
    assert main(test) == 0
    codes = run_together(lambda: main([*test, "--launcher", "pytorch"]), 2, tmp_path)
    assert codes == [0, 0]
    flags = ["--size", "64", "--work-dir", str(tmp_path / "work")]
    assert main(["classify", str(CONFIG), str(trained), str(crops / "val"), *flags]) == 0
    rows, rejected = read_ledger(tmp_path / "results.jsonl")
    assert rejected == [] and [row.processes for row in rows] == [1, 2, 1]
    top1, _ = by_hand(trained, crops / "val")
    for row in rows:
        assert row.metrics == pytest.approx({"top1": top1, "top5": 100.0}, rel=1e-4)
        assert row.dataset.name == "ImageNetFolder" and row.dataset.classes == 3
        assert set(row.per_class["top1"]) == set(CLASSES)
    assert rows[0].dataset == rows[1].dataset


def test_images_are_named(crops: Path, trained: Path, capsys: pytest.CaptureFixture) -> None:
    files = sorted((crops / "val/circle").glob("*.png"))[:2]
    assert main(["classify", str(CONFIG), str(trained), *map(str, files)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ".png: " in line]
    assert [line.partition(": ")[0] for line in lines] == [str(file) for file in files]
    for line in lines:
        shares = [float(part.split()[1]) for part in line.partition(": ")[2].split(", ")]
        assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.2)
        assert shares == sorted(shares, reverse=True)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.load_file(trained)
    assert model.image_size == 64, "of the training that saved it"
    with torch.no_grad():
        by_model = model.eval()(model.transform(files[0])[None]).softmax(1).max()
    assert 100 * float(by_model) == pytest.approx(
        float(lines[0].split("%")[0].split()[-1]), abs=0.06
    )


def test_the_dense_backbone_begins_with_what_it_learned(trained: Path) -> None:
    """All but the head; the output norms, which a classifier does not have, stay as they are."""
    arch = Config.fromfile(CONFIG).model.backbone.arch
    backbone = CASViT(arch)
    report = load_pretrained(backbone, trained)
    learned = read_checkpoint(trained)["state_dict"]
    own = backbone.state_dict()
    norms = [name for name in own if name.startswith("norm")]
    assert list(report.initialised) == sorted(f"backbone.{name}" for name in norms)
    for name in own.keys() - set(norms):
        assert torch.equal(own[name], learned[f"backbone.{name}"])


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["predict", "{file}", "{crops}/val/circle"], "predict or export"),
        (["export", "{file}", "--out", "{crops}/x.onnx"], "predict or export"),
        (["test", "{file}", "--data", "{crops}"], "--data"),
        (["train", str(CONFIG), "--data", "{crops}"], "--data"),
    ],
)
def test_what_is_for_other_models_names_the_commands(
    command: list[str], what: str, crops: Path, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([word.format(file=trained, crops=crops) for word in command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is of a classifier, {what} is for detectors and segmenters: casvit-dense cl" in line


@pytest.mark.parametrize("size", [224, 384])
def test_a_folder_is_evaluated_by_the_published_config(size: int, tmp_path: Path) -> None:
    """So that `verify` compares it with the published figure."""
    path = config_of("m", size)
    changed = evaluation_config(Config.fromfile(path), tmp_path, size)
    assert changed.test_dataloader.dataset.data_root == str(tmp_path)
    assert hashes_of(changed.to_dict()) == zoo_config(path.stem).hashes
    assert read_targets().of_config(path.stem).metrics["top1"] == {224: 82.8, 384: 83.0}[size]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["casvit-x", "x.pth", "a.png"], "unknown model 'casvit-x'"),
        (["casvit-xs", "none.pth", str(CONFIG)], "none.pth does not exist"),
        (
            [str(CONFIG.with_name("fpn_casvit-mini_shapes.py")), "x.pth", "a.png"],
            "is no config of a classifier (its model is EncoderDecoder); give a name",
        ),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["classify", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_the_name_of_a_published_model_gives_its_classes(
    crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save({"model": get_model("casvit-xs").state_dict()}, tmp_path / "x.pth")
    file = next((crops / "val/circle").iterdir())
    assert main(["classify", "casvit_xs", str(tmp_path / "x.pth"), str(file)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"{file}: ") and line.count("%") == 5
