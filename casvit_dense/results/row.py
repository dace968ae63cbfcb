"""What result rows have in common, and the rows of evaluations."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

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
        title: what people call it: as its description says, else the name of its folder.
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
    title: str | None = None


class NetworkCosts(_Strict):
    """What the evaluated network costs, in its reference form.

    Attributes:
        params_m, backbone_params_m: parameters of the whole model and of its backbone, in 1e6.
        gmacs, backbone_gmacs: multiply-adds of an image, in 1e9; None: could not be counted.
        size: height and width of that image in pixels, ``HxW``.
    """

    params_m: Figure
    backbone_params_m: Figure | None = None
    gmacs: Figure | None = None
    backbone_gmacs: Figure | None = None
    size: str | None = None


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


class Measured(_Strict):
    schema_version: Literal[2] = SCHEMA_VERSION
    date: AwareDatetime
    device: str
    threads: int = Field(ge=1)


class _Network(_Strict):
    precision: str
    form: str
    backend: str


class Provenance(_Strict):
    software: Software
    duration_s: float | None = Field(default=None, ge=0)
    command: str | None = None


class NetworkRow(Provenance, _Network, Measured):
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


class Evaluation(NetworkRow):
    """Accuracy of one weight file on one data set.

    Attributes:
        config: stem of the config.
        backbone: what tables call its backbone.
        costs: parameters and multiply-adds; None of an exported file.
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
    backbone: str | None = None
    costs: NetworkCosts | None = None
