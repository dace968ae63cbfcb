"""One trained model with its test pipeline and the meaning of its classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import BaseDataElement
from torch import nn

from casvit_dense.checkpoint import read_checkpoint
from casvit_dense.config.dataset import ConfigDataset
from casvit_dense.config.kept import load_known, model_config
from casvit_dense.config.read import check_dense, register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import leaf_datasets
from casvit_dense.data.palette import Colour, palette_of
from casvit_dense.deploy import fuse as fused
from casvit_dense.errors import UserError
from casvit_dense.export.model import ExportedModel, check_origin, check_overrides, is_exported
from casvit_dense.files import read_json
from casvit_dense.options import RunOptions
from casvit_dense.predictor.images import read_image

#: COCO numbers its 80 categories from 1 to 90, with these gaps.
COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
COCO_IDS = tuple(i for i in range(1, 91) if i not in COCO_GAPS)


@dataclass(frozen=True)
class Labels:
    """The classes of a model, in the order of its outputs.

    Attributes:
        names: class names.
        palette: one RGB colour for each class, 0..255.
        ids: the number of each class in result files: COCO category ids of a detector, map
            values of a segmenter.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    ids: tuple[int, ...]


class Predictor:
    """A detector or segmenter with its weights and its config's own test pipeline.

    Args:
        config: config file of an mmdet or mmseg model, or its content; None: that which the
            checkpoint keeps.
        checkpoint: its weights, loaded strictly, or a file that ``casvit-dense export`` wrote,
            which runs on the CPU.
        device: e.g. ``'cpu'`` or ``'cuda:1'``; by default the GPU if there is one.
        cfg_options: overrides by dotted key.
        data_root: folder of the data set, whose annotation file defines the category ids.
        fuse: run the fused form of the model.

    Attributes:
        cfg: the config.
        recipe: the same without what belongs to this machine, as plain values.
        scope: ``'mmdet'`` or ``'mmseg'``.
        model: the network, in eval mode.
        weights_sha256: of the checkpoint.
        labels: names, colours and numbers of the classes.

    Raises:
        UserError: a file is missing or does not fit, or there is no such device.
    """

    def __init__(
        self,
        config: str | Path | Config | None,
        checkpoint: str | Path,
        device: str | None = None,
        cfg_options: Mapping[str, Any] | None = None,
        data_root: str | None = None,
        fuse: bool = False,
    ) -> None:
        options = RunOptions(cfg_options=dict(cfg_options or {}), data_root=data_root)
        resolved = resolve(model_config(config, checkpoint), options)
        self.cfg, self.recipe = resolved.config, resolved.recipe
        check_dense(self.cfg, "predict or export")
        self.scope = register_scope(self.cfg)
        model: Any
        if is_exported(checkpoint):
            self.device = torch.device("cpu")
            if device is not None and find_device(device).type != "cpu":
                raise UserError(f"--device {device}: an exported file runs on the CPU")
            check_overrides(options.cfg_options)
            if fuse:
                raise UserError(f"{checkpoint} has the form that it was exported in, fused or not")
            model = ExportedModel(str(checkpoint))
            description = model.description
            self.weights_sha256 = description.weights_sha256
            self.labels = labels_of(self.cfg, model, lambda: {"classes": description.classes})
            check_origin(description, self.cfg.filename, self.labels.names)
        else:
            self.device = find_device(device)
            # SyncBN needs a process group, and one process predicts.
            model = revert_sync_batchnorm(_registry(self.scope).MODELS.build(self.cfg.model))
            self.weights_sha256 = load_known(model, checkpoint).sha256
            self.labels = labels_of(self.cfg, model, lambda: dataset_meta(checkpoint))
            if fuse:
                model = fused(model)
        self.pipeline = build_pipeline(self.cfg)
        self.model = model.to(self.device).eval()

    @torch.no_grad()
    def predict(
        self, image: str | Path | np.ndarray, name: str | Path | None = None
    ) -> BaseDataElement:
        """Detects or segments.

        Args:
            image: a file, or pixels ``(H, W, 3)``, uint8, BGR.
            name: of the image in messages and in ``img_path``; default: its file.

        Returns:
            On the CPU, in pixels of the upright image: an mmdet ``DetDataSample`` with
            ``pred_instances`` (``bboxes (n, 4)`` as x1, y1, x2, y2; ``scores``, ``labels (n,)``;
            ``masks (n, H, W)`` of a model that has them) or an mmseg ``SegDataSample`` with
            ``pred_sem_seg.data (1, H, W)``, class indices from 0.

        Raises:
            UserError: the file cannot be read, or the image is too narrow for the network.
            ValueError: pixels of another shape or type.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        title = str(name or ("array" if pixels is image else image))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"expected (H, W, 3) uint8 BGR, got {pixels.shape} {pixels.dtype}")
        try:
            data = self.pipeline({"img": pixels, "img_id": 0})
            sample = self.model.test_step({key: [value] for key, value in data.items()})[0]
        except (ValueError, cv2.error) as error:
            # A very narrow image is resized to zero pixels, or to fewer than the backbone's 32.
            reason = error.err if isinstance(error, cv2.error) else error
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise UserError(f"{title}: {size} pixels do not fit the model ({reason})") from error
        sample.set_metainfo({"img_path": title})
        return sample.cpu()


def find_device(name: str | None) -> torch.device:
    """The named device, or a GPU if there is one, or the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here: {reason}") from error
    return device


