"""What an exported file says of itself."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from casvit_dense.errors import UserError
from casvit_dense.exported.optional import require

#: Section of OpenVINO's runtime information, and name of the text inside a ``.pt2`` archive.
OPENVINO_SECTION = "casvit_dense"
PT2_ENTRY = "casvit_dense.json"


@dataclass(frozen=True)
class Description:
    """Everything a stranger needs to feed the file and to read its outputs.

    Attributes:
        config: stem of the config file.
        part: ``'backbone' | 'model'``.
        kind: ``'backbone' | 'detector' | 'segmenter'``.
        classes: class names; outputs count them from 0.
        category_ids: the number of each class in result files of its data set.
        input: what to feed, for people.
        input_name: name of the input.
        input_shape: batch, channels, height and width that it was traced with.
        dynamic: whether height and width are open.
        resize: long and short side of the box that test images are fitted into, keeping their
            shape; None where the test pipeline does something else.
        channel_order: ``'RGB' | 'BGR'``.
        mean: of each channel, in the input's order.
        std: of each channel.
        normalisation: who subtracts and divides: ``'file' | 'caller'``.
        pad_divisor: height and width are padded with zeros to a multiple of it, by the same.
        score_thr: detections of lower score are not in the output; None of other kinds.
        mask_thr: a pixel belongs to an object from this probability on; None without masks.
        align_corners: how to enlarge logits; None of other kinds.
        outputs: what each output holds, for people, in order.
        weights_sha256: of the checkpoint.
        fused: whether norms were folded into convolutions.
        precision: ``'float32' | 'int8 dynamic' | 'int8 static'``.
        versions: of the packages that wrote it.
    """

    config: str
    part: str
    kind: str
    classes: list[str]
    category_ids: list[int]
    input: str
    input_name: str
    input_shape: list[int]
    dynamic: bool
    resize: list[int] | None
    channel_order: str
    mean: list[float]
    std: list[float]
    normalisation: str
    pad_divisor: int
    score_thr: float | None
    mask_thr: float | None
    align_corners: bool | None
    outputs: dict[str, str]
    weights_sha256: str
    fused: bool
    precision: str
    versions: dict[str, str]

    def to_texts(self) -> dict[str, str]:
        """Every field as JSON, for formats that keep pairs of text."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], path: Path) -> "Description":
        """The inverse; other pairs of the file are passed over.

        Raises:
            UserError: a field is missing or is no JSON.
        """
        try:
            values = {field.name: json.loads(texts[field.name]) for field in fields(cls)}
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path} does not describe itself ({type(error).__name__}: {error}): it was not "
                "written by casvit-dense export"
            ) from error
        return cls(**values)


def read_description(path: Path) -> Description:
    """The description inside an exported file.

    Raises:
        UserError: the file cannot be read, or was not written by ``casvit-dense export``.
    """
    try:
        reader = READERS[path.suffix]
    except KeyError:
        raise UserError(f"{path} is no exported file: expected {', '.join(READERS)}") from None
    if not path.is_file():
        raise UserError(f"no exported file {path}")
    return Description.from_texts(reader(path), path)


def _read_onnx(path: Path) -> dict[str, str]:
    onnx = require("onnx", "export")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises errors of its own
        raise UserError(f"{path} is no ONNX file: {error}") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _read_openvino(path: Path) -> dict[str, str]:
    ov = require("openvino", "openvino")
    try:
        model = ov.Core().read_model(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} is no OpenVINO model: {error}") from error
    names = [field.name for field in fields(Description)]
    return {
        name: model.get_rt_info([OPENVINO_SECTION, name]).astype(str)
        for name in names
        if model.has_rt_info([OPENVINO_SECTION, name])
    }


def _read_pt2(path: Path) -> dict[str, str]:
    # Without torch, which would unpickle what else is in the archive.
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{PT2_ENTRY}")]
            return json.loads(archive.read(names[0])) if names else {}
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no file of torch.export: {error}") from error


READERS = {".onnx": _read_onnx, ".xml": _read_openvino, ".pt2": _read_pt2}
