"""Prediction with whole, tiny models of random weights."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from casvit_dense.cli import main
from casvit_dense.config.read import register_scope
from casvit_dense.errors import UserError
from casvit_dense.predictor import Predictor, find_images, predict_files

BACKBONE = """dict(
    {delete}type="CASViT", arch=dict(depths=[1, 1, 1, 1], dims=[8, 12, 16, 24]),
    init_cfg=dict(type="CASViTWeights", checkpoint="is/not/there.pth"))"""
PREPROCESSOR = "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True"
DET_DATA = """
default_scope = "mmdet"
test_dataloader = dict(dataset=dict(
    type="RepeatDataset", times=1,
    dataset=dict(
        type="CocoDataset", ann_file="not/there.json",
        metainfo=dict(classes=("circle", "square", "triangle")),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(64, 64), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs",
                 meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ])))
"""
RETINANET = (
    f"""
_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"
model = dict(
    backbone={BACKBONE.format(delete="_delete_=True, ")},
    neck=dict(in_channels=[8, 12, 16, 24], out_channels=16),
    bbox_head=dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, max_per_img=20))
"""
    + DET_DATA
)
MASK_RCNN = (
    f"""
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
model = dict(
    backbone={BACKBONE.format(delete="_delete_=True, ")},
    neck=dict(in_channels=[8, 12, 16, 24], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=3),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=3)),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=20)))
"""
    + DET_DATA
)
SEM_FPN = f"""
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", {PREPROCESSOR}, pad_val=0, seg_pad_val=255, size=(64, 64)),
    backbone={BACKBONE.format(delete="")},
    neck=dict(type="FPN", in_channels=[8, 12, 16, 24], out_channels=16, num_outs=4),
    decode_head=dict(
        type="FPNHead", in_channels=[16] * 4, in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32], channels=16, num_classes=5,
        norm_cfg=dict(type="SyncBN"), align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss")),
    train_cfg=dict(), test_cfg=dict(mode="whole"))
test_dataloader = dict(dataset=dict(
    type="ADE20KDataset", data_root="not/there",
    metainfo=dict(classes=("wall", "sky", "tree", "road", "grass")),
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(256, 64), keep_ratio=True),
        dict(type="ResizeToMultiple", size_divisor=32),
        dict(type="LoadAnnotations", reduce_zero_label=True),
        dict(type="PackSegInputs"),
    ]))
"""
CONFIGS = {"retinanet": RETINANET, "mask_rcnn": MASK_RCNN, "sem_fpn": SEM_FPN}


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a checkpoint of random weights for each kind of model."""
    folder = tmp_path_factory.mktemp("models")
    for name, text in CONFIGS.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        cfg = Config.fromfile(path)
        registry = __import__(f"{register_scope(cfg)}.registry").registry
        torch.manual_seed(0)
        state = registry.MODELS.build(cfg.model).state_dict()
        torch.save({"state_dict": state, "meta": {}}, path.with_suffix(".pth"))
    return folder


