"""Accuracy against cost: points and axes of the scatter plot."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from casvit_dense.report.page_tables import percents
from casvit_dense.report.sources import model_key
from casvit_dense.results.lines import row_id
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Evaluation
from casvit_dense.results.targets import Target, Targets
from casvit_dense.results.verify import COMPARED, Finding
from casvit_dense.zoo import MAIN_METRICS, METRICS, backbone_of, is_casvit

MEASURED, PUBLISHED = "measured here", "published"


@dataclass(frozen=True)
class Axis:
    """A quantity that an axis can show; axes of one key are equal.

    Attributes:
        key: of the values in the points.
        group: the first choice, e.g. ``'Latency'``.
        label: the second: under which condition.
        unit: of the values.
    """

    key: str
    group: str = field(compare=False)
    label: str = field(compare=False)
    unit: str = field(compare=False)


#: Value and where it is from.
Costs = dict[Axis, tuple[float, str]]

#: Values by axis, and by part and name of the model.
Measured = dict[Axis, dict[tuple[str, str], float]]


@dataclass(frozen=True)
class Point:
    """A model with its accuracies and costs.

    Attributes:
        name: as published, or a config's stem.
        config: a config's stem, if there is one.
        ours: a CAS-ViT.
        measured: the accuracy was measured here.
        source: where it was published.
        quality: accuracy.
        cost: see `Costs`.
    """

    name: str
    config: str | None
    ours: bool
    measured: bool
    source: str
    quality: dict[Axis, float]
    cost: Costs


def scatter(
    findings: Sequence[Finding],
    rows: Sequence[Evaluation],
    speeds: Sequence[Speed],
    targets: Targets,
) -> dict[str, Any]:
    """The plot's data: ``quality`` and ``cost`` axes that some point has, and the points.

    Published figures beside ours come from ``findings``, all others of ours from ``rows``.
    """
    measured = _measured_costs(speeds)
    classifiers = {c.backbone: c.params_m for c in targets.classifiers}

    def costs_of(target: Target) -> Costs:
        """Measured if we have the model, otherwise what was published."""
        quoted = {
            _size_of("model"): target.params_m,
            _work_of("model", "512x512"): target.gflops_512,
            CLASSIFIER: target.backbone_params_m or classifiers.get(target.backbone),
        }
        costs = {axis: (value, PUBLISHED) for axis, value in quoted.items() if value is not None}
        return costs | (_costs_of_config(target.config, measured) if target.config else {})

    points = [
        *(_published(target, costs_of(target)) for target in targets.dense),
        *_compared(findings, costs_of),
        *_others(findings, rows, measured),
    ]
    points = [point for point in points if point.cost]
    quality = dict.fromkeys(axis for point in points for axis in point.quality)
    used = {axis for point in points for axis in point.cost}
    published = [axis for point in points for axis in point.cost]
    cost = dict.fromkeys(axis for axis in [*measured, *published] if axis in used)
    return {
        "quality": [asdict(axis) for axis in quality],
        "cost": [asdict(axis) for axis in cost],
        "points": [
            vars(point)
            | {"quality": {axis.key: value for axis, value in point.quality.items()}}
            | {"cost": {axis.key: value for axis, value in point.cost.items()}}
            for point in points
        ],
    }


def _quality_axis(target: Target, metric: str) -> Axis:
    title = METRICS[metric].title
    return Axis(f"{target.head}/{metric}", target.family.title, title, "percent")


def _published(target: Target, cost: Costs) -> Point:
    return Point(
        name=target.backbone,
        config=target.config,
        ours=is_casvit(target.backbone),
        measured=False,
        source=target.source,
        quality={
            _quality_axis(target, metric): target.metrics[metric]
            for metric in MAIN_METRICS
            if metric in target.metrics
        },
        cost=cost,
    )


def _compared(findings: Sequence[Finding], costs_of: Callable[[Target], Costs]) -> Iterable[Point]:
    """One point per model that was compared with a published figure."""
    found: dict[str, Point] = {}
    for finding in findings:
        if finding.verdict not in COMPARED or finding.ours is None:
            continue
        if finding.metric not in MAIN_METRICS:
            continue
        target = finding.target
        point = found.setdefault(
            target.config or target.backbone,
            replace(
                _published(target, costs_of(target)), measured=True, source=MEASURED, quality={}
            ),
        )
        point.quality[_quality_axis(target, finding.metric)] = round(finding.ours, 3)
    return found.values()


def _others(
    findings: Sequence[Finding], rows: Sequence[Evaluation], measured: Measured
) -> Iterator[Point]:
    """Rows without a published figure; those on the same data share their axes."""
    used = {row_id(row) for f in findings if f.verdict in COMPARED for row in f.rows}
    newest = {model_key(row): row for row in rows if row_id(row) not in used}
    for row in newest.values():
        data, values = row.dataset, percents(row)
        place = f"{data.name}, {data.images} images, {data.classes} classes"
        key = f"{data.annotations_sha256}/{data.images}"
        yield Point(
            name=row.config,
            config=row.config,
            ours="casvit" in row.config,
            measured=True,
            source=MEASURED,
            quality={
                Axis(f"{key}/{m}", place, METRICS[m].title, "percent"): round(values[m], 3)
                for m in MAIN_METRICS
                if m in values
            },
            cost=_costs_of_config(row.config, measured),
        )


def _measured_costs(speeds: Sequence[Speed]) -> Measured:
    """Every cost in the rows; of several of one model and axis, the newest."""
    found: Measured = {}
    for row in sorted(speeds, key=lambda row: row.date):
        for part, axis, value in _costs_of_row(row):
            if value is not None:
                found.setdefault(axis, {})[part, row.model] = value
    return found


def _costs_of_config(config: str, measured: Measured) -> Costs:
    """Of the whole model, and of its backbone where the model's rows lack it."""
    keys = (("model", config), ("backbone", backbone_of(config)))
    return {
        axis: (next(values[key] for key in keys if key in values), MEASURED)
        for axis, values in measured.items()
        if any(key in values for key in keys)
    }


CLASSIFIER = Axis(
    "params/published", "Parameters", "backbone as published, mostly with classifier", "M"
)

NAMES = {"model": "whole model", "backbone": "backbone"}


def _size_of(part: str) -> Axis:
    return Axis(f"params/{part}", "Parameters", NAMES.get(part, part), "M")


def _work_of(part: str, size: str) -> Axis:
    return Axis(f"gmacs/{part}/{size}", "Multiply-adds", f"{NAMES.get(part, part)}, {size}", "GMAC")


def _costs_of_row(row: Speed) -> Iterator[tuple[str, Axis, float | None]]:
    """Part, axis and value of every cost in a row."""
    yield row.part, _size_of(row.part), row.params_m
    yield row.part, _work_of(row.part, row.size), row.gmacs
    if row.part == "model":
        yield "model", _size_of("backbone"), row.backbone_params_m
        yield "model", _work_of("backbone", row.size), row.backbone_gmacs
    if row.error or row.mode == "count":
        return
    part, mode = NAMES.get(row.part, row.part), " of training" if row.mode == "train" else ""
    how = f"{row.backend}, {row.form}, {row.precision}"
    where = f"{row.device}, {row.threads} thread{'s' * (row.threads > 1)}"
    label = f"{part}, {how}, {row.size}, batch {row.batch}, {where}"
    key = f"{row.mode}/{label}"
    yield row.part, Axis(f"ms/{key}", f"Time{mode}", label, "ms"), row.median_ms
    yield row.part, Axis(f"mb/{key}", f"Peak memory{mode}", label, "MB"), row.peak_mb
