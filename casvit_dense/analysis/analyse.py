"""From files to an analysis."""

from dataclasses import replace
from pathlib import Path

from casvit_dense.analysis.columns import read_detections, read_truth
from casvit_dense.analysis.detection import analyse_detections
from casvit_dense.analysis.maps import analyse_maps, count_pixels
from casvit_dense.analysis.progress import Tick, silent
from casvit_dense.analysis.records import Analysis
from casvit_dense.analysis.sources import MOVED, MapSource, Source, find_sources
from casvit_dense.analysis.stated import differences


def analyse(
    folder: Path,
    data_root: str | Path | None = None,
    score_thr: float | None = None,
    tick: Tick = silent,
    moved: str = MOVED,
) -> Analysis:
    """Analyses what `casvit-dense test` left in a folder.

    Args:
        folder: that of ``metrics.json``, or the work directory above it.
        data_root: folder of the data set, if it is not where the evaluation found it.
        score_thr: least score of the detections that confusion and images are about; that of the
            best F1 by default.
        tick: told of the progress.
        moved: see `find_sources`.

    Raises:
        UserError: a file is missing or cannot be read, or predictions and truth do not
            belong together.
    """
    sources = find_sources(folder, data_root, moved)
    parts = [analyse_source(source, score_thr, tick) for source in sources]
    return replace(
        parts[0],
        detection={kind: found for part in parts for kind, found in part.detection.items()},
        notes=[note for part in parts for note in part.notes],
    )


def analyse_source(source: Source, score_thr: float | None = None, tick: Tick = silent) -> Analysis:
    """Analyses one set of predictions; arguments and errors as in `analyse`."""
    images = str(source.images) if source.images else None
    empty = Analysis(source.name, str(source.predictions.parent), images)
    if isinstance(source, MapSource):
        maps = analyse_maps(count_pixels(source, tick))
        return replace(empty, maps=maps, notes=differences(source, maps.miou))
    truth = read_truth(source.truth, source.kind, source.classes, source.indices)
    found = read_detections(source.predictions, source.kind, truth)
    result = analyse_detections(truth, found, source.kind, score_thr, tick)
    notes = differences(source, result.sizes[0].ap)
    return replace(empty, detection={source.kind: result}, notes=notes)
