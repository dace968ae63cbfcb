"""Findings of `verify` as text for people, as JSON for programs, and as an exit code for CI."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from casvit_dense.errors import UserError
from casvit_dense.results.row import row_id
from casvit_dense.results.verify import Finding, Verdict, counts

HEAD = ("config", "metric", "published", "ours", "difference", "band", "verdict")
FAILURES = (Verdict.BELOW, Verdict.NOT_COMPARABLE)


def only(findings: Sequence[Finding], patterns: Sequence[str]) -> list[Finding]:
    """Findings of some configs.

    Args:
        findings: all of them.
        patterns: stems of configs, ``*`` stands for anything; none: all.

    Raises:
        UserError: a pattern stands for no config with published figures.
    """
    stems = {str(finding.target.config) for finding in findings}
    for pattern in patterns:
        if not any(fnmatchcase(stem, pattern) for stem in stems):
            raise UserError(f"--only {pattern}: no config of that name has published figures")
    return [
        finding
        for finding in findings
        if not patterns or any(fnmatchcase(str(finding.target.config), p) for p in patterns)
    ]


def exit_code(findings: Sequence[Finding], require_all: bool = False) -> int:
    """0: every figure that was run is within tolerance or above; 1: some is not.

    Args:
        findings: what counts.
        require_all: a figure that was not run counts as a failure.
    """
    failures = (*FAILURES, Verdict.NOT_RUN) if require_all else FAILURES
    return int(any(finding.verdict in failures for finding in findings))


def text_of(findings: Sequence[Finding]) -> str:
    """A table, reasons and notes below the lines that they are about, and a summary."""
    lines = [HEAD, *map(_cells, findings)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    text = []
    for line, about in zip(lines, [(), *map(_remarks, findings)], strict=True):
        cells = zip(line, widths, HEAD, strict=True)
        text.append(
            "  ".join(
                cell.ljust(width) if name in ("config", "metric", "verdict") else cell.rjust(width)
                for cell, width, name in cells
            ).rstrip()
        )
        text += [f"    {remark}" for remark in about]
    summary = ", ".join(f"{count} {verdict.value}" for verdict, count in counts(findings).items())
    return "\n".join([*text, summary])


def _cells(finding: Finding) -> tuple[str, ...]:
    ours, difference = "-", "-"
    if finding.ours is not None and finding.difference is not None:
        spread = "" if finding.spread is None else f" ± {finding.spread:.2f}"
        seeds = f" ({len(finding.rows)} seeds)" if len(finding.rows) > 1 else ""
        ours, difference = f"{finding.ours:.2f}{spread}{seeds}", f"{finding.difference:+.2f}"
    return (
        str(finding.target.config),
        finding.metric,
        f"{finding.published:.1f}",
        ours,
        difference,
        f"± {finding.target.tolerance:g}",
        finding.verdict.value,
    )


def _remarks(finding: Finding) -> tuple[str, ...]:
    return (*finding.reasons, *(f"note: {note}" for note in finding.notes))


def json_of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
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
