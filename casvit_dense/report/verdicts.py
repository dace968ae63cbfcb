"""Tables of results: beside what was published, and those that nothing was published of."""

from collections.abc import Sequence

from casvit_dense.report.grid import Cell, Column, Grid, number
from casvit_dense.results.row import Evaluation
from casvit_dense.results.verify import Finding, Verdict, percent
from casvit_dense.zoo import METRICS

#: What a reader looks for first.
ORDER = (Verdict.BELOW, Verdict.ABOVE, Verdict.WITHIN, Verdict.NOT_COMPARABLE, Verdict.NOT_RUN)

ABOUT = (
    "A result is within if it differs from the published figure by no more than the band, by which "
    "runs of one recipe differ. It is not comparable if data, images, test pipeline or training "
    "are others; the table says which. ± is the standard deviation over seeds."
)

#: Rows at first, where fewer were run.
LEAST_SHOWN = 8

#: A sign beside the word, for those who do not see its colour.
SIGNS = {
    Verdict.WITHIN: "✓",
    Verdict.ABOVE: "▲",
    Verdict.BELOW: "▼",
    Verdict.NOT_COMPARABLE: "≠",
    Verdict.NOT_RUN: "○",
}

#: Those that the second table has room for.
SHORT = ("bbox_mAP", "bbox_mAP_50", "segm_mAP", "segm_mAP_50", "mIoU", "mAcc")


def percents(row: Evaluation) -> dict[str, float]:
    """Metrics of a row in percent, by the names that targets use; without those of no truth."""
    return {name: value for name in METRICS if (value := percent(row, name)) is not None}


def verdict_grid(findings: Sequence[Finding]) -> Grid:
    """Published, ours, and whether they agree."""
    columns = (
        Column("Model"),
        Column("Head", choose=True),
        Column("Metric", choose=True),
        Column("Published", number=True),
        Column("Ours", number=True),
        Column("Band", number=True),
        Column("Difference", number=True),
        Column("Verdict", choose=True),
        Column("Rows", number=True),
        Column("Source of the published figure"),
    )
    ordered = sorted(findings, key=lambda finding: ORDER.index(finding.verdict))
    run = sum(finding.verdict is not Verdict.NOT_RUN for finding in findings)
    return Grid(
        "verdicts",
        "Against published figures",
        "Published figures and ours, in percent",
        columns,
        [_finding_cells(finding) for finding in ordered],
        shown=max(run, LEAST_SHOWN),
        about=ABOUT,
    )


def _finding_cells(finding: Finding) -> list[Cell]:
    target, verdict = finding.target, finding.verdict
    ours = number(finding.ours, "{:.2f}")
    if finding.ours is not None and finding.spread is not None:
        ours = Cell(f"{finding.ours:.2f} ± {finding.spread:.2f}", finding.ours)
    return [
        Cell(target.backbone, note=target.config or ""),
        Cell(target.family.title),
        Cell(METRICS[finding.metric].title),
        number(finding.published),
        ours,
        number(target.tolerance, "± {:.1f}"),
        number(finding.difference, "{:+.2f}"),
        Cell(
            f"{SIGNS[verdict]} {verdict.value}",
            ORDER.index(verdict),
            "; ".join((*finding.reasons, *finding.notes)),
            verdict.name.lower().replace("_", "-"),
        ),
        Cell(str(len(finding.rows)), float(len(finding.rows))),
        Cell("", target.source, target.source),
    ]


def other_grid(rows: Sequence[Evaluation]) -> Grid:
    """Results of models that nothing was published of, the newest first."""
    names = [name for name in SHORT if any(name in percents(row) for row in rows)]
    columns = (
        Column("Model"),
        Column("Data set", choose=True),
        Column("Images", number=True),
        *(Column(METRICS[name].title, number=True) for name in names),
        Column("Form", choose=True),
        Column("Date"),
    )
    cells = [
        [
            Cell(row.config, note=row.weights.file),
            Cell(row.dataset.name, note=f"{row.dataset.classes} classes"),
            Cell(str(row.dataset.images), float(row.dataset.images)),
            *(number(percents(row).get(name), "{:.2f}") for name in names),
            Cell(", ".join((row.form, row.backend, row.precision))),
            Cell(f"{row.date:%Y-%m-%d}", row.date.isoformat()),
        ]
        for row in sorted(rows, key=lambda row: row.date, reverse=True)
    ]
    return Grid(
        "others",
        "Without published figures",
        "Results in percent",
        columns,
        cells,
        about="Nothing was published of these models on these data.",
    )
