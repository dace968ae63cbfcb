"""Rows of measurements of speed: of networks, loaders and evaluators."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from casvit_dense.results.row import Figure, Measured, NetworkRow, Provenance


class _BenchmarkRow(Provenance, Measured):
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


class Speed(_BenchmarkRow, NetworkRow):
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
