"""Compares rows of the ledger with published figures.

Also the findings as text for people, as JSON for programs, and as an exit code for CI.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import mean, stdev
from typing import Any

from casvit_dense.results.hashes import zoo_config
from casvit_dense.results.lines import Row, row_id
from casvit_dense.results.row import FULL_PRECISION, Dataset, Evaluation, Training
from casvit_dense.results.table import NOTHING, Table, shown
from casvit_dense.results.targets import Target, Targets
from casvit_dense.zoo import COCO_PREFIX, MAIN_METRICS, DatasetSpec, match_stems


class Verdict(str, Enum):
    """The outcome of comparing a published figure with rows."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


#: Verdicts on results that could be compared.
COMPARED = (Verdict.WITHIN, Verdict.ABOVE, Verdict.BELOW)


@dataclass(frozen=True)
class Finding:
    """One published figure and our result.

    Attributes:
        target: what was published.
        metric: which figure of it.
        published: percent.
        ours: percent, the mean over seeds; None unless it may be compared.
        spread: sample standard deviation over seeds, in points; None below two.
        difference: ``ours - published`` in points.
        verdict: see `Verdict`.
        reasons: why the newest row is not comparable.
        rows: those compared, one per seed; otherwise those that could not be, newest first.
        notes: what a reader should know about the compared rows.
    """

    target: Target
    metric: str
    published: float
    ours: float | None
    spread: float | None
    difference: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    rows: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()


def verify(rows: Sequence[Row], targets: Targets) -> list[Finding]:
    """Compares rows with every published figure of a model that the project has a config of.

    Args:
        rows: of one or several ledgers, in their order.
        targets: what was published.

    Returns:
        A finding for each of `zoo.MAIN_METRICS` that a target has, in the targets' order.
    """
    evaluations = [row for row in reversed(rows) if isinstance(row, Evaluation)]
    # Of the same second, what was written last comes first: the sort keeps the order of equals.
    newest_first = sorted(evaluations, key=lambda row: row.date, reverse=True)
    candidates = with_training(newest_first)
    return [
        find(target, metric, [one for one in candidates if one.row.config == target.config])
        for target in targets.with_config
        for metric in MAIN_METRICS
        if metric in target.metrics
    ]


@dataclass(frozen=True)
class Candidate:
    """A row, and what is known about the training of its weights."""

    row: Evaluation
    training: Training | None


def with_training(rows: Iterable[Evaluation]) -> list[Candidate]:
    """Adds what is known about training; an exported file has the training of its checkpoint."""
    rows = list(rows)
    known = {row.weights.sha256: row.training for row in rows if row.training is not None}
    return [
        Candidate(row, row.training or known.get(row.weights.source_sha256 or "")) for row in rows
    ]


def find(target: Target, metric: str, candidates: Sequence[Candidate]) -> Finding:
    """The finding for one figure, from all rows of the target's config, newest first."""
    published = target.metrics[metric]
    reasons = [mismatch_reasons(one.row, one.training, target, metric) for one in candidates]
    chosen = choose([one for one, why in zip(candidates, reasons, strict=True) if not why])
    if not chosen:
        verdict = Verdict.NOT_COMPARABLE if candidates else Verdict.NOT_RUN
        newest = tuple(reasons[0]) if candidates else ()
        rows = tuple(one.row for one in candidates)
        return Finding(target, metric, published, None, None, None, verdict, newest, rows)
    values = [value for one in chosen if (value := percent(one.row, metric)) is not None]
    ours = mean(values)
    difference = round(ours - published, 6)  # 36.2 is within 0.3 of 36.5, despite binary rounding
    return Finding(
        target=target,
        metric=metric,
        published=published,
        ours=ours,
        spread=stdev(values) if len(values) > 1 else None,
        difference=difference,
        verdict=verdict_on(difference, target.tolerance),
        reasons=(),
        rows=tuple(one.row for one in chosen),
        notes=tuple(dict.fromkeys(note for one in chosen for note in notes_on(one))),
    )


