"""The data set of images and index maps that a description names."""

from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from casvit_dense.data.description import IGNORE_LABEL, Split
from casvit_dense.data.map_pairs import image_stems


@DATASETS.register_module()
class IndexMapDataset(BaseSegDataset):
    """Images and index maps, paired as the checks pair them.

    Args:
        ignore_label: label of pixels that do not count, as the maps have it; losses and metrics
            get 255 in its place.
        **kwargs: those of mmseg's ``BaseSegDataset``; ``ann_file`` lists names without suffix, and
            without ``data_prefix.seg_map_path`` there is no truth.
    """

    def __init__(self, ignore_label: int = IGNORE_LABEL, **kwargs: Any) -> None:
        self.ignore_label = ignore_label
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One record an image."""
        maps = self.data_prefix.get("seg_map_path")
        split = Split(
            images=Path(self.data_prefix["img_path"]),
            annotations=maps and Path(maps),
            files=Path(self.ann_file) if self.ann_file else None,
        )
        ignored = self.ignore_label != IGNORE_LABEL
        common = {
            "label_map": {self.ignore_label: IGNORE_LABEL} if ignored else None,
            "reduce_zero_label": self.reduce_zero_label,
        }
        records = []
        for stem in image_stems(split, self.img_suffix):
            record = {"img_path": str(split.images / (stem + self.img_suffix)), **common}
            if split.annotations is not None:
                record["seg_map_path"] = str(split.annotations / (stem + self.seg_map_suffix))
            records.append({**record, "seg_fields": []})
        return records
