"""The part of the page on one model: its analysis and its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casvit_dense.analysis import analyse, find_sources
from casvit_dense.errors import UserError
from casvit_dense.report.gallery import make_gallery
from casvit_dense.report.pictures import Pictures
from casvit_dense.report.sources import Evaluated
from casvit_dense.report.verdicts import percent
from casvit_dense.report.widgets import Widget, analysis_widgets, class_widgets
from casvit_dense.results.names import METRIC_NAMES
from casvit_dense.results.row import Evaluation
from casvit_dense.results.verify import METRICS

GONE = (
    "No predictions belong to this evaluation: they were not kept, or a later one took their place."
)


@dataclass(frozen=True)
class Model:
    """What the page shows of one evaluation.

    Attributes:
        title: the config's stem.
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


def model_of(evaluated: Evaluated, images: int, pictures: Pictures) -> Model:
    """Analyses an evaluation; what cannot be read any more is said in a note.

    Args:
        evaluated: row and folder.
        images: pictures of the gallery.
        pictures: takes them.
    """
    row, notes = evaluated.row, []
    widgets: list[Widget] = []
    gallery = None
    if evaluated.folder is None:
        notes.append(GONE)
    else:
        try:
            widgets, gallery, notes = _analysed(evaluated.folder, images, pictures)
        except UserError as error:
            notes.append(str(error))
    return Model(
        title=row.config,
        headline=headline(row),
        subtitle=_subtitle(row),
        notes=notes,
        data={"analysis": widgets or class_widgets(row.per_class), "gallery": gallery},
    )


def _analysed(
    folder: Path, images: int, pictures: Pictures
) -> tuple[list[Widget], dict[str, Any] | None, list[str]]:
    analysis = analyse(folder)
    gallery = make_gallery(find_sources(folder), analysis, images, pictures)
    return analysis_widgets(analysis), gallery.plain() if gallery else None, list(analysis.notes)


def headline(row: Evaluation) -> str:
    """The metrics that a model is known by, in percent."""
    values = percent(row)
    return " · ".join(f"{METRIC_NAMES[m]} {values[m]:.1f}" for m in METRICS if m in values)


def _subtitle(row: Evaluation) -> str:
    data = row.dataset
    parts = [
        f"{row.weights.file} (SHA-256 {row.weights.sha256[:12]}…)",
        f"{data.name}, {data.images:,} images, {data.classes} classes",
        f"{row.form}, {row.backend}, {row.precision} on {row.device}",
        f"{row.date:%Y-%m-%d %H:%M %Z}",
    ]
    return " · ".join(parts)
