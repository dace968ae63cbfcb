"""mmdet's index of COCO annotations, over our reader."""

from contextlib import redirect_stdout
from pathlib import Path

from casvit_dense.data.coco_file import load_coco

with redirect_stdout(None):  # mmdet prints that it misses a package which few data sets need
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.api_wrappers import COCO


class CocoAnnotations(COCO):
    """The annotations of a file, harmless oddities of exporters repaired.

    Raises:
        UserError: the file cannot be read as a COCO file.
    """

    def __init__(self, annotation_file: str) -> None:
        super().__init__()
        self.dataset = load_coco(Path(annotation_file))
        with redirect_stdout(None):
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


def read_by_us() -> None:
    """Has every COCO data set of mmdet read its file by our reader, whichever config names it."""
    CocoDataset.COCOAPI = CocoAnnotations
