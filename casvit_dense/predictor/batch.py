"""Many images through one predictor into one result folder."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from casvit_dense.errors import UserError
from casvit_dense.predictor.model import Predictor
from casvit_dense.predictor.outputs import InstanceFolder, MapFolder
from casvit_dense.predictor.reading import read_image
from casvit_dense.progress import Progress

#: Result folder of each framework's models.
FOLDERS = {"mmdet": InstanceFolder, "mmseg": MapFolder}


@dataclass(frozen=True)
class Summary:
    """Outcome of a run: counts of images, and the wall time a predicted image took, seconds."""

    predicted: int
    skipped: int
    seconds_per_image: float


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    folder: Path,
    score_thr: float = 0.3,
    pictures: bool = True,
    say: Callable[[str], None] = print,
) -> Summary:
    """Predicts, draws and writes image by image.

    An image that cannot be read or is too narrow is named and skipped. When the run is
    interrupted, what is finished stays and the index of it is written.

    Args:
        predictor: the model.
        files: images; their ids are 1, 2, … in this order.
        folder: where the results go: ``images.json``, and ``predictions.json`` or ``maps/``,
            and ``pictures/``.
        score_thr: instances of lower score are neither written nor drawn.
        pictures: whether to draw.
        say: takes each line for the user: skipped images, and progress every few seconds.

    Raises:
        UserError: the folder cannot be made.
    """
    started = time.monotonic()
    progress = Progress("image", len(files), seconds=5.0)
    skipped = 0
    with FOLDERS[predictor.scope](folder, predictor.labels, score_thr, pictures) as results:
        for number, path in enumerate(files, 1):
            try:
                image = read_image(path)
                sample = predictor.predict(image, path)
            except UserError as error:
                skipped += 1
                results.skip(path, str(error))
                say(f"skipped {error}")
            else:
                results.add(number, path, image, sample)
            line = progress.step()
            if line is not None:
                say(line)
    predicted = len(files) - skipped
    return Summary(predicted, skipped, (time.monotonic() - started) / max(predicted, 1))
