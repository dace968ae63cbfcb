"""Images in a folder for each class, or named with their labels in a list."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from casvit_dense.data.layouts.files import IMAGE_SUFFIXES
from casvit_dense.errors import UserError, shortlist


@DATASETS.register_module()
class ImageNetFolder(BaseDataset):
    """An ImageNet-style data set.

    Either ``<data_prefix>/<class>/<image>``, with the classes in the order of their names, as
    torchvision's ``ImageFolder`` numbers them; or ``ann_file`` names an image below
    ``data_prefix`` and its label in each line, as the official ``val.txt`` does.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """The images with their labels.

        Raises:
            UserError: there are none, or the list has a line without a label.
        """
        folder = Path(self.data_prefix.get("img_path") or self.data_root or "")
        if self.ann_file:
            return listed_images(Path(self.ann_file), folder)
        names = class_folders(folder)
        known = self.metainfo.get("classes")
        if known is None:
            self._metainfo["classes"] = tuple(names)
        elif len(known) != len(names):
            raise UserError(
                f"{folder} has {len(names)} folders of classes ({shortlist(names)}), the config "
                f"{len(known)} classes"
            )
        return [
            {"img_path": str(path), "gt_label": label}
            for path, label in labelled_images(folder, names)
        ]

    def prepare_data(self, idx: int) -> Any:
        """Loads a sample; an index that says a ``size`` hands it to the pipeline."""
        info = self.get_data_info(int(idx))
        size = getattr(idx, "size", None)
        return self.pipeline(info if size is None else {**info, "size": size})


def class_folders(folder: Path) -> list[str]:
    """Names of the folders of classes, sorted.

    Raises:
        UserError: there are none.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"no folder {folder}; --data-root says where the images are") from error
    if not names:
        raise UserError(
            f"{folder} has no folders of classes; expected {folder}/<class>/<image>, or a list of "
            "images and labels as ann_file"
        )
    return names


def has_classes(folder: Path) -> bool:
    """Whether a path is a folder with folders in it, as one for each class."""
    return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())


def labelled_images(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """The images in the folders of some classes, with the numbers of these."""
    return [
        (path, label) for label, name in enumerate(names) for path in images_below(folder / name)
    ]


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and below it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def listed_images(file: Path, folder: Path) -> list[dict[str, Any]]:
    """The images of a list, one and its label in each line.

    Raises:
        UserError: it cannot be read, or has a line of another form.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list of images {file} cannot be read: {error}") from error
    images = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal():
            raise UserError(f"{file}, line {number}: expected 'path label', found {line!r:.80}")
        images.append({"img_path": str(folder / name), "gt_label": int(label)})
    return images
