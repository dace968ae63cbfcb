"""Predicts many images and writes the results into one folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData
from pycocotools import mask as rle

from casvit_dense.errors import UserError
from casvit_dense.files import write_json, write_whole
from casvit_dense.predictor.drawing import draw
from casvit_dense.predictor.images import read_image
from casvit_dense.predictor.model import Labels, Predictor
from casvit_dense.progress import Progress


@dataclass(frozen=True)
class Summary:
    """Counts of images, and the wall time for each predicted image in seconds."""

    predicted: int
    skipped: int
    seconds_per_image: float


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    folder: Path,
    score_thr: float = 0.3,
    pictures: bool = True,
    log: Callable[[str], None] = print,
) -> Summary:
    """Predicts, draws and writes image by image.

    An image that cannot be read, is too narrow, or too large for the memory is reported and
    skipped. When the run is interrupted, finished results stay and their index is written.

    Args:
        files: images; their ids are 1, 2, … in this order.
        folder: where the results go: ``images.json``, and ``predictions.json`` or ``maps/``,
            and ``pictures/``.
        score_thr: instances of lower score are neither written nor drawn.

    Raises:
        UserError: the folder cannot be made.
    """
    started = time.monotonic()
    progress = Progress("image", len(files), seconds=5.0)
    skipped = 0
    detects = predictor.scope == "mmdet"
    with ResultFolder(folder, predictor.labels, detects, score_thr, pictures) as results:
        for number, path in enumerate(progress.track(files, log), 1):
            try:
                with memory_errors_named(path):
                    image = read_image(path)
                    sample = predictor.predict(image, path)
                    result = results.made(number, path, image, sample)
            except UserError as error:
                skipped += 1
                results.skip(path, str(error))
                log(f"skipped {error}")
            else:
                results.keep(result)
    predicted = len(files) - skipped
    return Summary(predicted, skipped, (time.monotonic() - started) / max(predicted, 1))


@contextmanager
def memory_errors_named(path: Path) -> Iterator[None]:
    """Makes an error that names the image of what Python, torch and OpenCV raise without memory."""
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        code = getattr(error, "code", None)  # of OpenCV
        if not (
            isinstance(error, (MemoryError, torch.OutOfMemoryError))
            or code == cv2.Error.StsNoMem
            or "can't allocate memory" in str(error)
        ):
            raise
        raise UserError(f"{path}: does not fit into memory; give it in smaller pieces") from error


@dataclass(frozen=True)
class Result:
    """An image's entry in the index, its rows, and its files by their names in the folder."""

    entry: dict[str, Any]
    rows: list[dict[str, Any]]
    files: dict[str, bytes]


class ResultFolder:
    """Writes each result as it comes, and the JSON files when the run ends, even by an error.

    ``images.json`` lists what was predicted (COCO's ``images`` and ``categories``) and what was
    skipped; ``pictures/`` holds the drawings. A detector's results are ``predictions.json``, a
    COCO results list; a segmenter's are ``maps/<name>.png`` with the data set's own class
    numbers. Every file appears whole or not at all.
    """

    def __init__(
        self, folder: Path, labels: Labels, detects: bool, score_thr: float, pictures: bool
    ) -> None:
        self.folder = folder
        self.labels = labels
        self.detects = detects
        self.score_thr = score_thr
        self.pictures = pictures
        self._images: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []
        self._names: set[str] = set()

    def __enter__(self) -> "ResultFolder":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be made ({error.strerror})") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        categories = zip(self.labels.ids, self.labels.names, strict=True)
        index = {
            "images": self._images,
            "categories": [{"id": number, "name": name} for number, name in categories],
            "skipped": self._skipped,
        }
        write_json(self.folder / "images.json", index)
        if self.detects:
            write_json(self.folder / "predictions.json", self._rows)

    def skip(self, path: Path, reason: str) -> None:
        """Records an input that gave no result."""
        self._skipped.append({"file_name": path.as_posix(), "reason": reason})

    def made(self, number: int, path: Path, image: np.ndarray, sample: BaseDataElement) -> "Result":
        """Draws and encodes one result.

        Args:
            number: image id.
            image: its pixels, ``(H, W, 3)``, uint8, BGR.
        """
        height, width = image.shape[:2]
        entry = {"id": number, "file_name": path.as_posix(), "height": height, "width": width}
        result = Result(entry, [], {})
        name = self._unused_name(path.stem)
        if self.pictures:
            entry["picture"] = f"pictures/{name}.jpg"
            picture = draw(image, sample, self.labels, self.score_thr)
            result.files[entry["picture"]] = encoded(".jpg", picture)
        if self.detects:
            instances = sample.pred_instances
            kept = instances[instances.scores >= self.score_thr]
            result.rows.extend(coco_rows(kept, number, self.labels.ids))
        else:
            entry["map"] = f"maps/{name}.png"
            indices = sample.pred_sem_seg.data[0].numpy()
            result.files[entry["map"]] = encoded(".png", to_ids(indices, self.labels.ids))
        return result

    def keep(self, result: "Result") -> None:
        """Writes one result."""
        for name, content in result.files.items():
            write_whole(self.folder / name, content)
        self._rows += result.rows
        self._images.append(result.entry)

    def _unused_name(self, stem: str) -> str:
        """The stem, numbered where an earlier input has the same; some disks ignore case."""
        name, count = stem, 1
        while name.casefold() in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name.casefold())
        return name


def coco_rows(instances: InstanceData, image_id: int, ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """Instances as rows of a COCO results file.

    Args:
        instances: ``bboxes (n, 4)`` as x1, y1, x2, y2, ``scores``, ``labels`` and perhaps
            ``masks (n, H, W)``.

    Returns:
        One row per instance: ``bbox`` as x, y, width, height in pixels; ``segmentation`` as
        compressed run lengths.
    """
    rows: list[dict[str, Any]] = []
    columns = (instances.bboxes, instances.scores, instances.labels)
    for box, score, label in zip(*(column.tolist() for column in columns), strict=True):
        x1, y1, x2, y2 = box
        rows.append(
            {
                "image_id": image_id,
                "category_id": ids[label],
                "bbox": [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 6),
            }
        )
    if "masks" in instances:
        for row, mask in zip(rows, instances.masks.numpy(), strict=True):
            encoded = rle.encode(np.asfortranarray(mask, np.uint8))
            row["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    return rows


def to_ids(indices: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    """Class indices ``(H, W)`` as the ids in map files, in 8 bits if they fit, else in 16."""
    return np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)[indices]


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """The bytes of an image file."""
    _, data = cv2.imencode(suffix, pixels)
    content: bytes = data.tobytes()
    return content
