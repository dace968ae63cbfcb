"""What a data set keeps in memory after it was read.

mmengine packs the annotations of all images into one array of bytes (``serialize_data``), which
forked workers share: a byte array has no reference counts whose change would copy its pages.
"""

from typing import Any

import numpy as np


def pack_index(dataset: Any) -> None:
    """Packs the lists of images by category that mmdet's COCO data sets keep beside that array.

    They are small, but their numbers were made while the annotation file was parsed and lie among
    millions of objects of the same size that are gone since: they alone keep Python from giving
    that memory back, 2 GB in every process that reads COCO's training set.

    Args:
        dataset: a data set or a wrapper (repeat, concatenate) around some; others are left alone.
    """
    for inner in (*getattr(dataset, "datasets", ()), getattr(dataset, "dataset", None)):
        if inner is not None:
            pack_index(inner)
    images = getattr(dataset, "cat_img_map", None)
    if images:
        dataset.cat_img_map = {category: np.array(ids) for category, ids in images.items()}