def verdict_on(difference: float, tolerance: float) -> Verdict:
    """The verdict on a figure that may be compared."""
    if abs(difference) <= tolerance:
        return Verdict.WITHIN
    return Verdict.ABOVE if difference > 0 else Verdict.BELOW


def percent(row: Evaluation, metric: str) -> float | None:
    """A metric of a row in percent; None where it was not measured.

    COCO's are fractions, and -1 where there was nothing to find.
    """
    if metric in row.metrics:
        return row.metrics[metric]
    fraction = row.metrics.get(f"{COCO_PREFIX}{metric}")
    return None if fraction is None or fraction < 0 else 100 * fraction


def choose(comparable: Sequence[Candidate]) -> list[Candidate]:
    """One row per training: the newest, and if possible one of the unchanged network.

    Weights whose training is known take precedence over those, such as official files, whose
    training is not. Of the latter only the newest counts: nothing tells whether several of them are
    repetitions of one training. The candidates come newest first.
    """
    trainings: dict[int | str, list[Candidate]] = {}
    for one in comparable:
        if one.training is not None:
            seed, weights = one.training.seed, one.row.weights
            key = weights.source_sha256 or weights.sha256 if seed is None else seed
            trainings.setdefault(key, []).append(one)
    groups = [*trainings.values()] or [[*comparable]]
    return [min(group, key=lambda one: not is_unchanged(one.row)) for group in groups if group]


def is_unchanged(row: Evaluation) -> bool:
    """Whether torch ran the network as its config builds it."""
    return (row.form, row.backend) == ("reference", "eager")


def notes_on(candidate: Candidate) -> list[str]:
    """What does not prevent a comparison but should be known."""
    row, found = candidate.row, []
    if candidate.training is None:
        found.append("the weights do not say how they were trained")
    else:
        found += candidate.training.remarks
    if row.software.dirty:
        found.append(f"the code differed from commit {row.software.commit}")
    if not is_unchanged(row):
        found.append(f"measured on the {row.form} form by {row.backend}")
    return found


def mismatch_reasons(
    row: Evaluation, training: Training | None, target: Target, metric: str
) -> list[str]:
    """Why a row of the target's config may not be compared with this metric; ``[]`` if it may."""
    spec = target.dataset
    found = [*dataset_differences(row.dataset, spec), *_config_differences(row, training)]
    if training is not None:
        found += [*_training_data_differences(training, spec), *_unfinished(training)]
    if row.precision != FULL_PRECISION:
        found.append(f"precision: {row.precision}, not {FULL_PRECISION}")
    if percent(row, metric) is None:
        found.append(f"the row has no {metric}")
    return found


def dataset_differences(found: Dataset, spec: DatasetSpec) -> list[str]:
    differences = []
    if (found.name, found.classes) != (spec.type, spec.classes):
        differences.append(
            f"another data set: {found.name} with {found.classes} classes, not {spec.type} with "
            f"{spec.classes} ({spec.split})"
        )
    if found.images != spec.images:
        differences.append(f"image count: {found.images:,}, {spec.split} has {spec.images:,}")
    if spec.objects is not None and found.objects != spec.objects:
        count = "unknown" if found.objects is None else f"{found.objects:,}"
        differences.append(f"annotation count: {count}, {spec.split} has {spec.objects:,}")
    return differences


def _training_data_differences(training: Training, spec: DatasetSpec) -> list[str]:
    least, most = spec.training_images
    if training.images is None or least <= training.images <= most:
        return []
    return [f"training data: {training.images:,} images, not {least:,}"]


