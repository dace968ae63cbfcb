"""Repairs of a COCO file: what can be known is corrected, other faulty records are left out."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET

from casvit_dense.data.checks.boxes import BOXES_CORNERS, BOXES_NORMALISED
from casvit_dense.data.checks.coco import LARGEST_ID, Use, check_coco, image_size
from casvit_dense.data.checks.image_facts import ImageFacts, image_facts
from casvit_dense.data.coco_file import AREA_ZERO, Annotation, Category, CocoFile, Image, shown
from casvit_dense.data.coco_masks import NO_MASK, is_empty
from casvit_dense.data.findings import EXAMPLES, Findings
from casvit_dense.data.fixes.changes import Changes
from casvit_dense.data.fixes.objects import (
    Box,
    area_of,
    box_of,
    cut_box,
    fix_mask,
    flag,
    number,
    read_box,
)
from casvit_dense.data.map_pairs import names_in

#: Pixels beyond which a box says that an image is not of a size.
BEYOND: Final = 3.0


class CocoFixer:
    """Repairs one annotation file in memory; see `fix`."""

    def __init__(self, path: Path, called: Path, images: Path, changes: Changes) -> None:
        """Reads and checks the file.

        Args:
            called: what a user knows it as.
            images: folder of its images.
            changes: takes what is done.
        """
        self.path, self.images, self.changes = called, images, changes
        found = Findings(named=None)
        self.file = check_coco(path, "", Use(), found)
        self.named = {where.partition(" (")[0] for one in found.all() for where in one.where}
        self.resized: set[int] = set()
        codes = {finding.kind for finding in found.all()}
        self.normalised, self.corners = BOXES_NORMALISED in codes, BOXES_CORNERS in codes
        for line in found.notes:
            self._say("read as it was meant", line)
        for finding in found.all():
            if finding.kind == AREA_ZERO:  # mended while reading
                more = finding.count - EXAMPLES
                records = ", ".join(finding.where[:EXAMPLES]) + f" and {more:,} more" * (more > 0)
                self._say("area computed", records, 0)

    def fix(self) -> CocoFile | None:
        """The repaired file; None if it has no records that could be read."""
        if self.file is None:
            return None
        images = self._fix_images(self.file)
        categories = self._fix_categories(self.file)
        annotations = None
        if self.file.annotations is not None:
            annotations = self._fix_annotations(self.file.annotations, images, categories)
        return CocoFile(
            self.path,
            list({id(image): image for image in images.values()}.values()),
            annotations,
            list({id(one): one for one in categories.values()}.values()),
        )

    def _say(self, what: str, where: str, held: object = "") -> None:
        self.changes.add(what, self.path, where, held)

    def _fix_images(self, file: CocoFile) -> dict[object, Image]:
        """The usable images by the ids by which annotations call them."""
        there = set(names_in(self.images)) if self.images.is_dir() else set()
        names = {id(image): _find(image.file_name, there) for image in file.images}
        facts = image_facts(self.images / name for name in names.values() if name is not None)
        repeated = {
            key
            for key, count in Counter(_key(image.id) for image in file.images).items()
            if key is not None and count > 1
        }
        swapped = self._are_sizes_swapped(file, names, facts)
        kept: dict[object, Image] = {}
        by_name: dict[str, Image] = {}
        for image in file.images:
            where, name = f"image {shown(image.id)} ({shown(image.file_name)})", names[id(image)]
            key: object = _key(image.id)
            if key is None:
                key = object()  # nothing refers to it
            if name is None:
                self._say("image left out: there is no such file", where)
            elif name in by_name:
                self._say("records of the same file made one", where)
                kept.setdefault(key, by_name[name])
            elif key in repeated:
                self._say("image left out: its id is also that of another", where)
            elif self._fix_size(image, facts[self.images / name], swapped, where):
                if name != image.file_name:
                    self._say("file name corrected", where, name)
                    image.file_name = name
                kept[key] = by_name[name] = image
        self._number(list(by_name.values()), "images")
        return kept

    def _are_sizes_swapped(
        self, file: CocoFile, names: dict[int, str | None], facts: dict[Path, ImageFacts]
    ) -> bool:
        """Whether boxes say that width and height of records are exchanged, and none that not."""
        turned: dict[object, tuple[int, int]] = {}
        for image in file.images:
            name = names[id(image)]
            size = image_size(image.width, image.height)
            if name is not None and size is not None and size[0] != size[1]:
                found = facts[self.images / name]
                if (found.height, found.width) == size and not found.turned:
                    turned[_key(image.id)] = size
        for_file = for_record = 0
        for annotation in file.annotations or ():
            size, box = turned.get(_key(annotation.image_id)), read_box(annotation.bbox)
            if size is None or box is None:
                continue
            right, low = box[0] + box[2], box[1] + box[3]
            for_file += right > size[0] + BEYOND or low > size[1] + BEYOND
            for_record += right > size[1] + BEYOND or low > size[0] + BEYOND
        return for_file > 0 and not for_record

    def _fix_size(self, image: Image, found: ImageFacts, swapped: bool, where: str) -> bool:
        """Gives a record its file's size where that is meant; whether the image can be kept."""
        if found.problem:
            self._say(f"image left out: it {found}", where)
            return False
        size, record = (found.width, found.height), (image.width, image.height)
        if size == record:
            return True
        known = image_size(image.height, image.width) is not None
        if known and not (swapped and record == size[::-1] and not found.turned):
            why = (
                "turned by EXIF" if found.turned else f"its file is {found.width} x {found.height}"
            )
            self._say(f"image left out: {why}", where, f"{record[0]} x {record[1]}")
            return False
        image.width, image.height = size
        self.resized.add(id(image))
        self._say("size taken from the file", where, f"{shown(record[0])} x {shown(record[1])}")
        return True

    def _fix_categories(self, file: CocoFile) -> dict[object, Category]:
        """The usable categories by the ids by which annotations call them."""
        kept: dict[object, Category] = {}
        by_name: dict[str, Category] = {}
        for category in file.categories:
            key, name = _key(category.id), category.name
            where = f"category {shown(category.id)} ({shown(name)})"
            if not isinstance(name, str) or not name.strip():
                self._say("category left out: it has no name", where)
            elif key is None or key in kept:
                self._say("category left out: its id is missing or that of another", where)
            else:
                if name in by_name:
                    self._say("categories of the same name made one", where)
                kept[key] = by_name.setdefault(name, category)
        self._number(list(by_name.values()), "categories")
        return kept

    def _fix_annotations(
        self,
        annotations: list[Annotation],
        images: dict[object, Image],
        categories: dict[object, Category],
    ) -> list[Annotation]:
        kept = []
        for annotation in annotations:
            image = images.get(_key(annotation.image_id))
            category = categories.get(_key(annotation.category_id))
            name = "" if image is None else f" ({image.file_name})"
            where = f"annotation {shown(annotation.id)}{name}"
            if image is None or category is None:
                what = "image" if image is None else "category"
                held = annotation.image_id if image is None else annotation.category_id
                self._say(
                    f"object left out: its {what} is not there or was left out", where, shown(held)
                )
            elif self._is_fine(annotation, image) or self._fix_object(annotation, image, where):
                annotation.image_id, annotation.category_id = image.id, category.id
                kept.append(annotation)
        with_mask = sum(not is_empty(a.segmentation) for a in kept)
        if 0 < with_mask < len(kept):
            kept = self._same_masks(kept, all_masks=2 * with_mask > len(kept))
        self._number(kept, "annotations")
        return kept

    def _is_fine(self, annotation: Annotation, image: Image) -> bool:
        """Whether the check has nothing against an object; most need no second look."""
        every = self.normalised or self.corners or id(image) in self.resized
        return not every and f"annotation {shown(annotation.id)}" not in self.named

    def _fix_object(self, annotation: Annotation, image: Image, where: str) -> bool:
        """Repairs flags, mask, box and area; whether the object can be kept."""
        for key, missing in (("iscrowd", 0), ("ignore", UNSET)):
            value = getattr(annotation, key)
            found = flag(value) if value is not UNSET else missing
            if found is None:
                self._say(
                    f"object left out: its {key} says neither yes nor no", where, shown(value)
                )
                return False
            if found is not value:
                self._say(f"{key} written as a number", where, shown(value))
                setattr(annotation, key, found)
        size = image.width, image.height
        mask = fix_mask(annotation.segmentation, size)
        if bytes(mask) != bytes(annotation.segmentation) and not is_empty(annotation.segmentation):
            what = "mask left out" if is_empty(mask) else "mask repaired or cut at the image's edge"
            self._say(what, where, bytes(annotation.segmentation)[:80].decode(errors="replace"))
        box = self._box(annotation, size) or box_of(mask)
        cut = None if box is None else cut_box(box, size)
        if cut is None:
            why = "no usable box" if box is None else "outside the image, or smaller than a pixel"
            self._say(f"object left out: {why}", where, annotation.bbox)
            return False
        if list(cut) != annotation.bbox:
            self._say("box corrected or cut at the image's edge", where, annotation.bbox)
            annotation.bbox = list(cut)
        annotation.segmentation = mask
        area = area_of(annotation.area, cut, mask)
        if area != annotation.area:
            self._say("area computed", where, shown(annotation.area))
            annotation.area = area
        return True

    def _box(self, annotation: Annotation, size: tuple[int, int]) -> Box | None:
        box = read_box(annotation.bbox)
        if box is None:
            return None
        x, y, width, height = box
        if self.normalised:
            return x * size[0], y * size[1], width * size[0], height * size[1]
        if self.corners:
            return x, y, width - x, height - y
        return box

    def _same_masks(self, annotations: list[Annotation], all_masks: bool) -> list[Annotation]:
        """Every object with a mask, or none."""
        kept = []
        for annotation in annotations:
            where = f"annotation {shown(annotation.id)}"
            if is_empty(annotation.segmentation) == all_masks:
                if all_masks:
                    self._say("object left out: it has no usable mask, as most have", where)
                    continue
                self._say("mask left out, as most objects have none", where)
                annotation.segmentation = NO_MASK
            kept.append(annotation)
        return kept

    def _number(self, records: list[Any], kind: str) -> None:
        """New ids from 1 where one is missing, repeated or not a whole number."""
        ids = [record.id for record in records]
        usable = all(type(value) is int and abs(value) <= LARGEST_ID for value in ids)
        if usable and len(set(ids)) == len(ids):
            return
        for new, record in enumerate(records, 1):
            record.id = new
        self._say(f"{kind} numbered anew", kind)

    def drop(self, file: CocoFile, found: Findings) -> bool:
        """Leaves out what a check still names; whether there was anything."""
        named = {where: error.kind.code for error in found.errors() for where in error.where}
        objects = {int(m[1]) for where in named if (m := re.match(r"annotation (-?\d+)\b", where))}
        kept = [image for image in file.images if not _named(image, named)]
        ids = {image.id for image in kept}
        annotations = file.annotations or []
        rest = [a for a in annotations if a.id not in objects and a.image_id in ids]
        if len(kept) == len(file.images) and len(rest) == len(annotations):
            return False
        for where, code in named.items():
            self._say(f"left out: {code}", where)
        file.images = kept
        file.annotations = None if file.annotations is None else rest
        return True


def _named(image: Image, named: dict[str, str]) -> bool:
    return image.file_name in named or f"image {image.id} ({image.file_name})" in named


def _key(value: object) -> int | str | None:
    """An id that something can refer to; numbers and text alike."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    found = number(value) if isinstance(value, str) else None
    return int(found) if found is not None and found.is_integer() else value


def _find(name: object, there: set[str]) -> str | None:
    """The file that a name means: as it is, with slashes, or the only one of that name."""
    if not isinstance(name, str):
        return None
    plain = name.replace("\\", "/")
    for candidate in (name, plain, plain.rpartition("/")[2]):
        if candidate in there:
            return candidate
    return None
