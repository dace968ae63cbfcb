"""What came out of a plan: mean and spread over seeds, and the verdict where there is a target."""

from collections.abc import Sequence
from statistics import mean, stdev

from casvit_dense.reproduce.state import State
from casvit_dense.reproduce.words import columns
from casvit_dense.results.row import Evaluation
from casvit_dense.results.table import shown
from casvit_dense.results.targets import read_targets
from casvit_dense.results.verify import Finding, percent, verify
from casvit_dense.zoo import MAIN_METRICS

HEADING = ("model", "metric", "seeds", "mean", "spread", "published", "verdict")


def summary(states: Sequence[State]) -> list[str]:
    """One line a model and figure, in percent; spread is the sample standard deviation."""
    rows: dict[str, list[Evaluation]] = {}
    for state in states:
        if state.row is not None:
            rows.setdefault(state.run.model.stem, []).append(state.row)
    if not rows:
        return []
    found = verify([row for of_model in rows.values() for row in of_model], read_targets())
    findings = {(finding.target.config, finding.metric): finding for finding in found}
    table = [HEADING] + [
        line(stem, metric, of_model, findings.get((stem, metric)))
        for stem, of_model in rows.items()
        for metric in MAIN_METRICS
        if any(percent(row, metric) is not None for row in of_model)
    ]
    reasons = {
        f"{finding.target.config}: {reason}"
        for finding in found
        if finding.target.config in rows
        for reason in finding.reasons
    }
    return [*columns(table), *sorted(reasons)]


def line(
    stem: str, metric: str, rows: Sequence[Evaluation], finding: Finding | None
) -> tuple[str, ...]:
    """The cells of one figure."""
    values = [value for row in rows if (value := percent(row, metric)) is not None]
    return (
        *(stem, metric, str(len(values)), f"{mean(values):.2f}"),
        shown(stdev(values) if len(values) > 1 else None),
        shown(finding.published if finding else None, "{:.1f}"),
        finding.verdict.value if finding else "-",
    )
