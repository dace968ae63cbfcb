"""Accuracy against cost: points and axes of the scatter plot."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from casvit_dense.report.page_tables import percents
from casvit_dense.report.sources import model_key
from casvit_dense.results.row import Evaluation, Speed, row_id
from casvit_dense.results.targets import Target, Targets
from casvit_dense.results.verify import COMPARED, Finding
from casvit_dense.zoo import MAIN_METRICS, METRICS

MEASURED, PUBLISHED = "measured here", "published"


@dataclass(frozen=True)
class Axis:
    """A quantity that an axis can show.

    Attributes:
        key: of the values in the points.
        group: the first choice, e.g. ``'Latency'``.
        label: the second: under which condition.
        unit: of the values.
    """

    key: str
    group: str
    label: str
    unit: str


@dataclass(frozen=True)
class Point:
    """A model with its accuracies and costs, by the keys of axes.

    Attributes:
        name: as published, or a config's stem.
        config: a config's stem, if there is one.
        ours: a CAS-ViT.
        measured: the accuracy was measured here.
        source: where it was published.
        quality: accuracy.
        cost: value and where it is from.
    """

    name: str
    config: str | None
    ours: bool
    measured: bool
    source: str
    quality: dict[str, float]
    cost: dict[str, tuple[float, str]] = field(default_factory=dict)


Costs = dict[str, tuple[float, str]]


def scatter(
    findings: Sequence[Finding],
    rows: Sequence[Evaluation],
    speeds: Sequence[Speed],
    targets: Targets,
) -> dict[str, Any]:
    """The plot's data: ``quality`` and ``cost`` axes that some point has, and the points.

    Args:
        findings: published figures beside ours.
        rows: all evaluations.
        speeds: all measured speeds and counts.
        targets: all published figures.
    """
    axes: dict[str, Axis] = {}
    costs = _CostsOf(speeds, targets, axes)
    points = [
        *_published(targets, costs, axes),
        *_compared(findings, costs),
        *_others(findings, rows, costs, axes),
    ]
    points = [point for point in points if point.cost]
    seen_costs = {key for point in points for key in point.cost}
    seen = {key for point in points for key in point.quality}
    return {
        "quality": [asdict(axis) for key, axis in axes.items() if key in seen],
        "cost": [asdict(axis) for key, axis in axes.items() if key in seen_costs],
        "points": [asdict(point) for point in points],
    }


def _published(targets: Targets, costs: "_CostsOf", axes: dict[str, Axis]) -> Iterator[Point]:
    for target in targets.dense:
        quality = {}
        for metric in MAIN_METRICS:
            if metric in target.metrics:
                axis = Axis(
                    f"{target.head}/{metric}",
                    target.family.title,
                    METRICS[metric].title,
                    "percent",
                )
                axes.setdefault(axis.key, axis)
                quality[axis.key] = target.metrics[metric]
        yield Point(
            target.backbone,
            target.config,
            _is_casvit(target.backbone),
            False,
            target.source,
            quality,
            costs.of_target(target),
        )


def _compared(findings: Sequence[Finding], costs: "_CostsOf") -> Iterator[Point]:
    found: dict[str, Point] = {}
    for finding in findings:
        if finding.verdict not in COMPARED or finding.ours is None:
            continue
        target = finding.target
        point = found.setdefault(
            target.config or target.backbone,
            Point(
                target.backbone,
                target.config,
                _is_casvit(target.backbone),
                True,
                MEASURED,
                {},
                costs.of_target(target),
            ),
        )
        point.quality[f"{target.head}/{finding.metric}"] = round(finding.ours, 3)
    yield from found.values()


def _others(
    findings: Sequence[Finding],
    rows: Sequence[Evaluation],
    costs: "_CostsOf",
    axes: dict[str, Axis],
) -> Iterator[Point]:
    """Rows without a published figure; those on the same data share their axes."""
    used = {row_id(row) for f in findings if f.verdict in COMPARED for row in f.rows}
    newest = {model_key(row): row for row in rows if row_id(row) not in used}
    for row in newest.values():
        data = row.dataset
        place = f"{data.name}, {data.images} images, {data.classes} classes"
        quality = {}
        for metric in MAIN_METRICS:
            if metric in (values := percents(row)):
                key = f"{data.annotations_sha256}/{data.images}/{metric}"
                axes.setdefault(key, Axis(key, place, METRICS[metric].title, "percent"))
                quality[key] = round(values[metric], 3)
        yield Point(
            row.config,
            row.config,
            "casvit" in row.config,
            True,
            MEASURED,
            quality,
            costs.of_config(row.config),
        )


def _is_casvit(backbone: str) -> bool:
    return backbone.lower().replace("-", "").startswith("casvit")


def backbone_of(config: str) -> str:
    """The backbone in a config's stem: between method and neck or schedule."""
    parts = config.split("_")
    return parts[1] if len(parts) > 1 else config


