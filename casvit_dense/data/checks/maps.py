"""Checks of a segmentation data set of images and index maps: every map, every pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from casvit_dense.data.checks.image_facts import ImageFacts
from casvit_dense.data.checks.images import (
    FOLDER_MISSING,
    IMAGE_MISSING,
    check_duplicates,
    check_files,
    short,
    spread,
)
from casvit_dense.data.checks.map_facts import MapFacts, map_facts
from casvit_dense.data.description import IGNORE_LABEL, DataDescription, Split
from casvit_dense.data.findings import KINDS, Findings
from casvit_dense.data.layouts.files import IMAGE_SUFFIXES
from casvit_dense.data.map_pairs import image_stems, names_in
from casvit_dense.errors import shortlist

#: Labels that loaders can hold: they keep eight bits.
LARGEST_LABEL: Final = 255

NO_IMAGES = KINDS["map-no-images"]
IMAGE_SUFFIX = KINDS["map-image-suffix"]
MAP_MISSING = KINDS["map-missing"]
MAP_WITHOUT_IMAGE = KINDS["map-without-image"]
MAP_UNREADABLE = KINDS["map-unreadable"]
MAP_SIZE = KINDS["map-size"]
MAP_CHANNELS = KINDS["map-channels"]
MAP_LOSSY = KINDS["map-lossy"]
MAP_LABEL = KINDS["map-label"]
MAP_IGNORED = KINDS["map-ignored"]
ALL_IGNORED = KINDS["map-all-ignored"]
ONE_CLASS = KINDS["map-one-class"]
CLASS_WITHOUT_PIXELS = KINDS["map-class-without-pixels"]


def check_maps(
    split: Split,
    description: DataDescription,
    name: str,
    findings: Findings,
    *,
    deep: bool = False,
    sample: int | None = None,
) -> None:
    """Compares the images of a split with their maps, and the labels with the classes.

    ``findings.splits[name]`` then holds the number of images and, where there are maps, how many
    of them were read, and the pixels of each class and of those that do not count.

    Args:
        name: of the split.
        deep: decode every image as a whole; maps always are.
        sample: read at most so many images and maps, evenly spread. That all exist is checked
            anyway.

    Raises:
        UserError: the split's file of names cannot be read.
    """
    facts = findings.splits.setdefault(name, {})
    facts["images"] = 0
    images, maps = split.images, split.annotations
    missing = [folder for folder in (images, maps) if folder is not None and not folder.is_dir()]
    for folder in missing:
        findings.add(FOLDER_MISSING, folder)
    if missing:
        return
    stems = image_stems(split, description.image_suffix)
    facts["images"] = len(stems)
    there = names_in(images)
    _check_names(split, description, stems, there, findings)
    present = sorted(set(stems) & {name.removesuffix(description.image_suffix) for name in there})
    read = spread(present, sample)
    paths = {stem: images / (stem + description.image_suffix) for stem in read}
    image_facts = check_files(images, paths.values(), findings, deep)
    if len(read) == len(present):
        check_duplicates(images, image_facts, findings)
    if maps is None:
        return
    mapped = _check_pairs(split, maps, description, stems, findings)
    places = {stem: maps / (stem + description.map_suffix) for stem in read if stem in mapped}
    found = map_facts(places.values())
    labels = _Labels(description)
    for stem, place in places.items():
        _check_map(
            short(place, maps), maps, found[place], image_facts[paths[stem]], labels, findings
        )
    labels.check_split(maps, facts, findings, complete=len(read) == len(present))


def _check_names(
    split: Split,
    description: DataDescription,
    stems: Sequence[str],
    there: Sequence[str],
    findings: Findings,
) -> None:
    """Looks for images that are listed and missing, or that lie there and have another suffix."""
    suffix, known = description.image_suffix, set(there)
    others = (description.map_suffix,) if split.images == split.annotations else ()
    for stem in stems:
        if stem + suffix not in known:
            ending = f" (which should be without {suffix})" * stem.endswith(suffix)
            listed = f"listed in {split.files}{ending}"
            findings.add(IMAGE_MISSING, split.images, stem + suffix, listed)
    if not stems:
        suffixes = sorted({Path(name).suffix for name in there})
        example = f"no name ends in {suffix}; the folder has {shortlist(suffixes)}"
        findings.add(NO_IMAGES, split.images, example=example)
    elif split.files is None:
        for name in there:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.endswith((suffix, *others)):
                findings.add(IMAGE_SUFFIX, split.images, name, f"not {suffix}")


def _check_pairs(
    split: Split,
    maps: Path,
    description: DataDescription,
    stems: Sequence[str],
    findings: Findings,
) -> set[str]:
    """Looks for images without a map and maps without an image; returns the stems with a map."""
    suffix = description.map_suffix
    names = names_in(maps)
    there = {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    for stem in stems:
        if stem not in there:
            findings.add(MAP_MISSING, maps, stem + suffix)
    if split.files is None:
        for stem in sorted(there - set(stems)):
            findings.add(MAP_WITHOUT_IMAGE, maps, stem + suffix)
    return there


def _check_map(
    name: str,
    maps: Path,
    found: MapFacts,
    image: ImageFacts,
    labels: "_Labels",
    findings: Findings,
) -> None:
    if found.problem:
        findings.add(MAP_UNREADABLE, maps, name, found.problem)
        return
    if not image.problem and (found.width, found.height) != (image.width, image.height):
        swapped = ", turned" * ((found.height, found.width) == (image.width, image.height))
        sizes = f"{found.width} x {found.height}, its image {image.width} x {image.height}"
        findings.add(MAP_SIZE, maps, name, sizes + swapped)
    if found.format in ("JPEG", "MPO"):
        findings.add(MAP_LOSSY, maps, name)
    elif not found.labels:
        grey = ", red, green and blue are equal" * found.grey
        findings.add(MAP_CHANNELS, maps, name, f"Pillow's mode {found.mode}{grey}")
    else:
        labels.check_map(name, maps, found, findings)


def _wraps(label: int) -> bool:
    """Whether a label becomes another in eight bits; 65535 becomes what is ignored."""
    return label > LARGEST_LABEL and label % 256 != IGNORE_LABEL


class _Labels:
    """Counts the labels of a split as a loader reads them."""

    def __init__(self, description: DataDescription) -> None:
        self.classes = description.classes
        self.first = int(description.reduce_zero_label)
        self.ignored = {description.ignore_label}
        if description.reduce_zero_label:  # mmseg makes both 255
            self.ignored |= {0, 255}
        self.maps = 0
        self.strange = False
        self.empty: list[str] = []
        self.counts: Counter[int] = Counter()

    def check_map(self, name: str, maps: Path, found: MapFacts, findings: Findings) -> None:
        last = min(self.first + len(self.classes) - 1, LARGEST_LABEL)
        strange = [
            label
            for label, _ in found.labels
            if (label not in self.ignored and not self.first <= label <= last) or _wraps(label)
        ]
        self.maps += 1
        self.counts.update(dict(found.labels))
        if strange:
            self.strange = True
            example = (
                f"label {shortlist(strange)}; {self.first} to {last} are classes, "
                f"{shortlist(sorted(self.ignored))} ignored"
            )
            if wrapped := [label for label in strange if label in self.ignored]:
                example += f"; loaders keep eight bits, by which {wrapped[0]} is {wrapped[0] % 256}"
            findings.add(MAP_LABEL, maps, name, example)
        elif all(label in self.ignored for label, _ in found.labels):
            self.empty.append(name)

    def check_split(
        self, maps: Path, facts: dict[str, Any], findings: Findings, complete: bool
    ) -> None:
        pixels = {
            name: 0 if label in self.ignored else self.counts[label]
            for label, name in enumerate(self.classes, self.first)
        }
        facts |= {
            "maps": self.maps,
            "pixels": pixels,
            "ignored_pixels": sum(self.counts[label] for label in self.ignored),
        }
        if self.strange or not self.maps:
            return
        labels = f"labels {shortlist(sorted(self.counts))}"
        absent = [name for name, count in pixels.items() if not count]
        if len(absent) == len(pixels):
            findings.add(ALL_IGNORED, maps, example=labels)
        elif len(absent) == len(pixels) - 1 > 0:
            # A few maps of many may well show one class only.
            findings.add(ONE_CLASS, maps, example=labels, severity=None if complete else "warning")
        elif complete and self.maps < len(self.classes) and absent:  # an excerpt of a larger set
            findings.note(f"{maps}: {len(absent)} of {len(pixels)} classes have no pixel")
        elif complete:
            for name in absent:
                findings.add(CLASS_WITHOUT_PIXELS, maps, name)
        if len(absent) < len(pixels):
            for name in self.empty:
                findings.add(MAP_IGNORED, maps, name)