def _config_differences(row: Evaluation, training: Training | None) -> list[str]:
    ours = zoo_config(row.config)
    if ours is None:
        return [f"no config {row.config} comes with the project, so nothing says how it should be"]
    found = []
    if row.pipeline_sha256 != ours.hashes.pipeline:
        found.append("test pipeline: not the config's own")
    elif row.config_sha256 != ours.hashes.config:
        found.append("config: changed by --cfg-options or in its file")
    if training is not None and training.recipe_sha256 != ours.hashes.recipe:
        found.append("training recipe: not the config's own")
    batch = training.global_batch if training is not None else None
    if batch is not None and batch != ours.global_batch:
        found.append(f"training batch: {batch} images a step, not {ours.global_batch}")
    return found


def _unfinished(training: Training) -> list[str]:
    done, planned = training.iterations, training.planned_iterations
    if done is None or planned is None or done >= planned:
        return []
    return [f"training schedule: step {done:,} of {planned:,}"]


def counts(findings: Iterable[Finding]) -> Mapping[Verdict, int]:
    """How many findings there are of each verdict."""
    verdicts = [finding.verdict for finding in findings]
    return {verdict: verdicts.count(verdict) for verdict in Verdict}


COLUMNS = ("config", "metric", "published", "ours", "difference", "band", "verdict")
FAILURES = (Verdict.BELOW, Verdict.NOT_COMPARABLE)


def select(findings: Sequence[Finding], patterns: Sequence[str]) -> list[Finding]:
    """Findings of the configs whose stem matches a pattern, all without any; see `match_stems`."""
    stems = match_stems([str(finding.target.config) for finding in findings], patterns)
    return [finding for finding in findings if finding.target.config in stems]


def exit_code(findings: Sequence[Finding], require_all: bool = False) -> int:
    """0: every figure that was run is within tolerance or above; 1: some is not.

    With ``require_all``, a figure that was not run counts as a failure.
    """
    failures = (*FAILURES, Verdict.NOT_RUN) if require_all else FAILURES
    return int(any(finding.verdict in failures for finding in findings))


def as_text(findings: Sequence[Finding], all_lines: bool = True) -> str:
    """A table with the reasons and notes of each line below it, and a summary of all findings.

    Without ``all_lines`` the table leaves out figures that were not run.
    """
    listed = [f for f in findings if all_lines or f.verdict is not Verdict.NOT_RUN]
    table = Table(COLUMNS, [_cells(finding) for finding in listed], align="llrrrrl")
    heading, *lines = table.text()
    text = [heading] if listed else []
    for line, finding in zip(lines, listed, strict=True):
        notes = [f"note: {note}" for note in finding.notes]
        text += [line, *(f"    {remark}" for remark in (*finding.reasons, *notes))]
    summary = ", ".join(f"{count} {verdict.value}" for verdict, count in counts(findings).items())
    return "\n".join([*text, summary])


def _cells(finding: Finding) -> list[str]:
    seeds = finding.spread is not None
    return [
        str(finding.target.config),
        finding.metric,
        f"{finding.published:.1f}",
        ours(finding) + f" ({len(finding.rows)} seeds)" * seeds,
        shown(finding.difference, "{:+.2f}"),
        f"± {finding.target.tolerance:g}",
        finding.verdict.value,
    ]


def ours(finding: Finding) -> str:
    """The mean over seeds, with the spread where there were several."""
    spread = "" if finding.spread is None else f" ± {finding.spread:.2f}"
    return NOTHING if finding.ours is None else f"{finding.ours:.2f}{spread}"


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as plain values; ``rows`` are the ids of rows."""
    return [
        {
            "config": finding.target.config,
            "metric": finding.metric,
            "published": finding.published,
            "tolerance": finding.target.tolerance,
            "source": finding.target.source,
            "ours": finding.ours,
            "spread": finding.spread,
            "difference": finding.difference,
            "verdict": finding.verdict.value,
            "reasons": list(finding.reasons),
            "notes": list(finding.notes),
            "rows": [row_id(row) for row in finding.rows],
        }
        for finding in findings
    ]
