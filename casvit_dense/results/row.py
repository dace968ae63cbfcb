"""Result rows: what was evaluated or timed, with everything that a reader needs to believe it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

#: Version of the rows that are written now. A change of a field's meaning raises it and adds the
#: way from the version before to `UPGRADES`.
SCHEMA_VERSION: Final = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    """No field unknown, none changed after it was written; NaN and infinity are no results."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Weights(_Strict):
    """A checkpoint or an exported file.

    Attributes:
        file: its name.
        sha256: of the file that ran; of an exported one, that file's own.
        source_sha256: of the checkpoint that an exported file was made of.
    """

    file: str
    sha256: Sha256
    source_sha256: Sha256 | None = None


class Dataset(_Strict):
    """What was evaluated on.

    Attributes:
        name: type of the data set, e.g. ``'CocoDataset'``.
        annotations_sha256: of the instances file; of a folder of maps, of their names and contents.
        images: how many were evaluated.
        classes: how many the metric knows.
        objects: annotations of those images; None for maps.
    """

    name: str
    annotations_sha256: Sha256
    images: int = Field(ge=1)
    classes: int = Field(ge=1)
    objects: int | None = None


class Training(_Strict):
    """How the weights came about, as the checkpoint itself says.

    Attributes:
        recipe_sha256: of the part of the training config that a result depends on.
        global_batch: images a step, over all processes and accumulated steps.
        iterations: steps taken.
        planned_iterations: steps of the whole schedule.
        images: of the training set, after its filters.
        seed: of the training run.
        precision: ``'fp32'``, or ``'fp16'`` and ``'bf16'`` for mixed precision; part of the recipe.
    """

    recipe_sha256: Sha256
    global_batch: int | None = None
    iterations: int | None = None
    planned_iterations: int | None = None
    images: int | None = None
    seed: int | None = None
    precision: str | None = None


class Software(_Strict):
    """What ran it.

    Attributes:
        versions: by package.
        python: version; None where it was not noted.
        commit: last commit that changed code or configs; None outside a repository.
        dirty: files differed from that commit.
    """

    versions: Mapping[str, str]
    python: str | None = None
    commit: str | None = None
    dirty: bool = False


class _Row(_Strict):
    """What every row has.

    Attributes:
        schema_version: see `SCHEMA_VERSION`.
        date: when the work ended.
        device: name of the processor or GPU.
        threads: CPU threads of a process.
        precision: ``'fp32' | 'fp16' | 'bf16' | 'autocast' | 'int8 dynamic' | 'int8 static'``.
        form: ``'reference'``, ``'fused'``, …
        backend: what ran the network: ``'eager'``, ``'onnxruntime'``, …
        software: see `Software`.
        duration_s: of the whole work.
        command: what a user types to repeat it.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    date: AwareDatetime
    device: str
    threads: int = Field(ge=1)
    precision: str
    form: str
    backend: str
    software: Software
    duration_s: float | None = Field(default=None, ge=0)
    command: str | None = None


class Evaluation(_Row):
    """Accuracy of one weight file on one data set.

    Attributes:
        config: stem of the config.
        config_sha256: of the resolved config, paths and worker counts left out.
        pipeline_sha256: of the test pipeline.
        recipe_sha256: of the config's own training recipe; compare with ``training``.
        training: how the weights were trained; None where their file does not say, as official
            files do not.
        metrics: as the evaluator names them: ``coco/…`` fractions, ``mIoU``, ``mAcc``, ``aAcc``
            percent. None: there was no truth to measure it on.
        per_class: the same, by kind and class.
        processes: that shared the images out.
        seed: of the evaluation.
        folder: where predictions lie, relative to the ledger's folder.
    """

    kind: Literal["evaluation"] = "evaluation"
    config: str
    config_sha256: Sha256
    pipeline_sha256: Sha256
    recipe_sha256: Sha256
    weights: Weights
    training: Training | None = None
    dataset: Dataset
    metrics: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]] = Field(default_factory=dict)
    processes: int = Field(default=1, ge=1)
    seed: int | None = None
    folder: str | None = None


class Speed(_Row):
    """Time, memory and work of one network under one condition.

    Attributes:
        model: ``casvit-xs`` (the backbone alone) or a config's stem.
        part: ``'backbone' | 'model'``.
        mode: ``'infer' | 'train' | 'count'``.
        size: ``HxW`` in pixels.
        batch: images a call.
        median_ms, p10_ms, p90_ms: of a call.
        other_load: cores that other processes kept busy meanwhile.
        peak_mb: memory at most.
        params_m, gmacs: in 1e6 and 1e9.
        error: why there is no figure.
        more: the other columns of the benchmark's CSV row, as there.
    """

    kind: Literal["speed"] = "speed"
    model: str
    part: str
    mode: str
    size: str
    batch: int = Field(ge=1)
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    other_load: float | None = None
    peak_mb: float | None = None
    params_m: float | None = None
    gmacs: float | None = None
    error: str | None = None
    more: Mapping[str, str] = Field(default_factory=dict)


Row = Evaluation | Speed
_ROW: TypeAdapter[Row] = TypeAdapter(Annotated[Row, Field(discriminator="kind")])

#: From a version's dict to the next version's.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def parse_row(line: str) -> Row:
    """A row from its line, brought up to the present version.

    Raises:
        ValueError: the line is no such row, or of a version that this code does not know.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    version = content.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}; this code knows 1 to {SCHEMA_VERSION}")
    for old in range(version, SCHEMA_VERSION):
        try:
            content = {**UPGRADES[old](content), "schema_version": old + 1}
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"no row of version {old}: {error!r}") from error
    row = _ROW.validate_python(content)
    row_id(row)  # what cannot be written again, half a surrogate pair for one, is no row
    return row


def line_of(row: Row) -> str:
    """The row as one line of JSON, without the line's end."""
    return row.model_dump_json()


def row_id(row: Row) -> str:
    """Twelve hex digits that tell the row from all others.

    Fields at their defaults do not count: one that is added later leaves the ids of old rows alone.
    """
    told = f"{row.kind} {row.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]
