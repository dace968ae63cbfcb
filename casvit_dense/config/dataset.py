"""A data set of a config before it is built: what the config says, and what its type decides."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from casvit_dense.config.tree import dicts_in, leaf_datasets
from casvit_dense.data.description import IGNORE_LABEL, DataDescription, Split, SplitName
from casvit_dense.errors import UserError


class ConfigDataset:
    """A data set as configured; the registries of its framework must be filled.

    Attributes:
        config: its part of the config.
        kind: its class; None: no registered one.
    """

    def __init__(self, cfg: Config, dataset: ConfigDict) -> None:
        self.config = dataset
        self.kind: Any = DATASETS.get(f"{cfg.default_scope}.{dataset.type}")
        self._bases = getattr(self.kind, "__mro__", ())

    @classmethod
    def first(cls, cfg: Config, loader: str) -> "ConfigDataset":
        """The (first) data set of a loader, without its wrappers."""
        return cls(cfg, next(leaf_datasets(cfg[loader].dataset)))

    def is_a(self, name: str) -> bool:
        """Whether its class or a base of it has a name."""
        return name in {base.__name__ for base in self._bases}

    @property
    def metainfo(self) -> dict[str, Any]:
        """As configured, else of its type."""
        return {**getattr(self.kind, "METAINFO", {}), **(self.config.get("metainfo") or {})}

    @property
    def classes(self) -> Sequence[str]:
        """Class names, perhaps of a file that ``metainfo`` names."""
        classes = self.metainfo.get("classes") or ()
        if isinstance(classes, str):
            if not Path(classes).is_file():
                raise UserError(f"metainfo.classes: no file {classes}; give names as ('a', 'b')")
            return list_from_file(classes)
        if not isinstance(classes, (list, tuple)):
            raise UserError(f"metainfo.classes is {classes!r}; give names as ('a', 'b')")
        return classes

    @property
    def images(self) -> Path:
        """Folder of its images."""
        prefix = self.config.get("data_prefix") or {}
        return self._place(prefix.get("img") or prefix.get("img_path") or "")

    @property
    def ann_file(self) -> Path | None:
        name = self.config.get("ann_file")
        return self._place(name) if name else None

    def _place(self, name: str) -> Path:
        return Path(self.config.get("data_root") or "", name)

    @property
    def reduces_zero_label(self) -> bool:
        """Whether label 0 means unlabelled, by the pipeline, the data set or its type."""
        steps = [s for s in dicts_in(self.config.pipeline) if s.get("type") == "LoadAnnotations"]
        flags = [s.reduce_zero_label for s in steps if s.get("reduce_zero_label") is not None]
        return any(flags) if flags else bool(self.setting("reduce_zero_label"))

    def setting(self, name: str) -> Any:
        """An argument: as configured, else the default of its type or of a base."""
        if name in self.config:
            return self.config[name]
        for base in self._bases:
            parameter = inspect.signature(base.__init__).parameters.get(name)
            if parameter is not None:
                return parameter.default
        return None

    def describe(self, split: SplitName = "train") -> DataDescription | None:
        """It as a description of one split; None: of a kind that we do not know."""
        classes = list(self.classes)
        if self.is_a("CocoDataset") and not self.is_a("LVISV05Dataset"):  # LVIS names no files
            part = Split(images=self.images, annotations=self.ann_file)
            return DataDescription(
                task="detection", layout="coco", classes=classes, splits={split: part}
            )
        maps = (self.config.get("data_prefix") or {}).get("seg_map_path")
        listed = self.ann_file is not None and not self.is_a("IndexMapDataset")
        if not self.is_a("BaseSegDataset") or not maps or listed:
            return None
        part = Split(images=self.images, annotations=self._place(maps), files=self.ann_file)
        return DataDescription(
            task="segmentation",
            layout="maps",
            classes=classes,
            splits={split: part},
            image_suffix=self.setting("img_suffix"),
            map_suffix=self.setting("seg_map_suffix"),
            reduce_zero_label=self.reduces_zero_label,
            ignore_label=self.config.get("ignore_label", IGNORE_LABEL),
        )
