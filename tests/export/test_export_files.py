"""Files of export before anything runs: what is read of them, refused, and not written over."""

import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from onnx_files import write_identity
from torch import nn

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.export.description import PT2_ENTRY, read_description
from casvit_dense.export.exporter import ExportOptions, target_file
from casvit_dense.export.model import ExportedModel, check_labels
from casvit_dense.export.runtime import open_runtime

CONFIG = Path(__file__).parents[2] / "configs" / "demo" / "fpn_casvit-mini_shapes.py"


#: The description of a detector of three classes.
ABOUT = {
    "config": CONFIG.stem,
    "part": "model",
    "kind": "detector",
    "classes": ["circle", "square", "triangle"],
    "category_ids": [1, 2, 3],
    "input": "float32 (N, 3, H, W)",
    "input_name": "image",
    "input_shape": [1, 3, 64, 64],
    "dynamic": True,
    "resize": [160, 160],
    "channel_order": "RGB",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "normalisation": "file",
    "pad_divisor": 32,
    "score_thr": 0.05,
    "mask_thr": None,
    "align_corners": None,
    "outputs": {"boxes": "(n, 4)", "scores": "(n,)", "labels": "(n,)"},
    "weights_sha256": "0" * 64,
    "fused": True,
    "precision": "float32",
    "versions": {"torch": "2.13"},
}


