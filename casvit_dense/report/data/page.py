"""One HTML file that shows a data set: samples, classes, sizes, and what the check found."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from casvit_dense.data.description import DataDescription, SplitName
from casvit_dense.data.findings import Finding, Findings
from casvit_dense.data.palette import palette_of
from casvit_dense.errors import UserError, shortlist
from casvit_dense.files import short_path
from casvit_dense.progress import Progress
from casvit_dense.report.build import render
from casvit_dense.report.data.samples import Found, RawSamples, Samples, choose
from casvit_dense.report.data.truth import UNLABELLED, CocoTruth, Truth, truth_of
from casvit_dense.report.data.widgets import data_widgets
from casvit_dense.report.gallery import Gallery
from casvit_dense.report.grid import Cell, Column, Grid
from casvit_dense.report.pictures import Pictures

#: Samples of a page.
SAMPLES = 40

RAW = "Images as they are on disk, with their truth."
AUGMENTED = (
    "Images as the network gets them, from the pipeline {steps}. Every start draws the same; a "
    "training draws anew in each epoch."
)


def build_data_page(
    source: str,
    description: DataDescription,
    split: SplitName,
    findings: Findings,
    log: Callable[[str], None],
    samples: Samples | None = None,
    count: int = SAMPLES,
    notes: Sequence[str] = (),
) -> bytes:
    """Reads and renders.

    Args:
        source: what the user named: folder, file or config.
        description: of COCO files or index maps.
        findings: of the check.
        log: gets lines of progress.
        samples: images from a pipeline; by default the raw ones.
        count: of samples.
        notes: what a reader should know of them.

    Raises:
        UserError: there is no such split, its truth cannot be read, or jinja2 is not installed.
    """
    if split not in description.splits:
        raise UserError(
            f"{source}: has no split {split}; give --split {' or '.join(description.splits)}"
        )
    part = description.splits[split]
    truth = truth_of(description, part)
    classes = description.classes
    shown: Samples = samples or RawSamples(truth)
    found = found_in(truth, findings.all())
    pictures = Pictures()
    progress = Progress("sample", min(count, len(shown.names)), seconds=5)
    images = []
    for index in progress.track(choose(shown.names, found, count), log):
        image = shown.take(index, pictures)
        image.findings = found.get(image.name, [])
        if found:
            image.why = ["with findings" if image.findings else "by chance"]
        images.append(image)
    severities = [one.severity for one in findings.all()]
    objects = len(truth.label) if isinstance(truth, CocoTruth) else None
    return render(
        "data.html.j2",
        {
            "title": f"{Path(source).stem}, {split}",
            "source": source,
            "about": _about(source, description, split),
            "counts": [
                ("images", f"{len(truth.names):,}", ""),
                *([("objects", f"{objects:,}", "")] if objects is not None else []),
                ("classes", f"{len(classes):,}", ""),
                ("errors", severities.count("error"), "error" if "error" in severities else ""),
                ("warnings", severities.count("warning"), ""),
            ],
            "notes": notes or [RAW],
            "gallery": asdict(
                Gallery(
                    kind="objects" if objects is not None else "maps",
                    classes=classes,
                    palette=palette_of(None, len(classes)),
                    threshold=0,
                    images=images,
                    truth_only=True,
                )
            ),
            "analysis": list(data_widgets(truth, classes)),
            "findings": finding_grid(source, findings.all()),
            "oddities": findings.notes,
            "pictures": pictures.texts,
        },
    )


def _about(source: str, description: DataDescription, split: SplitName) -> str:
    part = description.splits[split]
    places = [f"images in {_below(part.images, source)}"]
    if part.annotations is not None:
        kind = "maps in" if description.task == "segmentation" else "annotations"
        places.append(f"{kind} {_below(part.annotations, source)}")
    classes = shortlist(description.classes, 12)
    more = f"Only the first {UNLABELLED} are drawn. " * (len(description.classes) > UNLABELLED)
    return f"{description.task.capitalize()}: {', '.join(places)}. Classes: {classes}. {more}"


def _below(path: Path, source: str) -> Path:
    """A path as short as it can be said."""
    root = Path(source).absolute()
    return path.relative_to(root) if path.is_relative_to(root) else short_path(path)


def found_in(truth: Truth, findings: Sequence[Finding]) -> Found:
    """The findings that name an image, by the image's name."""
    found: Found = {}
    wanted = [(one, name, i) for one in findings for name, i in _names_in(one)]
    if not wanted:
        return found
    known = {alias: name for i, name in enumerate(truth.names) for alias in truth.aliases(i)}
    known |= {name: name for name in truth.names}
    for one, name, i in wanted:
        if name in known:
            held = f": {one.examples[i]}" if i < len(one.examples) else ""
            line = (one.severity, f"{one.kind.code}{held}")
            lines = found.setdefault(known[name], [])
            if line not in lines:
                lines.append(line)
    return found


def _names_in(finding: Finding) -> Iterator[tuple[str, int]]:
    """Parts of a finding that may be names of images, with the number of its example.

    Checks write ``NAME``, ``annotation 7 (NAME)`` or, of equal images, ``NAME = NAME``.
    """
    for i, where in enumerate(finding.where):
        for name in (where, *where.split(" = "), *re.findall(r"\((.+)\)$", where)):
            yield name, i


def finding_grid(source: str, findings: Sequence[Finding]) -> Grid:
    """All findings as a table."""
    rows = [
        [
            Cell(one.severity, mark=one.severity),
            Cell(one.kind.code),
            Cell(f"{one.count:,}", one.count),
            Cell(one.kind.problem, note=one.kind.remedy),
            Cell(str(_below(Path(one.file), source)), note=", ".join(one.where)),
            Cell("; ".join(one.examples[:2])),
        ]
        for one in findings
    ]
    return Grid(
        name="found",
        title="Findings",
        caption="What the check found. Pictures are marked for the first records of each kind.",
        columns=[
            Column("Severity", choose=True),
            Column("Code"),
            Column("Count", number=True),
            Column("Problem and remedy"),
            Column("Where"),
            Column("Holds"),
        ],
        rows=rows,
    )
