"""What the configs that come with the project say, to hold rows against."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from casvit_dense.files import config_folder
from casvit_dense.results.hashes import ConfigHashes, hashes_of


@dataclass(frozen=True)
class Shipped:
    """A config of ours: its hashes, and the images a step that its schedule is made for."""

    hashes: ConfigHashes
    global_batch: int | None


def config_file(stem: str) -> Path | None:
    """The config of that name, in the repository or where a wheel puts it; None if none is."""
    return next((path for path in config_folder().glob("*/*.py") if path.stem == stem), None)


@cache
def shipped(stem: str) -> Shipped | None:
    """Reads a config of ours; None if there is none of that name. Needs mmengine, and mmdet
    where the config inherits from it, but imports neither torch nor mmdet itself."""
    from mmengine.config import Config

    path = config_file(stem)
    if path is None:
        return None
    cfg = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    scaling = cfg.get("auto_scale_lr") or {}
    return Shipped(hashes_of(cfg), scaling.get("base_batch_size"))