def load(models: Path, name: str, **options) -> Predictor:
    return Predictor(models / f"{name}.py", models / f"{name}.pth", "cpu", options)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file of 80x60 pixels."""
    cv2.imwrite(str(tmp_path / "image.png"), picture(0))
    return tmp_path / "image.png"


def run(models: Path, name: str, *arguments: object) -> int:
    files = (str(models / f"{name}.py"), str(models / f"{name}.pth"))
    return main(["predict", *files, *map(str, arguments), "--device", "cpu"])


# ---- the class


@pytest.mark.parametrize("name", ["retinanet", "mask_rcnn"])
def test_detections_are_those_of_the_model(models: Path, image: Path, name: str) -> None:
    from mmdet.structures import DetDataSample

    predictor = load(models, name)
    found = predictor.predict(image).pred_instances
    sample = DetDataSample(
        metainfo={"ori_shape": (60, 80), "img_shape": (48, 64), "scale_factor": (0.8, 0.8)}
    )
    pixels = cv2.resize(cv2.imread(str(image)), (64, 48), interpolation=cv2.INTER_LINEAR)
    inputs = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    with torch.no_grad():
        batch = {"inputs": [inputs], "data_samples": [sample]}
        expected = predictor.model.test_step(batch)[0].pred_instances
    assert len(found) == len(expected) > 0
    for key in expected.keys():  # noqa: SIM118 (not a dict)
        torch.testing.assert_close(found[key], expected[key])
    assert found.bboxes[:, 2].max() <= 80 and found.bboxes[:, 3].max() <= 60
    assert found.bboxes.max() > 64  # in pixels of the file, not of the resized image
    if name == "mask_rcnn":
        assert found.masks.shape == (len(found), 60, 80)


def test_map_is_that_of_the_model(models: Path, image: Path) -> None:
    from mmseg.structures import SegDataSample

    predictor = load(models, "sem_fpn")
    found = predictor.predict(image).pred_sem_seg.data
    # (256, 64) keeps the ratio: 85x64, then up to multiples of 32.
    pixels = mmcv.imresize(mmcv.imresize(cv2.imread(str(image)), (85, 64)), (96, 64))
    sample = SegDataSample(metainfo={"ori_shape": (60, 80), "img_shape": (64, 96)})
    inputs = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    with torch.no_grad():
        batch = {"inputs": [inputs], "data_samples": [sample]}
        expected = predictor.model.test_step(batch)[0].pred_sem_seg.data
    assert found.shape == (1, 60, 80)
    assert len(found.unique()) > 1
    torch.testing.assert_close(found, expected)


def test_pixels_give_what_their_file_gives(models: Path, image: Path) -> None:
    predictor = load(models, "sem_fpn")
    by_pixels = predictor.predict(cv2.imread(str(image)))
    by_file = predictor.predict(str(image))
    assert torch.equal(by_pixels.pred_sem_seg.data, by_file.pred_sem_seg.data)
    assert by_file.img_path == str(image)


@pytest.mark.parametrize("name", ["retinanet", "sem_fpn"])
def test_exif_rotated_photo_is_predicted_upright(models: Path, tmp_path: Path, name: str) -> None:
    stored = Image.fromarray(picture(1))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "photo.jpg", exif=exif)
    stored.save(tmp_path / "plain.jpg")
    predictor = load(models, name)
    upright = np.ascontiguousarray(np.rot90(cv2.imread(str(tmp_path / "plain.jpg")), -1))
    found, expected = predictor.predict(tmp_path / "photo.jpg"), predictor.predict(upright)
    assert found.ori_shape == (80, 60)
    if name == "sem_fpn":
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    else:
        assert torch.equal(found.pred_instances.bboxes, expected.pred_instances.bboxes)


@pytest.mark.parametrize(
    "pixels", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3)), np.zeros((40, 40, 4), np.uint8)]
)
def test_wrong_pixels_are_refused(models: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        load(models, "sem_fpn").predict(pixels)


def test_image_below_the_least_size_is_refused(models: Path) -> None:
    predictor = load(models, "sem_fpn", **{"test_dataloader.dataset.pipeline.2.size_divisor": 1})
    with pytest.raises(UserError, match=r"array: 100x10 pixels .* 32 or more"):
        predictor.predict(np.zeros((10, 100, 3), np.uint8))  # resized to 256x26


def test_labels_of_config_and_checkpoint(models: Path, tmp_path: Path) -> None:
    assert load(models, "retinanet").labels.names == ("circle", "square", "triangle")
    assert load(models, "retinanet").labels.ids == (1, 2, 3)
    assert load(models, "sem_fpn").labels.ids == (1, 2, 3, 4, 5)  # ADE20K: 0 is unlabelled
    plain = {
        "test_dataloader.dataset.reduce_zero_label": False,
        "test_dataloader.dataset.pipeline.3.reduce_zero_label": False,
    }
    assert load(models, "sem_fpn", **plain).labels.ids == (0, 1, 2, 3, 4)

    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    listed = {"test_dataloader.dataset.dataset.metainfo.classes": str(tmp_path / "names.txt")}
    assert load(models, "retinanet", **listed).labels.names == ("a", "b", "c")

    # A config that names 80 classes for a head of 3: only the checkpoint can know them.
    unnamed = {"test_dataloader.dataset.dataset.metainfo": None}
    with pytest.raises(UserError, match="has 3 classes, the config names 80"):
        load(models, "retinanet", **unnamed)
    saved = torch.load(models / "retinanet.pth", weights_only=True)
    saved["meta"]["dataset_meta"] = {"CLASSES": ("a", "b", "c")}
    torch.save(saved, tmp_path / "named.pth")
    predictor = Predictor(models / "retinanet.py", tmp_path / "named.pth", "cpu", unnamed)
    assert predictor.labels.names == ("a", "b", "c")
    assert len(set(predictor.labels.palette)) == 3


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there(models: Path, device: str) -> None:
    with pytest.raises(UserError, match="cannot be used here"):
        Predictor(models / "retinanet.py", models / "retinanet.pth", device)


# ---- the command


def test_detector_writes_pictures_and_coco_results(
    models: Path, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(models, "mask_rcnn", image, "--out", out, "--score-thr", 0) == 0
    expected = load(models, "mask_rcnn").predict(image).pred_instances
    rows = json.loads((out / "predictions.json").read_text())
    assert len(rows) == len(expected) > 0
    assert {row["category_id"] for row in rows} <= {1, 2, 3}
    assert [row["segmentation"]["size"] for row in rows] == [[60, 80]] * len(rows)
    assert cv2.imread(str(out / "pictures/image.jpg")).shape == (480, 640, 3)
    # No message of other packages; a slow machine reports its progress.
    code, first, *progress, last = capsys.readouterr().out.strip().splitlines()
    assert "mask_rcnn.py is from outside the project" in code
    assert all(line.startswith("image 1 of 1, ") for line in progress)
    assert re.fullmatch(r"weights .*mask_rcnn\.pth \(sha256 \w{12}\), 3 classes, on cpu", first)
    assert last.startswith(f"predicted 1 images (0 skipped) in {out}, ")
    assert last.endswith(" s/image")


def test_threshold_holds_for_data(models: Path, tmp_path: Path, image: Path) -> None:
    scores = load(models, "retinanet").predict(image).pred_instances.scores
    middle = float(scores.sort().values[len(scores) // 2])
    out = tmp_path / "out"
    run(models, "retinanet", image, "--out", out, "--score-thr", middle, "--no-pictures")
    rows = json.loads((out / "predictions.json").read_text())
    assert len(rows) == int((scores >= middle).sum())
    assert not (out / "pictures").exists()


def test_segmenter_writes_pictures_and_maps(models: Path, tmp_path: Path, image: Path) -> None:
    assert run(models, "sem_fpn", image, "--out", tmp_path / "out") == 0
    written = np.array(Image.open(tmp_path / "out/maps/image.png"))
    expected = load(models, "sem_fpn").predict(image).pred_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(written, expected + 1)
    assert cv2.imread(str(tmp_path / "out/pictures/image.jpg")).shape[0] == 480
    index = json.loads((tmp_path / "out/images.json").read_text())
    assert index["categories"][0] == {"id": 1, "name": "wall"}


@pytest.mark.parametrize("name", ["retinanet", "sem_fpn"])
def test_bad_images_are_named_and_the_rest_goes_on(
    models: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture(0))
    (folder / "b.jpg").write_text("not an image")
    cv2.imwrite(str(folder / "c.png"), picture(1)[..., 0])  # grey
    cv2.imwrite(str(folder / "d.png"), np.dstack([picture(2), picture(3)[..., :1]]))  # alpha
    cv2.imwrite(str(folder / "e.png"), picture(4).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "f.png"), picture(5, height=1, width=600))  # resized to nothing
    assert run(models, name, folder, "--out", tmp_path / "out", "--no-pictures") == 1
    index = json.loads((tmp_path / "out/images.json").read_text())
    done = [Path(entry["file_name"]).name for entry in index["images"]]
    skipped = [Path(entry["file_name"]).name for entry in index["skipped"]]
    assert done == ["a.png", "c.png", "d.png", "e.png"]
    assert skipped == ["b.jpg", "f.png"]
    printed = capsys.readouterr().out
    assert f"skipped {folder / 'b.jpg'}: " in printed
    assert f"skipped {folder / 'f.png'}: 600x1 pixels do not fit" in printed
    assert "predicted 4 images (2 skipped)" in printed


@pytest.mark.parametrize(
    "fill",
    [
        lambda: np.empty(10**17),
        lambda: torch.empty(10**15),
        lambda: cv2.resize(np.zeros((1, 1, 3), np.uint8), (200_000, 200_000)),
    ],
    ids=["numpy", "torch", "OpenCV"],
)
def test_an_image_too_large_for_the_memory_is_named_and_the_rest_goes_on(
    fill: Callable[[], object], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    predictor = load(models, "sem_fpn")
    predict = predictor.predict
    monkeypatch.setattr(
        predictor, "predict", lambda image, name: fill() if name.stem == "0" else predict(image)
    )
    said: list[str] = []
    summary = predict_files(predictor, find_images([tmp_path]), tmp_path / "out", log=said.append)
    assert (summary.predicted, summary.skipped) == (1, 1)
    assert f"skipped {tmp_path / '0.png'}: does not fit into memory" in said[0]


def test_interrupt_keeps_what_is_finished(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    predictor = load(models, "retinanet")
    predict = predictor.predict

    def interrupted_at_last(image: np.ndarray, name: Path):
        if name.stem == "2":
            raise KeyboardInterrupt
        return predict(image, name)

    monkeypatch.setattr(predictor, "predict", interrupted_at_last)
    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, find_images([tmp_path]), tmp_path / "out", 0.0)
    index = json.loads((tmp_path / "out/images.json").read_text())
    assert [entry["id"] for entry in index["images"]] == [1, 2]
    assert all((tmp_path / "out" / entry["picture"]).is_file() for entry in index["images"])
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2}


@pytest.mark.parametrize("wrong", ["config", "checkpoint", "input"])
def test_missing_files_end_with_one_line(
    models: Path, tmp_path: Path, image: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "config": models / "retinanet.py",
        "checkpoint": models / "retinanet.pth",
        "input": image,
        wrong: tmp_path / "missing.jpg",
    }
    out = tmp_path / "out"
    assert main(["predict", *map(str, files.values()), "--out", str(out), "--device", "cpu"]) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ") and "missing.jpg" in printed
    assert "\n" not in printed
    assert not out.exists()
