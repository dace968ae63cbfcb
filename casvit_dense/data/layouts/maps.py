"""Finds images and their index maps, and what their names end in."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casvit_dense.data.description import Split, SplitName
from casvit_dense.data.layouts.files import (
    ALIASES,
    IMAGE_SUFFIXES,
    files_below,
    has_files,
    images_below,
    one_of,
    split_folders,
    split_lists,
    subfolders,
)
from casvit_dense.errors import UserError, shortlist

#: In lower case, the most usual first.
IMAGE_FOLDERS: Final = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "leftimg8bit")
MAP_FOLDERS: Final = (
    *("annotations", "annotation", "masks", "mask", "labels", "label", "ann_dir"),
    *("segmentationclass", "segmentations", "segmentation", "gt", "gtfine"),
)
#: What maps end in that lie among their images, as Roboflow exports them.
AMONG_IMAGES: Final = "_mask.png"
MAP_SUFFIXES: Final = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")

#: ADE20K's names in the release with index maps.
ADE20K: Final = re.compile(r"ADE_(train|val|test)_\d{8}")
ADE20K_CLASSES: Final = Path(__file__).with_name("ade20k_classes.txt")

#: Cityscapes has up to four maps an image; these hold its 19 classes, and 255 for all others.
TRAIN_IDS: Final = "labelTrainIds.png"
CITYSCAPES_CLASSES: Final = Path(__file__).with_name("cityscapes_classes.txt")

SAMPLE: Final = 200  # images whose maps are looked for by name


@dataclass(frozen=True)
class Suffixes:
    """What image names end in, and what the names of their maps have in place of it."""

    image: str
    map: str


def find_maps(root: Path) -> dict[SplitName, Split]:
    """Splits of images and index maps; empty if there are none."""
    for look in (_by_kind, _by_split, _side_by_side, _undivided, _among_images):
        found = {
            split: Split(images=images, annotations=maps)
            for split, (images, maps) in look(root).items()
            if has_files(maps, *MAP_SUFFIXES) and has_files(images, *IMAGE_SUFFIXES)
        }
        lists = split_lists(root / "ImageSets" / "Segmentation")
        if found and look is _undivided and lists:  # as VOC does it
            whole = found["train"]
            return {s: whole.model_copy(update={"files": file}) for s, file in lists.items()}
        if found:
            return found
    return {}


Pairs = dict[SplitName, tuple[Path, Path]]


def _by_kind(root: Path) -> Pairs:
    """``images/train`` and ``masks/train``."""
    images, maps = one_of(root, IMAGE_FOLDERS), one_of(root, MAP_FOLDERS)
    if images is None or maps is None:
        return {}
    folders = split_folders(maps)
    return {s: (folder, folders[s]) for s, folder in split_folders(images).items() if s in folders}


def _by_split(root: Path) -> Pairs:
    """``train/images`` and ``train/masks``."""
    found: Pairs = {}
    for split, folder in split_folders(root).items():
        images, maps = one_of(folder, IMAGE_FOLDERS), one_of(folder, MAP_FOLDERS)
        if images is not None and maps is not None:
            found[split] = (images, maps)
    return found


def _side_by_side(root: Path) -> Pairs:
    """``train`` and ``trainannot``, or ``train_labels``."""
    names = {folder.name.lower(): folder for folder in subfolders(root)}
    found: Pairs = {}
    for split, aliases in ALIASES.items():
        for alias in aliases:
            pattern = re.compile(rf"{alias}[_ -]?(annot|annotations?|labels?|masks?|gt)")
            maps = next((folder for name, folder in names.items() if pattern.fullmatch(name)), None)
            if alias in names and maps is not None:
                found.setdefault(split, (names[alias], maps))
    return found


def _undivided(root: Path) -> Pairs:
    """``images`` and ``masks``."""
    images, maps = one_of(root, IMAGE_FOLDERS), one_of(root, MAP_FOLDERS)
    return {"train": (images, maps)} if images is not None and maps is not None else {}


def _among_images(root: Path) -> Pairs:
    """``train/1.jpg`` and ``train/1_mask.png``."""
    folders = split_folders(root)
    return {s: (f, f) for s, f in folders.items() if has_files(f, AMONG_IMAGES)}


def find_suffixes(splits: dict[SplitName, Split]) -> Suffixes:
    """What the names of images and of their maps end in, by most pairs.

    Raises:
        UserError: no image has a map of its name, or one has several.
    """
    counts: Counter[Suffixes] = Counter()
    for split in splits.values():
        counts.update(_pairs(split))
    best = sorted(counts, key=lambda s: (not s.map.endswith(TRAIN_IDS), -counts[s], len(s.image)))
    if not best:
        images = next(iter(splits.values()))
        raise UserError(
            f"{images.annotations}: no map is called as an image of {images.images} is; a map's "
            "name is that of its image with another ending"
        )
    first = best[0]
    tied = [s.map for s in best if counts[s] == counts[first] and s.image == first.image]
    if len(tied) > 1 and not first.map.endswith(TRAIN_IDS):
        ids = any(ending.endswith("labelIds.png") for ending in tied)
        made = f"; csCreateTrainIdLabelImgs of cityscapesscripts makes {TRAIN_IDS}, which is taken"
        raise UserError(
            f"{next(iter(splits.values())).annotations}: images have several maps each, ending in "
            f"{shortlist(tied)}; say which as map_suffix in a description (.yaml){made * ids}"
        )
    return first


def _pairs(split: Split) -> Counter[Suffixes]:
    counts: Counter[Suffixes] = Counter()
    images = [path.relative_to(split.images) for path in images_below(split.images)]
    maps = [path.relative_to(split.truth) for path in files_below(split.truth, *MAP_SUFFIXES)]
    by_folder: dict[Path, list[str]] = {}
    for label_map in maps:
        by_folder.setdefault(label_map.parent, []).append(label_map.name)
    shared = _common_ending([image.stem for image in images]) if len(images) > 1 else ""
    endings = {"", *(shared[match.start() :] for match in re.finditer(r"[_.-]", shared))}
    for image in images[:: max(1, len(images) // SAMPLE)]:
        for ending in endings:
            stem = image.stem.removesuffix(ending)
            for name in by_folder.get(image.parent, ()):
                rest = name.removeprefix(stem)
                if name == rest or (name == image.name and split.images == split.annotations):
                    continue  # of another image, or the image itself
                if not rest[0].isdigit():  # 10.png is not of 1.jpg
                    counts[Suffixes(ending + image.suffix, rest)] += 1
    return counts


def _common_ending(stems: list[str]) -> str:
    shortest = min(map(len, stems))
    return next(
        (stems[0][-n:] for n in range(shortest, 0, -1) if len({stem[-n:] for stem in stems}) == 1),
        "",
    )
