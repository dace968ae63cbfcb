"""Published figures of CAS-ViT and its peers, with their sources: ``targets.json``."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from casvit_dense.errors import UserError, validation_message
from casvit_dense.zoo import CLASSIFIERS, DATASETS, FAMILIES, DatasetSpec, Family

PUBLISHED = Path(__file__).with_name("targets.json")

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Percent = Annotated[float, Field(gt=0, lt=100)]


class _Published(BaseModel):
    """What all rows have: no unknown key, no number as text, no infinity, and a source."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    backbone: Text
    source: Text


class Target(_Published):
    """What was published of one dense model.

    Attributes:
        head: that of its family, see `zoo.Family`.
        backbone: name as published.
        metrics: percent, by the names in `zoo.METRICS`.
        source: where it was published.
        tolerance: points by which runs of one recipe differ; by default that of the data set.
        config: stem of our config of the same model, if there is one.
        params_m: trained parameters of the whole model, in millions.
        backbone_params_m: parameters of the backbone, mostly with its classifier, in millions.
        gflops_512: multiply-adds of the whole model at 512x512, in 1e9.
        also: other published values of mIoU, by where they are from.
    """

    head: Text
    metrics: Annotated[Mapping[str, Percent], Field(min_length=1)]
    tolerance: Positive
    config: Text | None = None
    params_m: Positive | None = None
    backbone_params_m: Positive | None = None
    gflops_512: Positive | None = None
    also: Mapping[str, Percent] = Field(default_factory=dict)

    @property
    def family(self) -> Family:
        """The models with this head and schedule."""
        return next(family for family in (*FAMILIES, CLASSIFIERS) if family.head == self.head)

    @property
    def dataset(self) -> DatasetSpec:
        """The data set that the figures were measured on."""
        return DATASETS[self.family.dataset]

    @field_validator("head")
    @classmethod
    def _check_head(cls, head: str) -> str:
        keys = [family.head for family in (*FAMILIES, CLASSIFIERS)]
        if head not in keys:
            raise ValueError(f"{head!r} is none of {', '.join(keys)}")
        return head

    @model_validator(mode="after")
    def _check_metrics(self) -> "Target":
        for name in self.metrics:
            if name not in self.family.metrics:
                raise ValueError(f"{self.head} has no metric {name!r}")
        return self


class Classifier(_Published):
    """What was published of one ImageNet classifier.

    Attributes:
        backbone: name as published.
        params_m: parameters in millions, classifier included.
        top1: percent, at ``size``.
        source: where it was published.
        configs: the top-1 of our configs of the same model, which differ in the size of images.
        also: other published values of top-1.
        size: side of the images in pixels.
        gmacs: multiply-adds at ``size``, in 1e9.
        timm: name of the same model in timm.
        note: why our own count differs from the published one.
    """

    params_m: Positive
    top1: Percent
    configs: Mapping[str, Percent] = Field(default_factory=dict)
    also: Mapping[str, Percent] = Field(default_factory=dict)
    size: Annotated[int, Field(gt=0)] = 224
    gmacs: Positive | None = None
    timm: Text | None = None
    note: Text | None = None


class Throughput(_Published):
    """A row of the CAS-ViT paper's table of speeds, in the paper's units.

    Attributes:
        backbone: name as published.
        params_m: parameters, in millions.
        mflops: multiply-adds at 224x224, in 1e6.
        gpu: on a GPU.
        onnx: with ONNX.
        ane: on Apple's Neural Engine.
        top1: percent.
        source: where it was published.
    """

    params_m: Positive
    mflops: Positive
    gpu: Positive
    top1: Percent
    onnx: Positive | None = None
    ane: Positive | None = None


class Targets(BaseModel):
    """All published figures.

    Attributes:
        about: what the file says of itself.
        tolerance: points by which runs of one recipe differ, by data set.
        dense: detectors and segmenters.
        classifiers: of ImageNet.
        throughput: the CAS-ViT paper's table of speeds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    about: tuple[str, ...] = ()
    tolerance: Mapping[str, Positive] = Field(default_factory=dict)
    dense: tuple[Target, ...]
    classifiers: tuple[Classifier, ...]
    throughput: Annotated[tuple[Throughput, ...], Field(alias="paper_throughput")]

    @property
    def rivals(self) -> tuple[Classifier, ...]:
        """The classifiers that timm builds: peers without a config of ours."""
        return tuple(row for row in self.classifiers if row.timm)

    def of_config(self, stem: str) -> Target | None:
        """What was published of the model of a config; None if nothing was."""
        return next((target for target in self.with_config if target.config == stem), None)

    @cached_property
    def models(self) -> tuple[Target, ...]:
        """What was published of every model, classifiers last."""
        if CLASSIFIERS.dataset not in self.tolerance:
            return self.dense
        classifiers = (
            Target(
                head=CLASSIFIERS.head,
                backbone=row.backbone,
                metrics={"top1": top1},
                tolerance=self.tolerance[CLASSIFIERS.dataset],
                config=config,
                params_m=row.params_m,
                source=row.source,
            )
            for row in self.classifiers
            for config, top1 in row.configs.items() or [(None, row.top1)]
        )
        return (*self.dense, *classifiers)

    @cached_property
    def with_config(self) -> tuple[Target, ...]:
        """The models that the project has a config of."""
        return tuple(target for target in self.models if target.config is not None)

    @model_validator(mode="before")
    @classmethod
    def _give_tolerances(cls, content: Any) -> Any:
        """Gives each dense row the tolerance of its data set, unless it has its own."""
        if not isinstance(content, dict):
            return content  # which pydantic refuses
        rows, tolerance = content.get("dense"), content.get("tolerance")
        if not isinstance(rows, list) or not isinstance(tolerance, dict):
            return content
        by_head = {family.head: tolerance.get(family.dataset) for family in FAMILIES}
        return {**content, "dense": [_with_tolerance(row, by_head) for row in rows]}

    @model_validator(mode="after")
    def _check_rows(self) -> "Targets":
        _refuse_duplicates(f"{row.backbone} with {row.head}" for row in self.dense)
        _refuse_duplicates(row.config for row in self.dense if row.config)
        _refuse_duplicates(row.backbone for row in self.classifiers)
        _refuse_duplicates(row.timm for row in self.classifiers if row.timm)
        if CLASSIFIERS.dataset not in self.tolerance and any(r.configs for r in self.classifiers):
            raise ValueError(f"tolerance has no {CLASSIFIERS.dataset}, which classifiers need")
        return self


def _with_tolerance(row: Any, by_head: Mapping[str, Any]) -> Any:
    tolerance = by_head.get(str(row.get("head"))) if isinstance(row, dict) else None
    return row if tolerance is None else {"tolerance": tolerance, **row}


def _refuse_duplicates(names: Iterable[Hashable]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{name} is there twice")


def read_targets(path: Path = PUBLISHED) -> Targets:
    """Reads and checks a file of published figures.

    Args:
        path: the file; by default the one that comes with the package.

    Raises:
        UserError: the file cannot be read, or a row has an unknown or missing key, a value out of
            range, an unknown metric, no source, or is there twice.
    """
    try:
        return Targets.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"no published figures can be read at {path}: {error.strerror}") from error
    except ValidationError as error:
        reason = validation_message(error)
        raise UserError(f"{path} is not a file of published figures: {reason}") from error
