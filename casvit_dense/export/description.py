"""The description inside an exported file: what it takes, what it returns, where it comes from."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from casvit_dense.errors import UserError
from casvit_dense.extras import require

#: Section of OpenVINO's runtime information, and name of the text inside a ``.pt2`` archive.
OPENVINO_SECTION = "casvit_dense"
PT2_ENTRY = "casvit_dense.json"


@dataclass(frozen=True)
class Description:
    """Everything that is needed to run the file and to read its outputs.

    Attributes:
        config: stem of the config file.
        part: ``'backbone' | 'model'``.
        kind: ``'backbone' | 'detector' | 'segmenter'``.
        classes: class names; outputs count them from 0.
        category_ids: the number of each class in result files of its data set.
        input: the input, in words.
        input_name: name of the input.
        input_shape: batch, channels, height and width that it was traced with.
        dynamic: whether height and width are open.
        resize: long and short side of the box that test images are fitted into, keeping their
            aspect ratio; None where the test pipeline does something else.
        channel_order: ``'RGB' | 'BGR'``.
        mean: of each channel, in the input's order.
        std: of each channel.
        normalisation: who subtracts and divides: ``'file' | 'caller'``.
        pad_divisor: height and width are padded with zeros to a multiple of it, by the same side.
        score_thr: detections of lower score are not in the output; None for other kinds.
        mask_thr: least probability of an object's pixel; None without masks.
        align_corners: how to upsample logits; None for other kinds.
        outputs: what each output holds, in words, in order.
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
        """The inverse; other pairs of the file are ignored.

        Raises:
            UserError: a field is missing, is no JSON, or has an impossible value.
        """
        try:
            values = {field.name: json.loads(texts[field.name]) for field in fields(cls)}
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path} does not describe itself ({type(error).__name__}: {error}): it was not "
                "written by casvit-dense export"
            ) from error
        try:
            about = TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise _damaged(path, str(first["loc"][0]), values, first["msg"]) from error
        for key, (holds, expected) in _rules(about).items():
            if not holds:
                raise _damaged(path, key, values, expected)
        return about


#: Outputs that each kind of model must have.
REQUIRED_OUTPUTS = {
    "backbone": set[str](),
    "detector": {"boxes", "scores", "labels"},
    "segmenter": {"logits", "labels"},
}


def _rules(about: Description) -> dict[str, tuple[bool, str]]:
    """Constraints beyond the types: for each key, whether it holds and what was expected."""
    needed = REQUIRED_OUTPUTS.get(about.kind, set())
    parts = ("backbone",) if about.kind == "backbone" else ("model",)
    detects, masks = about.kind == "detector", "masks" in about.outputs
    of_classes = f"expected {len(about.classes)} numbers, one for each of classes"
    return {
        "kind": (about.kind in REQUIRED_OUTPUTS, f"expected {', '.join(REQUIRED_OUTPUTS)}"),
        "part": (about.part in parts, f"expected {parts[0]}, for kind is {about.kind}"),
        "category_ids": (len(about.category_ids) == len(about.classes), of_classes),
        "input_shape": (len(about.input_shape) == 4, "expected batch, channels, height and width"),
        "resize": (about.resize is None or len(about.resize) == 2, "expected two sides, or null"),
        "channel_order": (about.channel_order in ("RGB", "BGR"), "expected RGB or BGR"),
        "mean": (len(about.mean) == 3, "expected 3 numbers"),
        "std": (len(about.std) == 3, "expected 3 numbers"),
        "score_thr": (not detects or about.score_thr is not None, "expected a number"),
        "mask_thr": (not masks or about.mask_thr is not None, "expected a number"),
        "outputs": (
            bool(about.outputs) and needed <= set(about.outputs),
            f"expected {', '.join(sorted(needed)) or 'at least one'}",
        ),
    }


def _damaged(path: Path, key: str, values: Mapping[str, object], problem: str) -> UserError:
    text = json.dumps(values[key])
    shown = text if len(text) <= 60 else f"{text[:60]} …"
    return UserError(
        f"{path}: {key} of its description is {shown}: {problem}; the file was changed after its "
        "export, so export it again"
    )


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
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or export it again")
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
    weights = weights_beside(path)
    try:
        model = ov.Core().read_model(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path} and {weights.name} are no OpenVINO model: {last_line(error)}"
        ) from error
    names = [field.name for field in fields(Description)]
    return {
        name: model.get_rt_info([OPENVINO_SECTION, name]).astype(str)
        for name in names
        if model.has_rt_info([OPENVINO_SECTION, name])
    }


def weights_beside(path: Path) -> Path:
    """The ``.bin`` of an OpenVINO ``.xml``.

    Raises:
        UserError: it is not there.
    """
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
            names = [name for name in archive.namelist() if name.endswith(f"/{PT2_ENTRY}")]
            return json.loads(archive.read(names[0])) if names else {}
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no file of torch.export: {error}") from error


READERS = {".onnx": _read_onnx, ".xml": _read_openvino, ".pt2": _read_pt2}
