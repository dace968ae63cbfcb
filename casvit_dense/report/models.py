"""The section of the page on one model: its analysis and its images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from casvit_dense.analysis import Analysis, analyse, find_sources
from casvit_dense.errors import UserError
from casvit_dense.report.gallery import make_gallery
from casvit_dense.report.pictures import Pictures
from casvit_dense.report.sources import Evaluated
from casvit_dense.report.widgets import Widget, analysis_widgets, class_widgets
from casvit_dense.results.boards import percents, title_of
from casvit_dense.results.labels import unique_labels
from casvit_dense.results.row import Evaluation
from casvit_dense.results.tables import conditions
from casvit_dense.zoo import MAIN_METRICS, METRICS

NO_PREDICTIONS = (
    "No predictions belong to this evaluation: they were not kept, or a later one took their place."
)

OTHER_FOLDER = "; run the report in the folder in which `casvit-dense test` ran"


@dataclass(frozen=True)
class Model:
    """What the page shows of one evaluation.

    Attributes:
        title: the config's stem, and what distinguishes it from others of that config.
        headline: main metrics.
        subtitle: weights, data, conditions.
        notes: what is missing and why.
        data: ``analysis`` and ``gallery`` for the scripts.
    """

    title: str
    headline: str
    subtitle: str
    notes: list[str]
    data: dict[str, Any]


def titles_of(evaluations: Sequence[Evaluated]) -> list[str]:
    """The configs' stems, with what differs among evaluations of one config."""
    rows = [evaluated.row for evaluated in evaluations]
    traits = [
        [row.form for row in rows],
        [row.backend for row in rows],
        [row.precision for row in rows],
        [row.weights.file for row in rows],
        [_seed("training seed", row.training.seed if row.training else None) for row in rows],
        [_seed("seed", row.seed) for row in rows],
    ]
    last = [
        [row.folder or "" for row in rows],
        [str(evaluated.folder or "") for evaluated in evaluations],
        [f"weights {row.weights.sha256[:12]}" for row in rows],
        [f"{row.date:%Y-%m-%d %H:%M:%S}" for row in rows],
    ]
    return unique_labels([row.config for row in rows], traits, last)


def _seed(name: str, seed: int | None) -> str:
    return "" if seed is None else f"{name} {seed}"


def model_of(
    evaluated: Evaluated, images: int, pictures: Pictures, title: str | None = None
) -> Model:
    """Analyses an evaluation; a note tells what cannot be read any more.

    The images of its gallery are added to ``pictures``; the title is by default the config's stem.
    """
    row = evaluated.row
    notes: list[str] = []
    widgets: list[Widget] = []
    gallery: dict[str, Any] | None = None
    if evaluated.folder is None:
        notes.append(evaluated.refused or NO_PREDICTIONS)
    else:
        try:
            analysis = analyse(evaluated.folder, moved=OTHER_FOLDER)
            widgets, notes = analysis_widgets(analysis), list(analysis.notes)
            gallery = _gallery(evaluated.folder, analysis, images, pictures)
        except UserError as error:
            notes.append(str(error))
    if row.training is not None:
        notes += row.training.remarks
    return Model(
        title=title or row.config,
        headline=headline(row),
        subtitle=_subtitle(row),
        notes=notes,
        data={"analysis": widgets or class_widgets(row.per_class), "gallery": gallery},
    )


def _gallery(
    folder: Path, analysis: Analysis, images: int, pictures: Pictures
) -> dict[str, Any] | None:
    sources = find_sources(folder, moved=OTHER_FOLDER)
    try:
        gallery = make_gallery(sources, analysis, images, pictures)
    except ValueError as error:  # a mask that pycocotools cannot decode, although its area is fine
        raise UserError(f"{folder}: the pictures cannot be drawn ({error})") from error
    return asdict(gallery) if gallery else None


def headline(row: Evaluation) -> str:
    """The main metrics in percent."""
    values = percents(row)
    return " · ".join(f"{METRICS[m].title} {values[m]:.1f}" for m in MAIN_METRICS if m in values)


def _subtitle(row: Evaluation) -> str:
    data = row.dataset
    parts = [
        f"{row.weights.file} (SHA-256 {row.weights.sha256[:12]}…)",
        f"{title_of(data)}, {data.images:,} images, {data.classes} classes",
        f"{conditions(row)} on {row.device}",
        f"{row.date:%Y-%m-%d %H:%M %Z}",
    ]
    return " · ".join(parts)
