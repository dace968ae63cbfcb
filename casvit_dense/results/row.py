"""Result rows: what was evaluated or timed, with everything that a reader needs to believe it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from casvit_dense.progress import counted

#: Version of the rows that are written now. A change of a field's meaning raises it and adds the
#: way from the version before to `UPGRADES`.
SCHEMA_VERSION: Final = 2
FULL_PRECISION: Final = "fp32"  # as `precision`: neither mixed nor quantised

#: A measured number. Five digits: more of them are noise, and lines stay short.
Figure = Annotated[float, AfterValidator(lambda value: float(f"{value:.5g}"))]
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
        changes: what was changed when the run was resumed; its recipe is then one of its own.
        skipped_steps: steps that were left out, since loss or gradients were not finite.
        replaced_images: how many could not be read, and had others in their place.
        replaced: the first of them, by name.
    """

    recipe_sha256: Sha256
    global_batch: int | None = None
    iterations: int | None = None
    planned_iterations: int | None = None
    images: int | None = None
    seed: int | None = None
    precision: str | None = None
    changes: list[str] = []
    skipped_steps: list[int] = []
    replaced_images: int = 0
    replaced: list[str] = []

    @property
    def remarks(self) -> list[str]:
        """What must be known of the training beside its figures."""
        found = [f"the training was changed when it was resumed: {one}" for one in self.changes]
        if count := len(self.skipped_steps):
            found.append(f"the training left out {counted(count, 'step')}, not finite")
        if count := self.replaced_images:
            images = f"{counted(count, 'image')} that could not be read"
            found.append(f"the training replaced {images}: {', '.join(self.replaced[:3])}")
        return found


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


class _Measured(_Strict):
    schema_version: Literal[2] = SCHEMA_VERSION
    date: AwareDatetime
    device: str
    threads: int = Field(ge=1)


class _Network(_Strict):
    precision: str
    form: str
    backend: str


class _Provenance(_Strict):
    software: Software
    duration_s: float | None = Field(default=None, ge=0)
    command: str | None = None


class _NetworkRow(_Provenance, _Network, _Measured):
    """What every row of a network has.

    The fields of the last base come first. Their order is part of a row's id, so it stays.

    Attributes:
        date: when the work ended.
        device: name of the processor or GPU.
        threads: CPU threads of a process.
        precision: ``'fp32' | 'fp16' | 'bf16' | 'autocast' | 'int8 dynamic' | 'int8 static'``.
        form: ``'reference'``, ``'fused'``, …
        backend: what ran the network: ``'eager'``, ``'onnxruntime'``, …
        duration_s: of the whole work.
        command: what a user types to repeat it.
    """


class Evaluation(_NetworkRow):
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
        remarks: what must be known beside the figures, e.g. classes without truth.
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
    remarks: tuple[str, ...] = ()
    processes: int = Field(default=1, ge=1)
    seed: int | None = None
    folder: str | None = None


class _BenchmarkRow(_Provenance, _Measured):
    """A measurement of speed. A later one under the same condition replaces it.

    Attributes:
        CONDITION: fields that, with device, threads and software, say what was measured.
        error: why there is no figure.
    """

    CONDITION: ClassVar[tuple[str, ...]]
    error: str | None = None

    @property
    def condition(self) -> tuple[Any, ...]:
        """What makes two rows measurements of the same thing."""
        versions = tuple(sorted(self.software.versions.items()))
        code = (self.software.commit, self.software.dirty)
        fields = ("kind", "device", "threads", *self.CONDITION)
        return versions, *code, *(getattr(self, name) for name in fields)


