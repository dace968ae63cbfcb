"""Images of a model's own data, as its file takes them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from casvit_dense.errors import UserError
from casvit_dense.exported.description import Description
from casvit_dense.predictor import Predictor, find_images, read_image
from casvit_dense.predictor.labels import test_dataset

#: Where the data sets of mmdet and of mmseg say that their images are.
PREFIXES = ("img", "img_path")


def data_images(cfg: Config) -> list[Path]:
    """Image files of the config's test data, sorted; none where the data are not there."""
    dataset = test_dataset(cfg)
    prefix = dataset.get("data_prefix") or {}
    folders = [prefix[key] for key in PREFIXES if key in prefix]
    folder = Path(dataset.get("data_root") or "", *folders[:1])
    return find_images([folder]) if folders and holds_files(folder) else []


def holds_files(folder: Path) -> bool:
    """Whether a folder exists and is not empty."""
    return folder.is_dir() and any(folder.iterdir())


def network_inputs(
    predictor: Predictor, images: Iterable[Path], about: Description
) -> Iterator[np.ndarray]:
    """What the file is fed for each image: ``(1, 3, H, W)``, float32, after the test pipeline.

    Raises:
        UserError: an image has another size than a file of fixed size takes.
    """
    for path in images:
        inputs = predictor.pipeline({"img": read_image(path), "img_id": 0})["inputs"]
        if not about.dynamic and list(inputs.shape[1:]) != about.input_shape[2:]:
            raise UserError(f"{path}: the test pipeline gives another size than the file takes")
        ordered = inputs.flip(0) if about.channel_order == "RGB" else inputs
        yield np.ascontiguousarray(ordered[None].numpy(), dtype=np.float32)
