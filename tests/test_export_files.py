"""Files of export before anything runs: what is read of them, refused, and not written over."""

import json
import os
import zipfile
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from casvit_dense.cli import main
from casvit_dense.errors import UserError
from casvit_dense.export import open_runtime
from casvit_dense.export.job import ExportOptions, target_file
from casvit_dense.exported.description import PT2_ENTRY, Description, read_description

CONFIG = Path(__file__).parents[1] / "configs" / "demo" / "fpn_casvit-mini_shapes.py"


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
    values = {**dict.fromkeys(field.name for field in fields(Description)), "config": CONFIG.stem}
    texts = {name: json.dumps(value) for name, value in {**values, "part": "model"}.items()}
    program = torch.export.export(nn.ReLU(), (torch.rand(2),))
    torch.export.save(program, plain, extra_files={PT2_ENTRY: json.dumps(texts)})
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
    with pytest.raises(UserError, match=r"is no file of torch\.export"):
        read_description(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"model/extra/{PT2_ENTRY}", "[]")
    with pytest.raises(UserError, match="does not describe itself"):
        read_description(file)


@pytest.mark.parametrize("existing", ["model.xml", "model.bin"])
def test_neither_file_of_openvino_is_written_over(tmp_path: Path, existing: str) -> None:
    options = {"form": "openvino", "out": tmp_path / "model.xml"}
    (tmp_path / existing).touch()
    with pytest.raises(UserError, match=f"{existing} exists already"):
        target_file("stem", ExportOptions(**options))
    assert target_file("stem", ExportOptions(**options, force=True)) == options["out"]
