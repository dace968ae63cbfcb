"""Objects as converters read them, and the COCO records that are made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from casvit_dense.data.coco_masks import polygon_area
from casvit_dense.data.findings import Kind

#: Width and height in pixels.
Size = tuple[int, int]

#: Takes a kind of fault, the number of the line or object, and what it holds.
Report = Callable[[Kind, int | None, str], None]


@dataclass(frozen=True)
class Object:
    """An object of an image.

    Attributes:
        label: index of its class.
        box: left, upper, right and lower edge in pixels.
        outline: polygon as x, y, x, y, … in pixels.
        crowd: does not count in training and evaluation.
    """

    label: int
    box: list[float]
    outline: list[float] | None = None
    crowd: bool = False

    def to_coco(self, annotation_id: int, image_id: int) -> dict[str, Any]:
        """The annotation, places to a hundredth of a pixel."""
        left, upper, right, lower = self.box
        width, height = round(right - left, 2), round(lower - upper, 2)
        record: dict[str, Any] = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": self.label + 1,
            "bbox": [round(left, 2), round(upper, 2), width, height],
            "area": round(width * height, 2),
            "iscrowd": int(self.crowd),
        }
        if self.outline is not None:
            record["segmentation"] = [[round(part, 2) for part in self.outline]]
            record["area"] = round(polygon_area(self.outline), 2)
        return record
