"""The description inside an exported file: what it takes, what it returns, where it comes from."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from casvit_dense.errors import UserError, validation_message
from casvit_dense.extras import require

#: Section of OpenVINO's runtime information, and name of the text inside a ``.pt2`` archive.
OPENVINO_SECTION = "casvit_dense"
PT2_ENTRY = "casvit_dense.json"
#: Bytes of a description inside an archive, which may be packed a thousandfold.
LARGEST_TEXT = 10_000_000

Kind = Literal["backbone", "detector", "segmenter"]
ChannelOrder = Literal["RGB", "BGR"]


class Description(BaseModel):
    """Everything that is needed to run the file and to read its outputs.

    Attributes:
        config: stem of the config file.
        part: what the file holds.
        kind: of the model; a backbone alone has its own.
        classes: class names; outputs count them from 0.
        category_ids: the number of each class in result files of its data set.
        input: the input, in words.
        input_name: name of the input.
        input_shape: batch, channels, height and width that it was traced with.
        dynamic: whether height and width are open.
        resize: long and short side of the box that test images are fitted into, keeping their
            aspect ratio; None where the test pipeline does something else.
        channel_order: of the input.
        mean: of each channel, in the input's order.
        std: of each channel.
        normalisation: who subtracts and divides.
        pad_divisor: height and width are padded with zeros to a multiple of it, by the same side.
        score_thr: detections of lower score are not in the output; None for other kinds.
        mask_thr: least probability of an object's pixel; None without masks.
        align_corners: how to upsample logits; None for other kinds.
        outputs: what each output holds, in words, in order.
        weights_sha256: of the checkpoint.
        fused: whether norms were folded into convolutions.
        precision: ``'float32' | 'int8 dynamic' | 'int8 static'``.
        versions: of the packages that wrote it.
        model: what the model is, see `config.kept`; None in files of earlier versions.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    config: str
    part: Literal["backbone", "model"]
    kind: Kind
    classes: list[str]
    category_ids: list[int]
    input: str
    input_name: str
    input_shape: tuple[int, int, int, int]
    dynamic: bool
    resize: tuple[int, int] | None
    channel_order: ChannelOrder
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalisation: Literal["file", "caller"]
    pad_divisor: int
    score_thr: float | None
    mask_thr: float | None
    align_corners: bool | None
    outputs: dict[str, str] = Field(min_length=1)
    weights_sha256: str
    fused: bool
    precision: str
    versions: dict[str, str]
    model: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "Description":
        if (self.part == "backbone") != (self.kind == "backbone"):
            raise ValueError(f"part is {self.part!r}, but kind is {self.kind!r}")
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"category_ids must be {len(self.classes)}, one for each of classes")
        if lacking := REQUIRED_OUTPUTS[self.kind] - set(self.outputs):
            raise ValueError(f"outputs lacks {', '.join(sorted(lacking))}")
        if self.kind == "detector" and self.score_thr is None:
            raise ValueError("score_thr must be a number")
        if "masks" in self.outputs and self.mask_thr is None:
            raise ValueError("mask_thr must be a number")
        return self

    def to_texts(self) -> dict[str, str]:
        """Every field as JSON, for formats that keep pairs of text."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], path: Path) -> "Description":
        """The inverse; other pairs of the file are ignored."""
        try:
            values = {
                name: json.loads(texts[name])
                for name, field in cls.model_fields.items()
                if name in texts or field.is_required()
            }
        except (KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path} does not describe itself ({type(error).__name__}: {error}): it was not "
                "written by casvit-dense export"
            ) from error
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise UserError(
                f"{path}: its description is damaged: {validation_message(error)}; the file was "
                "changed after its export, so export it again"
            ) from error


#: Outputs that each kind of model must have.
REQUIRED_OUTPUTS = {
    "backbone": set[str](),
    "detector": {"boxes", "scores", "labels"},
    "segmenter": {"logits", "labels"},
}


def read_description(path: Path) -> Description:
    """The description inside an exported file.

    Raises:
        UserError: the file cannot be read, or was not written by ``casvit-dense export``.
    """
    try:
        reader = READERS[path.suffix]
    except KeyError:
        raise UserError(f"{path} is not an exported file: expected {', '.join(READERS)}") from None
    if not path.is_file():
        raise UserError(f"no exported file {path}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or export it again")
    return Description.from_texts(reader(path), path)


def _read_onnx(path: Path) -> dict[str, str]:
    onnx = require("onnx", "export")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises errors of its own
        raise UserError(f"{path} is not an ONNX file: {error}") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _read_openvino(path: Path) -> dict[str, str]:
    ov = require("openvino", "openvino")
    weights = weights_beside(path)
    try:
        model = ov.Core().read_model(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path} and {weights.name} are not an OpenVINO model: {last_line(error)}"
        ) from error
    return {
        name: model.get_rt_info([OPENVINO_SECTION, name]).astype(str)
        for name in Description.model_fields
        if model.has_rt_info([OPENVINO_SECTION, name])
    }


def weights_beside(path: Path) -> Path:
    """The ``.bin`` of an OpenVINO ``.xml``."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise UserError(f"{weights}, which belongs to {path.name}, is not beside it; move both")
    return weights


def last_line(error: Exception) -> str:
    """The message of an OpenVINO error; the lines above it name places in its source."""
    return str(error).strip().rpartition("\n")[2].strip()


def _read_pt2(path: Path) -> dict[str, str]:
    # Without torch, which would unpickle the rest of the archive.
    try:
        with zipfile.ZipFile(path) as archive:
            found = [e for e in archive.infolist() if e.filename.endswith(f"/{PT2_ENTRY}")]
            if found and found[0].file_size > LARGEST_TEXT:
                raise ValueError(f"its description has {found[0].file_size} bytes")
            content = json.loads(archive.read(found[0])) if found else {}
            return content if isinstance(content, dict) else {}
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not a torch.export file: {error}") from error


READERS = {".onnx": _read_onnx, ".xml": _read_openvino, ".pt2": _read_pt2}
