"""Every model of a data set side by side, published or evaluated here, with what it costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from casvit_dense.results.costs import (
    Costs,
    costs_of_config,
    costs_of_named,
    counted_costs,
    measured_costs,
    published_costs,
)
from casvit_dense.results.labels import unique_labels
from casvit_dense.results.lines import row_id
from casvit_dense.results.measurements import Speed
from casvit_dense.results.row import Dataset, Evaluation
from casvit_dense.results.targets import Target, Targets
from casvit_dense.results.verify import COMPARED, Finding, dataset_differences, percent
from casvit_dense.zoo import (
    CLASSIFIERS,
    DATASETS,
    METRICS,
    DatasetSpec,
    backbone_of,
    family_of,
    is_casvit,
)


@dataclass(frozen=True)
class Entry:
    """A model on a data set.

    Attributes:
        name: of the backbone, with whatever tells the entry from others of its head.
        head: title of its family; empty: of none that we know.
        config: stem of its config, if there is one.
        metrics: percent, by the names in `zoo.METRICS`; means over seeds.
        cost: see `Costs`.
        spread: standard deviations over seeds, where there were several.
        target: what was published of it, where that is what the entry says.
        rows: what was evaluated here, newest first; none of a published entry.
    """

    name: str
    head: str
    config: str | None
    metrics: Mapping[str, float]
    cost: Costs
    spread: Mapping[str, float] = field(default_factory=dict)
    target: Target | None = None
    rows: tuple[Evaluation, ...] = ()

    @property
    def ours(self) -> bool:
        """A CAS-ViT."""
        return is_casvit(self.name)


@dataclass(frozen=True)
class Board:
    """All models of one data set.

    Attributes:
        key: tells the data set from others.
        title: what people call it.
        images, classes: of the data set.
        entries: see `Entry`; by head and size.
    """

    key: str
    title: str
    images: int
    classes: int
    entries: tuple[Entry, ...]

    @property
    def measured(self) -> bool:
        """Whether any model was evaluated here."""
        return any(entry.rows for entry in self.entries)

    @property
    def about(self) -> str:
        """Its extent."""
        return f"{self.images:,} images, {self.classes:,} classes"


def boards(
    rows: Sequence[Evaluation],
    findings: Sequence[Finding],
    speeds: Sequence[Speed],
    targets: Targets,
) -> list[Board]:
    """A board for each data set; those with rows first, the newest row's before the others.

    A data set that figures were published of has those, too, whoever published them.

    Args:
        rows: evaluations.
        findings: of the same rows; models that could be compared have the mean over their seeds.
        speeds: whose costs models of the same config get.
        targets: published figures.
    """
    measured = measured_costs(speeds)
    classifiers = {one.backbone: one.params_m for one in targets.classifiers}
    counted = {row.weights.sha256: row.costs for row in rows if row.costs}
    entries: dict[str, list[Entry]] = {}
    extents: dict[str, tuple[str, int, int]] = {}

    def costs_of(row: Evaluation) -> Costs:
        own = row.costs or counted.get(row.weights.source_sha256 or "")
        if row.backbone and not is_own(row):
            found = costs_of_named(row.backbone, row.config, measured)
        else:
            found = costs_of_config(row.config, measured)
        return found | counted_costs(own)

    for row, figures, spread, of in _models(rows, findings):
        key = key_of(row.dataset)
        extents[key] = (title_of(row.dataset), row.dataset.images, row.dataset.classes)
        target = targets.of_config(row.config)
        family = target.family if target else family_of(row.config)
        if family is None and "top1" in figures:
            family = CLASSIFIERS
        entries.setdefault(key, []).append(
            Entry(
                name_of(row, target),
                family.title if family else "",
                row.config,
                figures,
                costs_of(row),
                spread,
                rows=of,
            )
        )
    for target in targets.models:
        spec = target.dataset
        extents[spec.split] = (spec.split, spec.images, spec.classes)
        quoted = published_costs(target, classifiers.get(target.backbone))
        cost = quoted | (costs_of_config(target.config, measured) if target.config else {})
        entries.setdefault(spec.split, []).append(
            Entry(
                target.backbone,
                target.family.title,
                target.config,
                target.metrics,
                cost,
                target=target,
            )
        )
    return [Board(key, *extents[key], tuple(_told_apart(of))) for key, of in entries.items()]


def _models(
    rows: Sequence[Evaluation], findings: Sequence[Finding]
) -> list[tuple[Evaluation, dict[str, float], dict[str, float], tuple[Evaluation, ...]]]:
    """Newest row, figures, their spread and all rows of each model, the newest model first.

    Seeds of a recipe that could be compared are one model; of any other one the newest row counts.
    """
    compared: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict in COMPARED:
            compared.setdefault(finding.target.config or "", []).append(finding)
    found = []
    for several in compared.values():
        newest = several[0].rows[0]
        means = {f.metric: f.ours for f in several if f.ours is not None}
        spread = {f.metric: f.spread for f in several if f.spread is not None}
        figures = means if spread else percents(newest) | means
        found.append((newest, figures, spread, several[0].rows))
    used = {row_id(row) for several in compared.values() for f in several for row in f.rows}
    others = {model_key(row): row for row in rows if row_id(row) not in used}
    found += [(row, percents(row), {}, (row,)) for row in others.values()]
    return sorted(found, key=lambda one: one[0].date, reverse=True)


def _told_apart(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries by head and size; those of equal names say what they differ in."""
    entries = sorted(entries, key=_order)
    here = [entry for entry in entries if entry.rows]
    rows = [entry.rows[0] for entry in here]
    traits = zip(*map(_traits, rows), strict=True)
    names = [f"{entry.head}\n{entry.name}" for entry in here]
    last = [
        [row.weights.file for row in rows],
        [row.weights.sha256[:8] for row in rows],
        [f"{row.date:%Y-%m-%d %H:%M}" for row in rows],
    ]
    labels = dict(zip(map(id, here), unique_labels(names, list(traits), last), strict=True))
    for entry in entries:
        name = labels.get(id(entry), f"\n{entry.name}")
        yield replace(entry, name=name.partition("\n")[2])


