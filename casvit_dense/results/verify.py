"""Published figures against rows of the ledger: within tolerance, above, below, or why neither."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import mean, stdev

from casvit_dense.results.row import Evaluation, Row, Training
from casvit_dense.results.shipped import shipped
from casvit_dense.results.standards import STANDARDS
from casvit_dense.results.targets import HEADS, Target, Targets

#: What the tolerances are known for; figures at one size or one overlap vary more.
METRICS = ("bbox_mAP", "segm_mAP", "mIoU")

FULL_PRECISION = "fp32"


class Verdict(str, Enum):
    """What became of a published figure."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Finding:
    """One published figure and what came out here.

    Attributes:
        target: what was published.
        metric: which figure of it.
        published: percent.
        ours: percent, the mean over seeds; None unless it may be compared.
        spread: sample standard deviation over seeds, in points; None below two.
        difference: ``ours - published`` in points.
        verdict: see `Verdict`.
        reasons: why the newest row is not comparable.
        rows: those compared, one a seed; otherwise those that could not be, newest first.
        notes: what a reader should know of compared rows.
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
    """Compares rows with every published figure of a model that there is a config of.

    Args:
        rows: of one or several ledgers, in their order.
        targets: what was published.

    Returns:
        A finding for each of `METRICS` that a target has, in the targets' order.
    """
    evaluations = [row for row in reversed(rows) if isinstance(row, Evaluation)]
    # Of the same second, what was written last comes first: the sort keeps the order of equals.
    newest_first = sorted(evaluations, key=lambda row: row.date, reverse=True)
    candidates = with_training(newest_first)
    return [
        find(target, metric, [one for one in candidates if one.row.config == target.config])
        for target in targets.dense
        if target.config is not None
        for metric in METRICS
        if metric in target.metrics
    ]


@dataclass(frozen=True)
class Candidate:
    """A row, and what is known of the training of its weights."""

    row: Evaluation
    training: Training | None


def with_training(rows: Iterable[Evaluation]) -> list[Candidate]:
    """Adds what rows say of training; an exported file takes after its checkpoint's row."""
    rows = list(rows)
    known = {row.weights.sha256: row.training for row in rows if row.training is not None}
    return [
        Candidate(row, row.training or known.get(row.weights.source_sha256 or "")) for row in rows
    ]


def find(target: Target, metric: str, candidates: Sequence[Candidate]) -> Finding:
    """The finding for one figure.

    Args:
        target: what was published.
        metric: one of its metrics.
        candidates: all rows of its config, newest first.
    """
    published = target.metrics[metric]
    reasons = [obstacles(one.row, one.training, target, metric) for one in candidates]
    chosen = choose([one for one, why in zip(candidates, reasons, strict=True) if not why])
    if not chosen:
        verdict = Verdict.NOT_COMPARABLE if candidates else Verdict.NOT_RUN
        newest = tuple(reasons[0]) if candidates else ()
        rows = tuple(one.row for one in candidates)
        return Finding(target, metric, published, None, None, None, verdict, newest, rows)
    values = [value for one in chosen if (value := percent(one.row, metric)) is not None]
    ours = mean(values)
    difference = round(ours - published, 6)  # 36.2 is within 0.3 of 36.5, whatever binary says
    return Finding(
        target=target,
        metric=metric,
        published=published,
        ours=ours,
        spread=stdev(values) if len(values) > 1 else None,
        difference=difference,
        verdict=judged(difference, target.tolerance),
        reasons=(),
        rows=tuple(one.row for one in chosen),
        notes=tuple(dict.fromkeys(note for one in chosen for note in notes_on(one))),
    )


def judged(difference: float, tolerance: float) -> Verdict:
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
    fraction = row.metrics.get(f"coco/{metric}")
    return None if fraction is None or fraction < 0 else 100 * fraction


def choose(comparable: Sequence[Candidate]) -> list[Candidate]:
    """One row a training: the newest, of the plain network if it was evaluated so at all.

    Weights that say of which training they are go before those that do not, official files for
    one. Of the latter the newest alone counts: nothing says that several repeat one training.

    Args:
        comparable: newest first.
    """
    trainings: dict[int | str, list[Candidate]] = {}
    for one in comparable:
        if one.training is not None:
            seed, weights = one.training.seed, one.row.weights
            key = weights.source_sha256 or weights.sha256 if seed is None else seed
            trainings.setdefault(key, []).append(one)
    groups = [*trainings.values()] or [[*comparable]]
    return [min(group, key=lambda one: not is_plain(one.row)) for group in groups if group]


def is_plain(row: Evaluation) -> bool:
    """Whether torch ran the network as its config builds it."""
    return (row.form, row.backend) == ("reference", "eager")


def notes_on(candidate: Candidate) -> list[str]:
    """What does not forbid a comparison but should be known."""
    row, found = candidate.row, []
    if candidate.training is None:
        found.append("the weights do not say how they were trained")
    if row.software.dirty:
        found.append(f"the code differed from commit {row.software.commit}")
    if not is_plain(row):
        found.append(f"measured on the {row.form} form by {row.backend}")
    return found


def obstacles(row: Evaluation, training: Training | None, target: Target, metric: str) -> list[str]:
    """Why a row may not be held against a published figure; ``[]`` if it may.

    Args:
        row: of the target's config.
        training: what is known of the training of its weights.
        target: what was published.
        metric: one of its metrics.
    """
    standard = STANDARDS[HEADS[target.head]]
    found = [*standard.differences(row.dataset), *_config_differences(row, training)]
    if training is not None:
        found += [*standard.training_differences(training), *_unfinished(training)]
    if row.precision != FULL_PRECISION:
        found.append(f"precision: {row.precision}, not {FULL_PRECISION}")
    if percent(row, metric) is None:
        found.append(f"the row has no {metric}")
    return found


def _config_differences(row: Evaluation, training: Training | None) -> list[str]:
    ours = shipped(row.config)
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