class Speed(_BenchmarkRow, _NetworkRow):
    """Time, memory and work of one network under one condition.

    Attributes:
        model: ``casvit-xs`` (the backbone alone) or a config's stem.
        part: ``'backbone' | 'model'``.
        mode: ``'infer' | 'train' | 'count'``.
        size: ``HxW`` in pixels.
        batch: images a call.
        memory_format: ``'default' | 'channels_last'``.
        device_type: ``'cpu' | 'cuda'``.
        tf32: convolutions and matrix products on a GPU may round factors to 11 bits.
        cudnn_benchmark: cuDNN chose its algorithms by trial.
        run: when the run began that the row is of.
        rounds_ms: of a call, in each round.
        median_ms, p10_ms, p90_ms: of them.
        other_load: cores that other processes kept busy meanwhile.
        base: what ``ratio`` compares with: form, backend and precision.
        ratio: how many times as fast as ``base``, median over the rounds.
        form_ratio: how many times as fast as the reference on the same backend.
        difference: of the outputs from the reference's, relative to their largest value.
        peak_mb: memory at most, in 1e6 bytes.
        memory_error: why it could not be measured.
        saved_mb: what autograd keeps between forward and backward pass, in 1e6 bytes.
        params_m, gmacs: parameters in 1e6; multiply-adds of an image in 1e9. Also by part.
        rois: what the second stage of a detector has to do.
        matmul_gflops, matmul_by, copy_gbs: the machine's best matrix product in 1e9 operations a
            second, the library that made it, and its best copy in 1e9 bytes a second.
        matmul_share, copy_share, roofline_share: what the call reached of them, as fractions.
    """

    CONDITION: ClassVar = (
        "model",
        "part",
        "mode",
        "form",
        "backend",
        "precision",
        "memory_format",
        "size",
        "batch",
        "device_type",
        "tf32",
        "cudnn_benchmark",
    )

    kind: Literal["speed"] = "speed"
    model: str
    part: str
    mode: str
    size: str
    batch: int = Field(ge=1)
    memory_format: str = "default"
    device_type: str = "cpu"
    tf32: bool | None = None
    cudnn_benchmark: bool | None = None
    run: AwareDatetime | None = None
    rounds_ms: tuple[Figure, ...] = ()
    median_ms: Figure | None = None
    p10_ms: Figure | None = None
    p90_ms: Figure | None = None
    other_load: Figure | None = None
    base: str | None = None
    ratio: Figure | None = None
    form_ratio: Figure | None = None
    difference: Figure | None = None
    peak_mb: Figure | None = None
    memory_error: str | None = None
    saved_mb: Figure | None = None
    params_m: Figure | None = None
    gmacs: Figure | None = None
    backbone_params_m: Figure | None = None
    backbone_gmacs: Figure | None = None
    neck_params_m: Figure | None = None
    neck_gmacs: Figure | None = None
    head_params_m: Figure | None = None
    head_gmacs: Figure | None = None
    rois: str | None = None
    matmul_gflops: Figure | None = None
    matmul_by: str | None = None
    copy_gbs: Figure | None = None
    matmul_share: Figure | None = None
    copy_share: Figure | None = None
    roofline_share: Figure | None = None

    @property
    def images_per_s(self) -> float | None:
        """Images a second at the median time."""
        return 1e3 * self.batch / self.median_ms if self.median_ms else None


class LoadingSpeed(_BenchmarkRow):
    """Time of one step between image files and a batch.

    Attributes:
        config: stem of the config whose training data are loaded.
        decoder: library that decodes images; None, as are the next four: the config failed.
        step: of the pipeline, or ``'loader'`` for the whole loader with its workers.
        images: that were timed.
        batch: images of a batch.
        workers: processes of the loader.
        ms, ms_mean, ms_p10, ms_p90: of an image: median, mean, 10th and 90th percentile.
        images_per_second: of the loader.
        rss_mib, private_mib: memory of a worker in 2**20 bytes, in all and of its own.
    """

    CONDITION: ClassVar = ("config", "decoder", "step", "images", "batch", "workers")

    kind: Literal["loading"] = "loading"
    config: str
    decoder: str | None = None
    step: str | None = None
    images: int | None = None
    batch: int | None = None
    workers: int | None = None
    ms: Figure | None = None
    ms_mean: Figure | None = None
    ms_p10: Figure | None = None
    ms_p90: Figure | None = None
    images_per_second: Figure | None = None
    rss_mib: Figure | None = None
    private_mib: Figure | None = None


class EvaluatorSpeed(_BenchmarkRow):
    """Time of one phase of COCO's evaluation on generated detections.

    Attributes:
        task: ``'bbox' | 'segm'``.
        backend: package that evaluates; None, as are the next five: the task failed.
        phase: of the work, or ``'total'``.
        images, categories, detections, seed: of what was generated.
        seconds: of the phase.
        peak_mib: memory of the process up to then, in 2**20 bytes.
        speedup: seconds of pycocotools over these.
        largest_difference: of the metrics from those of pycocotools.
        metrics: COCO's twelve numbers, fractions.
    """

    CONDITION: ClassVar = ("task", "backend", "phase", "images", "categories", "detections", "seed")

    kind: Literal["evaluator"] = "evaluator"
    task: str
    backend: str | None = None
    phase: str | None = None
    images: int | None = None
    categories: int | None = None
    detections: int | None = None
    seed: int | None = None
    seconds: Figure | None = None
    peak_mib: Figure | None = None
    speedup: Figure | None = None
    largest_difference: Figure | None = None
    metrics: Mapping[str, Figure] = Field(default_factory=dict)


BenchmarkRow = Speed | LoadingSpeed | EvaluatorSpeed
Row = Evaluation | BenchmarkRow
_ROW: TypeAdapter[Row] = TypeAdapter(Annotated[Row, Field(discriminator="kind")])


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Speeds kept most of their fields as text in ``more``, named as in the CSV files of 0.1."""
    if content["kind"] != "speed":
        return content
    fields = {name: text for name, text in content.items() if name != "more"}
    for name, text in content.get("more", {}).items():
        if name in ("rounds", "images_per_s"):  # follow from rounds_ms and median_ms
            continue
        if name == "rounds_ms":
            fields[name] = text.split()
        elif text != "nan":  # what the outputs of a failed network differ by
            fields["device_type" if name == "device" else name] = text
    return fields


#: From a version's dict to the next version's.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}


def parse_row(line: str) -> Row:
    """A row from its line, brought up to the present version.

    Raises:
        ValueError: the line is no such row, or of a version that this code does not know.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
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
    content = f"{row.kind} {row.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(content.encode()).hexdigest()[:12]