def texts_of(**changes: object) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in {**ABOUT, **changes}.items()}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A torch.export file that describes itself as ours, and the folder that loading it makes."""
    plain, file, folder = (tmp_path / name for name in ("plain.pt2", "model.pt2", "unpickled"))
    program = torch.export.export(nn.ReLU(), (torch.rand(2),))
    torch.export.save(program, plain, extra_files={PT2_ENTRY: json.dumps(texts_of())})
    torch.save(Trap(folder), tmp_path / "payload")
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            caught = "sample_inputs" in name
            target.writestr(
                name, (tmp_path / "payload").read_bytes() if caught else source.read(name)
            )
    return file, folder


def test_a_torch_export_file_is_not_unpickled(
    trap: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = trap
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((64, 64, 3), np.uint8))
    out = str(tmp_path / "out")
    for name, *more in (("test", "--work-dir", out), ("predict", str(image), "--out", out)):
        assert main([name, str(CONFIG), str(file), *more]) == 2
        assert "holds pickled objects" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds pickled objects"):
        open_runtime(file)
    assert read_description(file).config == CONFIG.stem
    assert not folder.exists()
    with suppress(Exception):  # the trap would have worked
        torch.export.load(file)
    assert folder.exists()


def test_a_damaged_torch_export_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"is not a torch\.export file"):
        read_description(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"model/extra/{PT2_ENTRY}", "[]")
    with pytest.raises(UserError, match="does not describe itself"):
        read_description(file)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("outputs", ["boxes"], "outputs: must be keys with values"),
        ("outputs", {}, "outputs: is empty"),
        ("outputs", {"boxes": "(n, 4)"}, "outputs lacks labels, scores"),
        ("resize", "x", "resize: must be a valid (tuple|array), not 'x'"),
        ("resize", [160], "resize, row 2: is missing"),
        ("score_thr", None, "score_thr must be a number"),
        ("score_thr", "0.05", "score_thr: must be a valid number, not '0.05'"),
        ("category_ids", [1], "category_ids must be 3, one for each of classes"),
        ("classes", [1, 2, 3], "classes, row 1: must be a valid string, not 1"),
        ("input_shape", [1, 3], "input_shape, row 3: is missing"),
        ("mean", [0.0], "mean, row 2: is missing"),
        ("std", [], "std, row 1: is missing"),
        ("kind", "classifier", "kind: must be 'backbone', 'detector' or 'segmenter'"),
        ("part", "head", "part: must be 'backbone' or 'model', not 'head'"),
        ("part", "backbone", "part is 'backbone', but kind is 'detector'"),
        ("channel_order", "GBR", "channel_order: must be 'RGB' or 'BGR', not 'GBR'"),
        ("dynamic", 1, "dynamic: must be a valid boolean, not 1"),
        ("versions", None, "versions: must be keys with values"),
    ],
)
def test_a_damaged_description_is_refused_with_its_key(
    tmp_path: Path, key: str, value: object, expected: str
) -> None:
    file = tmp_path / "model.onnx"
    write_identity(file, texts_of(**{key: value}))
    message = rf"model\.onnx: its description is damaged: {expected}.*export it again"
    with pytest.raises(UserError, match=message) as caught:
        read_description(file)
    assert "\n" not in str(caught.value)


def test_a_sound_description_is_read(tmp_path: Path) -> None:
    write_identity(tmp_path / "model.onnx", texts_of())
    described = read_description(tmp_path / "model.onnx").model_dump(mode="json")
    assert described == {**ABOUT, "model": None}  # as in files of earlier versions


def test_a_backbone_is_not_evaluated(tmp_path: Path) -> None:
    write_identity(tmp_path / "backbone.onnx", texts_of(part="backbone", kind="backbone"))
    with pytest.raises(UserError, match=r"backbone\.onnx holds a backbone"):
        ExportedModel(str(tmp_path / "backbone.onnx"))


def test_masks_need_a_threshold(tmp_path: Path) -> None:
    outputs = {**ABOUT["outputs"], "masks": "(n, 28, 28)"}
    write_identity(tmp_path / "model.onnx", texts_of(outputs=outputs))
    with pytest.raises(UserError, match="mask_thr must be a number"):
        read_description(tmp_path / "model.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_an_empty_file_is_called_empty(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.touch()
    with pytest.raises(UserError, match=rf"model\{suffix} is empty \(0 bytes\)"):
        read_description(file)


@pytest.mark.parametrize("opens", [read_description, open_runtime])
def test_openvino_needs_both_files_whole(tmp_path: Path, opens: Callable[[Path], object]) -> None:
    ov = pytest.importorskip("openvino")
    opset = pytest.importorskip("openvino.opset13")
    file, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    image = opset.parameter([1, 3, 4, 4], np.float32)
    kernel = opset.constant(np.ones((5, 3, 1, 1), np.float32))
    maps = opset.convolution(image, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = ov.Model([maps], [image])
    for key, text in texts_of().items():
        model.set_rt_info(text, ["casvit_dense", key])
    ov.save_model(model, str(file), compress_to_fp16=False)
    opens(file)
    whole = weights.read_bytes()
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.bin, which belongs to model\.xml, is not beside"):
        opens(file)
    weights.write_bytes(whole[:20])
    with pytest.raises(UserError, match="Incorrect weights in bin file!") as caught:
        opens(file)
    assert "src/" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("existing", ["model.xml", "model.bin"])
def test_neither_file_of_openvino_is_written_over(tmp_path: Path, existing: str) -> None:
    options = {"format": "openvino", "out": tmp_path / "model.xml"}
    (tmp_path / existing).touch()
    with pytest.raises(UserError, match=f"{existing} exists already"):
        target_file("stem", ExportOptions(**options))
    assert target_file("stem", ExportOptions(**options, force=True)) == options["out"]


@pytest.mark.parametrize(
    ("outputs", "highest"),
    [
        ({"logits": torch.zeros(1, 3, 4, 4)}, 3),
        ({"labels": torch.tensor([0, 4, 1])}, 5),
        ({"logits": torch.zeros(1, 2, 4, 4)}, None),
        ({"labels": torch.tensor([], dtype=torch.int64)}, None),
    ],
)
def test_more_classes_than_the_file_names_are_refused(
    outputs: dict[str, torch.Tensor], highest: int | None
) -> None:
    described: Any = SimpleNamespace(classes=["circle", "square"])
    if highest is None:
        check_labels(outputs, described)
        return
    with pytest.raises(UserError, match=f"names 2 classes, and its network gives class {highest};"):
        check_labels(outputs, described)