class _CostsOf:
    """Finds the costs of a model; adds their axes to the given ones."""

    def __init__(self, speeds: Sequence[Speed], targets: Targets, axes: dict[str, Axis]) -> None:
        self.axes = axes
        self.measured: dict[tuple[str, str], Costs] = {}
        for row in sorted(speeds, key=lambda row: row.date):  # the newest row counts
            for part, axis, value in _costs_of_row(row):
                axes.setdefault(axis.key, axis)
                self.measured.setdefault((part, row.model), {})[axis.key] = (value, MEASURED)
        self.classifiers = {c.backbone: c.params_m for c in targets.classifiers}

    def of_config(self, config: str) -> Costs:
        """Of the whole model and of its backbone alone."""
        backbone = self.measured.get(("backbone", backbone_of(config)), {})
        return {**backbone, **self.measured.get(("model", config), {})}

    def of_target(self, target: Target) -> Costs:
        """Measured if we have the model, otherwise what was published."""
        quoted = {
            _size_of("model"): target.params_m,
            _work_of("model", "512x512"): target.gflops_512,
            CLASSIFIER: target.backbone_params_m or self.classifiers.get(target.backbone),
        }
        costs: Costs = {}
        for axis, value in quoted.items():
            if value is not None:
                self.axes.setdefault(axis.key, axis)
                costs[axis.key] = (value, PUBLISHED)
        return {**costs, **(self.of_config(target.config) if target.config else {})}


CLASSIFIER = Axis(
    "params/published", "Parameters", "backbone as published, mostly with classifier", "M"
)

NAMES = {"model": "whole model", "backbone": "backbone"}


def _size_of(part: str) -> Axis:
    return Axis(f"params/{part}", "Parameters", NAMES.get(part, part), "M")


def _work_of(part: str, size: str) -> Axis:
    return Axis(f"gmacs/{part}/{size}", "Multiply-adds", f"{NAMES.get(part, part)}, {size}", "GMAC")


def _costs_of_row(row: Speed) -> Iterator[tuple[str, Axis, float]]:
    """Part, axis and value of every cost in a row."""
    yield from _known((row.part, _size_of(row.part), row.params_m))
    yield from _known((row.part, _work_of(row.part, row.size), row.gmacs))
    if row.part == "model":
        yield from _known(
            ("model", _size_of("backbone"), row.backbone_params_m),
            ("model", _work_of("backbone", row.size), row.backbone_gmacs),
        )
    if row.error or row.mode == "count":
        return
    part, mode = NAMES.get(row.part, row.part), " of training" if row.mode == "train" else ""
    how = f"{row.backend}, {row.form}, {row.precision}"
    where = f"{row.device}, {row.threads} thread{'s' * (row.threads > 1)}"
    label = f"{part}, {how}, {row.size}, batch {row.batch}, {where}"
    key = f"{row.mode}/{label}"
    yield from _known(
        (row.part, Axis(f"ms/{key}", f"Time{mode}", label, "ms"), row.median_ms),
        (row.part, Axis(f"mb/{key}", f"Peak memory{mode}", label, "MB"), row.peak_mb),
    )


def _known(
    *found: tuple[str, Axis, float | None],
) -> Iterable[tuple[str, Axis, float]]:
    return [(part, axis, value) for part, axis, value in found if value is not None]
