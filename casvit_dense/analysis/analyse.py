"""From files to an analysis."""

from dataclasses import replace
from pathlib import Path

from casvit_dense.analysis.coco_arrays import read_detections, read_truth
from casvit_dense.analysis.detection import analyse_detections
from casvit_dense.analysis.maps import analyse_maps, count_pixels
from casvit_dense.analysis.records import Analysis
from casvit_dense.analysis.sources import (
    MOVED,
    Log,
    MapSource,
    Source,
    check_reported_metric,
    find_sources,
    no_log,
)


def analyse(
    folder: Path,
    data_root: str | Path | None = None,
    score_thr: float | None = None,
    log: Log = no_log,
    moved: str = MOVED,
) -> Analysis:
    """Analyses the predictions that `casvit-dense test` left in a folder.

    Args:
        folder: see `find_sources`.
        data_root: folder of the data set, if it was moved since the evaluation.
        score_thr: lowest score of the detections in confusion matrix and image scores; by default
            that of the best F1.
        log: gets lines of progress.
        moved: see `find_sources`.

    Raises:
        UserError: a file is missing or cannot be read, or predictions and truth do not belong
            together.
    """
    sources = find_sources(folder, data_root, moved)
    parts = [analyse_source(source, score_thr, log) for source in sources]
    return replace(
        parts[0],
        detection={kind: found for part in parts for kind, found in part.detection.items()},
        notes=[note for part in parts for note in part.notes],
    )


def analyse_source(source: Source, score_thr: float | None = None, log: Log = no_log) -> Analysis:
    """Analyses one set of predictions; arguments and errors as in `analyse`."""
    images = str(source.images) if source.images else None
    empty = Analysis(source.name, str(source.predictions.parent), images)
    if isinstance(source, MapSource):
        maps = analyse_maps(count_pixels(source, log))
        return replace(empty, maps=maps, notes=check_reported_metric(source, maps.miou))
    truth = read_truth(source.truth, source.kind, source.classes, source.indices)
    detections = read_detections(source.predictions, source.kind, truth)
    result = analyse_detections(truth, detections, source.kind, score_thr)
    notes = check_reported_metric(source, result.sizes[0].ap)
    return replace(empty, detection={source.kind: result}, notes=notes)
