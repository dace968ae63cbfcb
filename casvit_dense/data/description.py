"""What a data set is: its task, its classes, and where each split's images and truth are.

Everything that reads data starts from a `DataDescription`: found by `layouts.describe`, written by
a person as a small YAML, or taken from a config.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from casvit_dense.errors import UserError, validation_message
from casvit_dense.files import write_whole

Task = Literal["detection", "segmentation"]
SplitName = Literal["train", "val", "test"]

#: The label of pixels that do not count, where data do not say another.
IGNORE_LABEL: Final = 255


class Split(BaseModel):
    """One part of a data set.

    Attributes:
        images: folder of the images.
        annotations: COCO file of a detection set, or folder of its YOLO or VOC files until
            `convert.materialise` makes a COCO file of them; folder of the index maps of a
            segmentation set. None: images without truth.
        files: text file with one image a line, for a split that is not a whole folder: its name
            relative to ``images``, without the suffix (segmentation); None: all images
            (segmentation), all of the file (detection).
        parts: folders and lists of images that make up a split of YOLO, whose labels lie where
            those of any folder or list do; ``images`` is then above all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    annotations: Path | None = None
    files: Path | None = None
    parts: tuple[Path, ...] = ()

    def with_paths(self, change: Callable[[Path], Path]) -> "Split":
        """The same split with other paths."""
        one = {key: path and change(path) for key, path in dict(self).items() if key != "parts"}
        return Split(**one, parts=tuple(map(change, self.parts)))

    @property
    def truth(self) -> Path:
        """`annotations`, where there must be some.

        Raises:
            UserError: there are none.
        """
        if self.annotations is None:
            raise UserError(f"{self.images}: images without annotations")
        return self.annotations


class Division(BaseModel):
    """How the images of ``train`` are to be divided into ``train`` and ``val``.

    Attributes:
        share: of the images that stay in ``train``.
        seed: of the random choice.
        group_by: images whose names are equal before this text, e.g. ``'_'``, stay together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    group_by: str | None = Field(default=None, min_length=1)


class DataDescription(BaseModel):
    """A data set, as training, evaluation and checks read it.

    Attributes:
        task: ``'detection'`` (boxes, perhaps masks) or ``'segmentation'`` (index maps).
        name: what people call the data set; empty: as its folder.
        layout: how the data lie on disk: ``coco``, ``roboflow``, ``yolo``, ``voc``, ``maps``,
            ``ade20k``; empty: as the other attributes say.
        classes: class names, in the order of labels.
        masks: whether the objects have masks (detection): most of them do, and a check names those
            that do not.
        splits: by name.
        image_suffix: what image names end in (segmentation), e.g. ``'.jpg'``.
        map_suffix: what follows in a map's name in place of it, e.g. ``'_L.png'``.
        ignore_label: label of pixels that do not count (segmentation).
        colours: of the labels from 0, red, green and blue, in maps that hold colours: checks refuse
            them, and a cleaned copy has labels in their place (segmentation).
        reduce_zero_label: label 0 means unlabelled and classes count from 1 (segmentation).
        division: ``train`` is still to be divided by `convert.materialise`; None: it is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task
    name: str = ""
    layout: str = ""
    classes: list[str] = Field(min_length=1)
    masks: bool = False
    splits: dict[SplitName, Split] = Field(min_length=1)
    image_suffix: str = ".jpg"
    map_suffix: str = ".png"
    ignore_label: int = Field(default=IGNORE_LABEL, ge=0, le=65535)
    colours: list[tuple[int, int, int]] = []
    reduce_zero_label: bool = False
    division: Division | None = None

    @model_validator(mode="after")
    def _distinct(self) -> "DataDescription":
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        if self.layout != "yolo" and any(split.parts for split in self.splits.values()):
            raise ValueError("parts are for YOLO alone")
        return self


def read_description(file: Path) -> DataDescription:
    """Reads a description; paths in it are relative to its own folder.

    Raises:
        UserError: it cannot be read, or a key is missing, unknown or wrong.
    """
    content = read_yaml(file, yaml.SafeLoader)
    try:
        description = DataDescription.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{file}: {validation_message(error)}") from error
    folder = file.absolute().parent
    splits = {n: s.with_paths(lambda path: folder / path) for n, s in description.splits.items()}
    return description.model_copy(update={"splits": splits})


def read_yaml(file: Path, loader: type[yaml.BaseLoader | yaml.SafeLoader]) -> Any:
    """The content of a YAML file.

    Args:
        loader: ``yaml.BaseLoader`` leaves every value as text.

    Raises:
        UserError: it cannot be read or is not YAML.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8-sig"), loader)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{file}: not YAML ({error})") from error


def write_description(description: DataDescription, file: Path) -> None:
    """Writes a description, whole or not at all; paths below its folder are relative to that."""
    folder = file.absolute().parent
    splits = {
        name: split.with_paths(lambda path: _from(folder, path.absolute()))
        for name, split in description.splits.items()
    }
    described = description.model_copy(update={"splits": splits})
    content = described.model_dump(mode="json", exclude_defaults=True)
    write_whole(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _from(folder: Path, path: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
