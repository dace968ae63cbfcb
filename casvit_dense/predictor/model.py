"""One trained model, ready to look at images."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import BaseDataElement

from casvit_dense.checkpoint import load_model, read_checkpoint
from casvit_dense.deploy import fuse as fused
from casvit_dense.engine.config import register_scope, resolve
from casvit_dense.errors import UserError
from casvit_dense.export.model import (
    ExportedModel,
    check_origin,
    check_overrides,
    is_exported,
)
from casvit_dense.options import RunOptions
from casvit_dense.predictor.labels import labels_of, test_dataset
from casvit_dense.predictor.reading import read_image


class Predictor:
    """A detector or segmenter with its weights and its config's own test pipeline.

    Args:
        config: config file of an mmdet or mmseg model.
        checkpoint: its weights, loaded strictly, or a file that ``casvit-dense export`` wrote,
            which runs on the CPU.
        device: e.g. ``'cpu'`` or ``'cuda:1'``; by default the GPU where there is one.
        cfg_options: overrides by dotted key.
        data_root: folder of the data set, whose annotation file tells the category ids.
        fuse: run the fused form of the model.

    Attributes:
        cfg: the config.
        scope: ``'mmdet'`` or ``'mmseg'``.
        model: the network, in eval mode.
        weights_sha256: of the checkpoint.
        labels: names, colours and numbers of the classes.

    Raises:
        UserError: a file is missing or does not fit, or there is no such device.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        cfg_options: Mapping[str, Any] | None = None,
        data_root: str | None = None,
        fuse: bool = False,
    ) -> None:
        self.device = find_device(device)
        options = RunOptions(cfg_options=dict(cfg_options or {}), data_root=data_root)
        self.cfg = resolve(config, options).config
        self.scope = register_scope(self.cfg)
        model: Any
        if is_exported(checkpoint):
            check_overrides(options.cfg_options)
            if fuse:
                raise UserError(f"{checkpoint} has the form that it was exported in, fused or not")
            model = ExportedModel(str(checkpoint))
            about = model.description
            self.weights_sha256 = about.weights_sha256
            self.labels = labels_of(self.cfg, model, lambda: {"classes": about.classes})
            check_origin(about, config, self.labels.names)
        else:
            # One process predicts: there is nobody to synchronise BatchNorm with.
            model = revert_sync_batchnorm(_registry(self.scope).MODELS.build(self.cfg.model))
            self.weights_sha256 = load_model(model, checkpoint).sha256
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
            name: what messages and the result's ``img_path`` call the image; default its file.

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
        called = str(name or ("array" if pixels is image else image))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"expected (H, W, 3) uint8 BGR, got {pixels.shape} {pixels.dtype}")
        try:
            data = self.pipeline({"img": pixels, "img_id": 0})
            sample = self.model.test_step({key: [value] for key, value in data.items()})[0]
        except (ValueError, cv2.error) as error:
            # A very narrow image is resized to nothing, or to less than the backbone's 32 pixels.
            reason = error.err if isinstance(error, cv2.error) else error
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise UserError(f"{called}: {size} pixels do not suit the model ({reason})") from error
        sample.set_metainfo({"img_path": called})
        return sample.cpu()


def find_device(name: str | None) -> torch.device:
    """The named device, or the best there is.

    Raises:
        UserError: the name is no device, or this machine does not have it.
    """
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
    """What a checkpoint says of its classes, keys in small letters (mmcv 1.x wrote ``CLASSES``)."""
    meta = read_checkpoint(checkpoint).get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    nested = meta.get("dataset_meta")
    both = {**meta, **(nested if isinstance(nested, Mapping) else {})}
    return {key.lower(): value for key, value in both.items()}


def build_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline for pixels that are already read, without annotations.

    Raises:
        UserError: the pipeline loads no image files.
    """
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