def _traits(row: Evaluation) -> tuple[str, ...]:
    """What evaluations of one backbone under one head may differ in."""
    seed = row.training.seed if row.training else None
    return (
        row.config,
        row.form,
        row.backend,
        row.precision,
        "" if seed is None else f"training seed {seed}",
    )


def _order(entry: Entry) -> tuple[str, bool, float, str]:
    """Heads together; models of known size first, the smallest before the others."""
    sizes = {axis.key: value for axis, (value, _) in entry.cost.items()}
    model = sizes.get("params/model")
    return (
        entry.head,
        model is None,
        model or sizes.get("params/published") or 0.0,
        entry.name,
    )


def percents(row: Evaluation) -> dict[str, float]:
    """Metrics of a row in percent, by the names that targets use; without those of no truth."""
    return {name: value for name in METRICS if (value := percent(row, name)) is not None}


def model_key(row: Evaluation) -> tuple[str | None, ...]:
    """What two evaluations of the same model, data and form share."""
    how = (row.form, row.backend, row.precision)
    return (row.config, row.backbone, row.weights.sha256, row.dataset.annotations_sha256, *how)


def is_own(row: Evaluation) -> bool:
    """Whether the backbone is the config's, rather than one that was asked for by name."""
    return ":" not in (row.backbone or "")


def name_of(row: Evaluation, target: Target | None) -> str:
    """What tables call a backbone: as asked for, as published, or by its config's name."""
    if row.backbone and not is_own(row):
        return row.backbone
    if target is not None:
        return target.backbone
    return backbone_of(row.config) if family_of(row.config) else row.backbone or row.config


def spec_of(data: Dataset) -> DatasetSpec | None:
    """The public data set that data are of, if only by some of its images."""
    known = {(spec.type, spec.classes): spec for spec in DATASETS.values()}
    return known.get((data.name, data.classes))


def key_of(data: Dataset) -> str:
    """What tells a data set from others."""
    spec = spec_of(data)
    if spec and not dataset_differences(data, spec):
        return spec.split
    return f"{data.annotations_sha256}/{data.images}"


def title_of(data: Dataset) -> str:
    """What people call a data set."""
    spec = spec_of(data)
    if spec is None:
        return data.title or data.name
    whole = not dataset_differences(data, spec)
    return spec.split if whole else f"{spec.split}, {data.images:,} of {spec.images:,} images"
