"""All checks of a data set, in one run that collects everything it finds."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from casvit_dense.data.checks.coco import Use, check_coco, images_of
from casvit_dense.data.checks.file_cache import look_at
from casvit_dense.data.checks.images import check_images, check_shared, note_unlisted
from casvit_dense.data.checks.maps import check_maps
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.findings import Findings
from casvit_dense.data.layouts.convert import materialise
from casvit_dense.data.layouts.describe import describe
from casvit_dense.data.layouts.files import SPLIT_CLASSES
from casvit_dense.data.map_pairs import image_stems
from casvit_dense.errors import UserError
from casvit_dense.options import LayoutOptions

#: What mmdet's loaders leave out of training: images with a shorter side, in pixels.
MIN_SIZE: Final = 32


def check_path(
    path: Path,
    findings: Findings,
    options: LayoutOptions | None = None,
    deep: bool = False,
) -> None:
    """Checks what lies at a path, whatever its layout.

    Args:
        path: data folder, annotation file, or description.
        options: what cannot be found at the path.
        deep: decode every image as a whole, not only its header.

    Raises:
        UserError: the path names nothing that could be checked.
    """
    try:
        description = describe(path, options, findings)
    except UserError as error:
        faults = findings.errors()
        if faults and all(fault.lines()[0] in str(error) for fault in faults):
            return  # they are why it cannot be described
        raise
    with TemporaryDirectory(prefix="casvit-dense-") as folder:
        check(materialise(description, Path(folder), findings), findings, deep)
        # Faults of converted files are those of the user's own.
        own = {f"{folder}/{name}.json": split for name, split in description.splits.items()}
        for found in findings.all():
            if found.file in own:
                found.file = str(own[found.file].annotations)


def check(description: DataDescription, findings: Findings, deep: bool = False) -> None:
    """Checks every split as a training with a detection or segmentation recipe would use it.

    Args:
        description: whose splits are files that training reads (`convert.materialise`).
        deep: decode every image as a whole, not only its header.

    Raises:
        UserError: a file is not there, or may not be read.
    """
    images = {}
    for name, split in description.splits.items():
        trained = name == "train"
        use = Use(
            classes=None if findings.has(SPLIT_CLASSES, split.annotations) else description.classes,
            more_categories=True,
            min_size=MIN_SIZE if trained else 0,
            keeps_empty=not trained,
            truth=name != "test",
        )
        images[str(name)] = check_split(name, split, description, use, findings, deep=deep)
    check_shared(images, findings)
    note_unlisted(images, findings)


def check_split(
    name: str,
    split: Split,
    description: DataDescription,
    use: Use,
    findings: Findings,
    deep: bool = False,
    sample: int | None = None,
) -> Sequence[Path]:
    """Checks one split; returns its images.

    Args:
        use: what its annotation file is for (detection).
        deep: decode every image as a whole, not only its header.
        sample: look into that many image files, evenly spread; None: into all.
    """
    if description.task == "segmentation":
        check_maps(split, description, name, findings, deep=deep, sample=sample)
        if not split.images.is_dir():
            return []
        return [
            split.images / (stem + description.image_suffix)
            for stem in image_stems(split, description.image_suffix)
        ]
    if split.annotations is None:
        return []
    records = _records(split.annotations, name, use, findings)
    if records is None:
        return []
    check_images(split.images, records, findings, deep=deep, sample=sample)
    return [split.images / image for image in records]


def _records(
    path: Path, name: str, use: Use, findings: Findings
) -> dict[str, tuple[int, int]] | None:
    """Width and height of an annotation file's images; its check is kept until it changes."""

    def look(_: str) -> dict[str, Any]:
        found = Findings()
        file = check_coco(path, name, use, found)
        return {**found.to_keep(), "records": file and images_of(file)}

    question = json.dumps([str(path), name, asdict(use), _own_code()])
    kept = look_at([path], look, f"coco {question}", "annotation file")[path]
    findings.take_kept(kept)
    records = kept["records"]
    return records and {image: (size[0], size[1]) for image, size in records.items()}


@cache
def _own_code() -> str:
    """Changes with every change of the checks, whose earlier results then no longer count."""
    room = Path(__file__).parents[1]
    files = sorted([*room.rglob("*.py"), *room.rglob("*.tsv")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
