"""All checks of a data set, in one run that collects everything it finds."""

from typing import Final

from casvit_dense.data.check_coco import Use, check_coco, images_of
from casvit_dense.data.check_images import check_images, check_shared
from casvit_dense.data.check_maps import check_maps
from casvit_dense.data.description import DataDescription, Split
from casvit_dense.data.findings import Findings

#: What mmdet's loaders leave out of training: images with a shorter side, in pixels.
MIN_SIZE: Final = 32


def check(description: DataDescription, deep: bool = False) -> Findings:
    """Checks every split as a training with a detection or segmentation recipe would use it.

    Args:
        deep: decode every image as a whole, not only its header.

    Raises:
        UserError: a file is not there, or may not be read.
    """
    findings = Findings()
    for name, split in description.splits.items():
        trained = name == "train"
        use = Use(
            classes=description.classes,
            more_categories=True,
            min_size=MIN_SIZE if trained else 0,
            keeps_empty=not trained,
            truth=name != "test",
        )
        check_split(name, split, description, use, findings, deep=deep)
    check_shared(description, findings)
    return findings


def check_split(
    name: str,
    split: Split,
    description: DataDescription,
    use: Use,
    findings: Findings,
    deep: bool = False,
    sample: int | None = None,
) -> None:
    """Checks one split.

    Args:
        use: what its annotation file is for (detection).
        deep: decode every image as a whole, not only its header.
        sample: look into that many image files, evenly spread; None: into all.
    """
    if description.task == "segmentation":
        check_maps(split, description, name, findings, deep=deep, sample=sample)
    elif split.annotations is not None:
        file = check_coco(split.annotations, name, use, findings)
        if file is not None:
            check_images(split.images, images_of(file), findings, deep=deep, sample=sample)
