"""What an evaluation wrote down in its ``metrics.json``, checked."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from casvit_dense.analysis.columns import is_text, read_json
from casvit_dense.errors import UserError

METRICS = "metrics.json"


def _readable(text: str) -> str:
    if not is_text(text):
        raise ValueError("no readable text")
    return text


Text = Annotated[str, AfterValidator(_readable)]

#: The end of a file name, which files are searched by: no folders, no wildcards.
Suffix = Annotated[str, Field(pattern=r"^[\w.-]*$")]


class _Checked(BaseModel):
    """Known keys have their types; others are nobody's business."""

    model_config = ConfigDict(strict=True, frozen=True)


class EvaluatedData(_Checked):
    """The data set's part of the config, as mmengine's data sets name it."""

    type: Text | None = None
    data_root: Text | None = None
    ann_file: Text | None = None
    data_prefix: dict[str, Text | None] | None = None
    indices: int | list[int] | None = None
    pipeline: list[dict[str, Any]] = []
    reduce_zero_label: bool | None = None
    seg_map_suffix: Suffix = ".png"
    img_suffix: Suffix = ".jpg"
    metainfo: dict[str, Any] | None = None

    def prefix(self, key: str) -> str:
        """A folder below the root; the root itself where none is named."""
        return (self.data_prefix or {}).get(key) or ""


class Conditions(_Checked):
    """What was evaluated on, the data set and how many of its images, and how."""

    dataset: EvaluatedData
    images: int | None = None
    form: Text | None = None
    fused: bool | None = None
    backend: Text | None = None
    precision: Text | None = None
    seed: int | None = None


class WrittenDown(_Checked):
    """The content of ``metrics.json`` as far as the analysis uses it.

    Attributes:
        config: stem of the config.
        metrics: as the evaluator names them.
        per_class: the same, by kind and class.
        conditions: see `Conditions`.
        checkpoint: weights or exported file.
    """

    config: Text
    metrics: dict[Text, float | None]
    per_class: dict[str, dict[Text, float | None]]
    conditions: Conditions
    checkpoint: Text | None = None

    def traits(self) -> tuple[str, ...]:
        """How it was evaluated, to tell evaluations of one config apart; ``""``: not noted."""
        how = self.conditions
        form = how.form
        if how.fused is not None:  # an exported file: what it was made of
            form = "fused" if how.fused else "reference"
        backend = how.backend or (form and "eager")
        weights = Path(self.checkpoint).name if self.checkpoint else ""
        seed = "" if how.seed is None else f"seed {how.seed}"
        return (form or "", backend or "", how.precision or "", weights, seed)

    def names(self, kind: str, metric: str) -> bool:
        """Whether something of a kind (``'bbox' | 'segm' | 'IoU'``) was evaluated."""
        return metric in self.metrics or kind in self.per_class


def read_evaluation(folder: Path) -> WrittenDown:
    """Reads the ``metrics.json`` of a folder.

    Raises:
        UserError: it cannot be read, or a key is missing or of another type.
    """
    path = folder / METRICS
    content = read_json(path)
    try:
        return WrittenDown.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise UserError(f"{path}: lacks '{key}'; evaluate again") from error
        where = f"{path}: {key}" if key else f"{path}"
        wrong = first["msg"].partition(" or instance of ")[0]  # names of our own classes
        raise UserError(f"{where}: {wrong}; evaluate again") from error
