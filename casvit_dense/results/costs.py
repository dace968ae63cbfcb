"""What models cost, by the quantity and the condition under which it was counted or measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from casvit_dense.backbones.names import stem_with
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import NetworkCosts
from casvit_dense.results.targets import Target
from casvit_dense.zoo import Family, backbone_of, family_of

MEASURED, PUBLISHED = "measured here", "published"


@dataclass(frozen=True)
class Axis:
    """A quantity that models are compared by; axes of one key are equal.

    Attributes:
        key: tells it from others.
        group: what it is, e.g. ``'Time'``.
        label: of what, and under which condition.
        unit: of the values.
    """

    key: str
    group: str = field(compare=False)
    label: str = field(compare=False)
    unit: str = field(compare=False)


#: Value and where it is from: `MEASURED` or `PUBLISHED`.
Costs = dict[Axis, tuple[float, str]]

#: Values by axis, and by part and name of the model.
Measured = dict[Axis, dict[tuple[str, str], float]]

NAMES = {"model": "whole model", "backbone": "backbone"}


def size_of(part: str) -> Axis:
    """Parameters."""
    return Axis(f"params/{part}", "Parameters", NAMES.get(part, part), "M")


def work_of(part: str, size: str) -> Axis:
    """Multiply-adds of an image of a size, ``HxW``."""
    return Axis(f"gmacs/{part}/{size}", "Multiply-adds", f"{NAMES.get(part, part)}, {size}", "GMAC")


#: Parameters of a backbone as papers give them.
CLASSIFIER = Axis(
    "params/published", "Parameters", "backbone as published, mostly with classifier", "M"
)


def published_costs(target: Target, classifier_m: float | None = None) -> Costs:
    """What was published of a model's costs; ``classifier_m``: of its backbone's classifier."""
    quoted = {
        size_of("model"): target.params_m,
        work_of("model", "512x512"): target.gflops_512,
        CLASSIFIER: target.backbone_params_m or classifier_m,
    }
    return {axis: (value, PUBLISHED) for axis, value in quoted.items() if value is not None}


def counted_costs(costs: NetworkCosts | None) -> Costs:
    """What an evaluation counted of its own network."""
    if costs is None:
        return {}
    found = {size_of("model"): costs.params_m, size_of("backbone"): costs.backbone_params_m}
    if costs.size is not None:
        found[work_of("model", costs.size)] = costs.gmacs
        found[work_of("backbone", costs.size)] = costs.backbone_gmacs
    return {axis: (value, MEASURED) for axis, value in found.items() if value is not None}


def measured_costs(speeds: Sequence[Speed]) -> Measured:
    """Every cost in the rows; of several of one model and axis, the newest."""
    found: Measured = {}
    for row in sorted(speeds, key=lambda row: row.date):
        for part, axis, value in _costs_of_row(row):
            if value is not None:
                found.setdefault(axis, {})[part, row.model] = value
    return found


def costs_of_config(config: str, measured: Measured) -> Costs:
    """Of the whole model, and of its backbone where the model's rows lack it."""
    return _first_of(
        (("model", config), ("backbone", config), ("backbone", backbone_of(config))), measured
    )


def costs_of_named(backbone: str, config: str, measured: Measured) -> Costs:
    """Of a backbone that was asked for by name; of the whole model where its stem has that name."""
    whole = (("model", config),) if stem_with(config, backbone) == config else ()
    return _first_of((*whole, ("backbone", backbone)), measured)


def _first_of(keys: Sequence[tuple[str, str]], measured: Measured) -> Costs:
    return {
        axis: (next(values[key] for key in keys if key in values), MEASURED)
        for axis, values in measured.items()
        if any(key in values for key in keys)
    }


def _costs_of_row(row: Speed) -> Iterator[tuple[str, Axis, float | None]]:
    """Part, axis and value of every cost in a row."""
    yield row.part, size_of(row.part), row.params_m
    yield row.part, work_of(row.part, row.size), row.gmacs
    if row.part == "model":
        yield "model", size_of("backbone"), row.backbone_params_m
        yield "model", work_of("backbone", row.size), row.backbone_gmacs
    if row.error or row.mode == "count":
        return
    part, mode = NAMES.get(row.part, row.part), " of training" if row.mode == "train" else ""
    how = f"{row.backend}, {row.form}, {row.precision}"
    where = f"{row.device}, {row.threads} thread{'s' * (row.threads > 1)}"
    label = f"{part}, {how}, {row.size}, batch {row.batch}, {where}"
    key = f"{row.mode}/{label}"
    yield row.part, Axis(f"ms/{key}", f"Time{mode}", label, "ms"), row.median_ms
    yield row.part, Axis(f"mb/{key}", f"Peak memory{mode}", label, "MB"), row.peak_mb


@dataclass(frozen=True)
class ModelSize:
    """A complete model, counted here.

    Attributes:
        params_m: parameters in millions, frozen ones included.
        gmacs: multiply-adds in 1e9.
        backbone_params_m: of the backbone without a classifier.
        input: ``HxW`` in pixels, and what a second stage has to do.
    """

    params_m: float
    gmacs: float
    backbone_params_m: float
    input: str


Sizes = Mapping[str, ModelSize]  # by config stem


def newest_counts(rows: Iterable[object]) -> list[tuple[Family, Speed]]:
    """The newest count of every model at the input that papers count its head at."""
    speeds = [row for row in rows if isinstance(row, Speed)]
    found = {}
    counted = [r for r in speeds if (r.mode, r.part, r.error) == ("count", "model", None)]
    for row in sorted(counted, key=lambda row: row.date):
        family = family_of(row.model)
        if family is not None and row.size == "{}x{}".format(*family.counting_size):
            found[row.model] = family, row
    return list(found.values())


def model_sizes(rows: Iterable[object]) -> dict[str, ModelSize]:
    """What `newest_counts` counted, by config stem."""
    found = {}
    for _, row in newest_counts(rows):
        params, gmacs, backbone = row.params_m, row.gmacs, row.backbone_params_m
        if params is not None and gmacs is not None and backbone is not None:
            work = f" with {row.rois}" if row.rois else ""
            found[row.model] = ModelSize(params, gmacs, backbone, row.size + work)
    return found