def dataset_meta(checkpoint: str | Path) -> dict[str, Any]:
    """A checkpoint's metadata of its classes, keys in lower case (mmcv 1.x wrote ``CLASSES``)."""
    meta = read_checkpoint(checkpoint).get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    nested = meta.get("dataset_meta")
    both = {**meta, **(nested if isinstance(nested, Mapping) else {})}
    return {key.lower(): value for key, value in both.items()}


def build_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline for decoded pixels, without annotations."""
    registry = _registry(cfg.default_scope).TRANSFORMS
    steps = []
    for step in test_dataset(cfg)["pipeline"]:
        name = _type_name(step)
        if name == "LoadImageFromFile":
            to_float32 = step.get("to_float32", False)
            steps.append({"type": "LoadImageFromNDArray", "to_float32": to_float32})
        elif "Annotation" not in name:
            steps.append(step)
    if not steps or _type_name(steps[0]) != "LoadImageFromNDArray":
        raise UserError(f"{cfg.filename}: the test pipeline does not begin with LoadImageFromFile")
    return Compose([registry.build(step) for step in steps])


def _type_name(step: Mapping[str, Any]) -> str:
    return step["type"].rpartition(".")[2]


def _registry(scope: str) -> Any:
    return import_module(f"{scope}.registry")


def labels_of(cfg: Config, model: nn.Module, checkpoint_meta: Callable[[], Mapping]) -> Labels:
    """Names, colours and numbers of a model's classes.

    Args:
        cfg: config whose test data set describes the classes.
        checkpoint_meta: gives the checkpoint's ``dataset_meta``; called only when the config
            does not name as many classes as the model has.
    """
    dataset = ConfigDataset(cfg, test_dataset(cfg))
    meta: Mapping[str, Any] = dataset.metainfo
    names, count = tuple(dataset.classes), num_classes(model)
    if len(names) != count:
        of_config, meta = len(names), checkpoint_meta()
        stored = meta.get("classes", ())
        names = tuple(stored) if isinstance(stored, (list, tuple)) else (stored,)
        if len(names) != count:
            raise UserError(
                f"{cfg.filename}: the model has {count} classes, the config names "
                f"{of_config} and the checkpoint {len(names)}; "
                "set test_dataloader.dataset.metainfo.classes"
            )
    if cfg.default_scope == "mmdet":
        ids = category_ids(names, dataset.ann_file or Path())
    else:
        first = int(dataset.reduces_zero_label)
        ids = tuple(range(first, first + count))
    return Labels(names, tuple(palette_of(meta.get("palette"), count)), ids)


def test_dataset(cfg: Config) -> ConfigDict:
    """The (first) data set of the config's test loader, without its wrappers."""
    if not cfg.get("test_dataloader"):
        raise UserError(f"{cfg.filename}: no test_dataloader, whose pipeline prepares the images")
    return next(leaf_datasets(cfg.test_dataloader.dataset))


def num_classes(model: nn.Module) -> int:
    """Number of classes of the final head; an RPN has one."""
    return max((getattr(module, "num_classes", 0) for module in model.modules()), default=0)


def category_ids(names: Sequence[str], annotations: Path) -> tuple[int, ...]:
    """COCO category ids of the classes.

    Args:
        names: class names in the order of the model's outputs.
        annotations: COCO file of the data set; need not exist.

    Returns:
        The ids of the annotation file if it exists and names every class; otherwise COCO's own ids
        for its 80 classes; otherwise 1, 2, …
    """
    if annotations.is_file():
        content = read_json(annotations)
        categories = content.get("categories", []) if isinstance(content, dict) else []
        by_name = {category["name"]: category["id"] for category in categories}
        if all(name in by_name for name in names):
            return tuple(by_name[name] for name in names)
    coco = import_module("mmdet.datasets").CocoDataset.METAINFO["classes"]
    return COCO_IDS if tuple(names) == coco else tuple(range(1, len(names) + 1))
